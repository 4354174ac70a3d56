//! Rules that fire when a window closes: `window 1h tumbling for agents`.
//!
//! Aggregates without `over` are over the rule's window. Their types are the rule's input, and stand in the typed rule as steps without a
//! condition, one a type.

use super::clauses::Clauses;
use super::names::suggest;
use super::reach::Scope;
use super::rule::RuleCheck;
use crate::diagnostics::{Code, Diagnostic};
use crate::ir::{Closing, Expr, ExprKind, Pattern, Reach, Rows, Step, StepId, Window, WindowKind};
use crate::schema::EventId;
use crate::syntax::Span;
use crate::syntax::ast::{self, Call, Ident, Report, WindowClause};
use crate::value::Type;

/// The most windows of one rule that are open for a key at once.
const OPEN_MAX: i64 = 1_000;

/// A rule's window while the rule is checked.
#[derive(Clone, Debug)]
pub(super) struct ClosingCheck<'a> {
    clause: &'a WindowClause,
    /// The types that its aggregates count, in order.
    counted: Vec<EventId>,
}

/// What the aggregates of such a rule are called.
fn is_aggregate(call: &Call) -> bool {
    match call.name.text.as_str() {
        "min" | "max" => call.args.len() == 1,
        name => super::calls::FORMS.contains(&name) && !matches!(name, "if" | "lag" | "first_seen"),
    }
}

impl<'a> RuleCheck<'a> {
    /// Reads the clause `window`; what does not go with it is refused.
    pub fn closing(&mut self, clauses: &Clauses<'a>) -> Option<Closing> {
        let (clause, span) = clauses.window?;
        self.closing = Some(ClosingCheck { clause, counted: Vec::new() });
        self.closing_key(clauses);
        let others = [
            (
                clauses.matching.map(|m| m.pattern.span),
                "match",
                "a rule looks for a pattern, or at windows as they close",
            ),
            (clauses.within.map(|d| d.span), "within", "the window says how long it looks"),
            (clauses.skip.map(|(_, s)| s), "skip", "a window that closes ends no other"),
            (
                clauses.report.filter(|(r, _)| *r != Report::Early).map(|(_, s)| s),
                "report",
                "a window is reported as it closes",
            ),
            (clauses.stop.map(|s| s.event.span), "stop on", "a window closes when its time is up"),
        ];
        for (place, name, help) in others {
            if let Some(place) = place {
                let text = format!("`{name}` does not go with `window`");
                self.error(Diagnostic::new(Code::WindowClash, place, text).also(span, "the window").help(help));
            }
        }
        let reach = self.closing_reach(&clause.window)?;
        let rows = match &clause.rows {
            None => None,
            Some(name) => Some(self.rows(name, &reach)?),
        };
        Some(Closing { reach, rows })
    }

    fn closing_reach(&mut self, window: &ast::Window) -> Option<Reach> {
        use ast::WindowKind as K;
        let help = "`window 1h tumbling`, `window 1h every 5m` and `window session 15m` close";
        let text = match &window.kind {
            K::Sliding(_) => "a sliding window never closes",
            K::Last(_) | K::Delta(..) => "no time closes this window",
            _ if window.offset.is_some() => "a window that closes has no `offset`",
            _ => {
                let (reach, _) = self.reach(window, Scope::result())?;
                if let Reach::Aligned { length, every, .. } = &reach
                    && length / every > OPEN_MAX
                {
                    let text = format!("{} windows are open at once", length / every);
                    let finding = Diagnostic::new(Code::WindowMisuse, window.span, text);
                    self.error(finding.help(format!("at most {OPEN_MAX}: let them begin further apart")));
                    return None;
                }
                return Some(reach);
            }
        };
        self.error(Diagnostic::new(Code::WindowMisuse, window.span, text).help(help));
        None
    }

    /// `for agents`: the key of each row is a key of the rule.
    fn rows(&mut self, name: &Ident, reach: &Reach) -> Option<Rows> {
        let schema = &self.world.schema;
        let (rows, types, declared) = if let Some(id) = schema.find_table(&name.text) {
            let table = &schema.tables[id.0 as usize];
            let types: Vec<Type> = table.key.iter().map(|k| k.ty.clone()).collect();
            (Rows::Table { id, name: name.text.clone(), key: types.clone() }, types, table.span)
        } else if let Some(id) = schema.find_list(&name.text) {
            let list = &schema.lists[id.0 as usize];
            (Rows::List { id, name: name.text.clone(), of: list.ty.clone() }, vec![list.ty.clone()], list.span)
        } else {
            if !self.world.names.lists.contains_key(name.text.as_str()) {
                let names = self.world.names.tables.keys().chain(self.world.names.lists.keys()).copied();
                let finding =
                    Diagnostic::new(Code::UnknownName, name.span, format!("unknown list or table `{}`", name.text));
                self.error(suggest(finding, &name.text, name.span, names));
            }
            return None;
        };
        if let Reach::Session { .. } = reach {
            let text = "a session begins with an event, so a row without one has none";
            self.error(Diagnostic::new(Code::WindowMisuse, name.span, text).help("write `window 1h tumbling for …`"));
            return None;
        }
        if types == [Type::Cidr] {
            let text = format!("`{}` is a list of networks, and each entry is to be a key", name.text);
            self.error(Diagnostic::new(Code::DataMisuse, name.span, text).also(declared, "declared here"));
            return None;
        }
        if types == self.key.types {
            return Some(rows);
        }
        let list = |types: &[Type]| types.iter().map(Type::to_string).collect::<Vec<_>>().join(", ");
        let text = match self.key.types.is_empty() {
            true => format!("each row of `{}` is a key, and the rule has none", name.text),
            false => {
                format!(
                    "a row of `{}` is named by {}, and the rule's key is {}",
                    name.text,
                    list(&types),
                    list(&self.key.types)
                )
            }
        };
        let finding = Diagnostic::new(Code::KeyType, name.span, text).also(declared, "declared here");
        self.error(finding.help("`by` names the fields that stand in an event for the row's key, in its order"));
        None
    }

    /// The window of an aggregate without `over`; none where the rule has none, or the call is no aggregate.
    pub fn own_window(&self, call: &Call, scope: Scope) -> Option<&'a ast::Window> {
        let closing = self.closing.as_ref()?;
        let outside = matches!(scope.site, super::reach::Site::Result | super::reach::Site::Severity);
        (is_aggregate(call) && outside).then_some(&closing.clause.window)
    }

    /// An aggregate over the rule's window counts a type.
    pub fn counts_in_window(&mut self, event: EventId) {
        if let Some(closing) = &mut self.closing
            && !closing.counted.contains(&event)
        {
            closing.counted.push(event);
        }
    }

    /// The event types that `by` has to know before anything else of the rule is read: those that its aggregates name.
    fn closing_key(&mut self, clauses: &Clauses<'a>) {
        let mut names: Vec<(&str, Span)> = Vec::new();
        let when = clauses.when.into_iter().chain(clauses.severity).chain(clauses.risk);
        let emit = clauses.emit.iter().flat_map(|(e, _)| e.fields.iter().map(|(_, v)| v));
        let message = clauses.message.iter().flat_map(|m| match m {
            ast::MessageClause::Expr(e) => vec![e],
            ast::MessageClause::Template(parts, _) => {
                parts.iter().filter_map(|p| if let ast::MessagePart::Hole(e) = p { Some(e) } else { None }).collect()
            }
        });
        for expr in when.chain(emit).chain(message) {
            super::windows::owners(expr, &mut names);
            counted_types(expr, &mut names);
        }
        for (name, span) in names {
            if let Some(event) = self.world.schema.find(name) {
                self.key_of(event, span);
            }
        }
    }

    /// Refuses a rule that has no aggregate over its window, unless what is wrong with it has been said.
    pub fn counts_something(&mut self, place: Span) {
        let counts = self.closing.as_ref().is_some_and(|c| !c.counted.is_empty());
        if !counts && !self.found.iter().any(Diagnostic::is_error) {
            let finding = Diagnostic::new(Code::NoMatch, place, "the rule counts nothing in its window");
            self.error(finding.help("write an aggregate: `when count(share) > 100`"));
        }
    }

    /// Refuses what is asked by an event's own fields.
    pub fn nobody_asks(&mut self, place: Span) {
        let text = "no event is at hand when a window closes, so nobody asks for this";
        let finding = Diagnostic::new(Code::WindowMisuse, place, text);
        self.error(finding.help("values over the rule's own key can be read"));
    }

    /// The steps that stand for the rule's input, and what each of its windows may not ask.
    pub fn closing_steps(&mut self, reach: &Reach, place: Span) -> Option<(Vec<Step>, Pattern)> {
        let closing = self.closing.clone()?;
        for window in self.windows.clone() {
            if matches!(window.kind, WindowKind::FirstSeen { .. } | WindowKind::Lag { .. }) {
                self.nobody_asks(window.span);
            }
        }
        let filter = match reach {
            Reach::Session { .. } => self.session_filter(reach)?,
            _ => Vec::new(),
        };
        let mut counted = closing.counted;
        counted.sort_by_key(|e| &self.event_type(*e).name);
        let mut steps = Vec::new();
        for event in counted {
            let (name, span) = (self.event_type(event).name.clone(), place);
            let key = self.key_of(event, place)?;
            steps.push(Step { name, event, key, filter: filter.clone(), until: None, absence: false, span });
        }
        let ids = (0..steps.len()).map(|i| Pattern::Step(StepId(i as u16)));
        let pattern = if steps.len() == 1 { Pattern::Step(StepId(0)) } else { Pattern::Any(ids.collect()) };
        Some((steps, pattern))
    }

    /// A session is made of the events that are counted: the terms that all of these meet.
    fn session_filter(&mut self, reach: &Reach) -> Option<Vec<Expr>> {
        let bare = |filter: &Option<Expr>| {
            filter.clone().map(|mut filter| {
                super::windows::erase(&mut filter);
                filter
            })
        };
        let is_own = |w: &&Window| matches!(&w.kind, WindowKind::Over { reach: of, .. } if of == reach);
        let own: Vec<Window> = self.windows.iter().filter(is_own).cloned().collect();
        let first = own.first()?;
        let same = |w: &&Window| w.event == first.event && bare(&w.filter) == bare(&first.filter);
        if let Some(other) = own.iter().find(|w| !same(w)) {
            let text = "a session is made of the events that are counted, and these are others";
            let finding = Diagnostic::new(Code::WindowMisuse, other.span, text).also(first.span, "than these");
            self.error(finding.help("let all aggregates count the same type with the same `where`"));
            return None;
        }
        Some(match first.filter.clone() {
            None => Vec::new(),
            Some(Expr { kind: ExprKind::And(terms), .. }) => terms,
            Some(term) => vec![term],
        })
    }
}

/// `count(share)`, `rate(share)`: the type stands alone.
fn counted_types<'e>(e: &'e ast::Expr, names: &mut Vec<(&'e str, Span)>) {
    use ast::ExprKind as K;
    match &e.kind {
        K::Call(call) => {
            for arg in &call.args {
                match &arg.value.kind {
                    K::Name(name) if matches!(call.name.text.as_str(), "count" | "rate") => {
                        names.push((name, arg.value.span))
                    }
                    _ => counted_types(&arg.value, names),
                }
            }
        }
        K::Unary(_, a) => counted_types(a, names),
        K::Binary(_, a, b) => {
            counted_types(a, names);
            counted_types(b, names);
        }
        _ => {}
    }
}
