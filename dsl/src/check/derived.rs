//! Derived events: what `emit into` gives, and that no rule builds on itself.

use super::clauses::Clauses;
use super::names::suggest;
use super::reach::Scope;
use super::rule::RuleCheck;
use crate::diagnostics::{Code, Diagnostic};
use crate::ir::{Expr, Into, Rule};
use crate::schema::EventId;
use crate::strata::{STRATA_MAX, Unstratified, mixed_times, strata};
use crate::syntax::ast::{self, EmitClause, Ident, Report};

impl<'a> RuleCheck<'a> {
    /// The event that a match becomes; `None` where something of it is wrong.
    pub fn into(&mut self, clauses: &Clauses<'a>) -> Option<Option<Into>> {
        let Some((emit, _)) = clauses.emit else { return Some(None) };
        let Some(name) = &emit.into else { return Some(None) };
        if let Some((Report::Updates | Report::Final, span)) = clauses.report {
            let text = "an event is derived at once: it is not revised, and does not wait";
            self.error(Diagnostic::new(Code::DerivedEvent, span, text).help("take the line away"));
        }
        let event = self.event_of(name)?;
        let fields: Vec<_> = emit.fields.iter().map(|(field, _)| self.derived_field(event, field)).collect();
        self.refuse_left_out(event, name, emit);
        Some(Some(Into { event, fields: fields.into_iter().collect::<Option<_>>()? }))
    }

    fn derived_field(&mut self, event: EventId, name: &Ident) -> Option<crate::schema::FieldId> {
        let ty = self.event_type(event);
        let Some(field) = ty.find(&name.text) else {
            let text = format!("event `{}` has no field `{}`", ty.name, name.text);
            let names = ty.fields.iter().map(|f| f.name.as_str());
            let finding = Diagnostic::new(Code::UnknownField, name.span, text);
            self.error(suggest(finding, &name.text, name.span, names).also(ty.span, "declared here"));
            return None;
        };
        if field == ty.at {
            let text = format!("`{}` is the derived event's time, and that is the match's", name.text);
            self.error(Diagnostic::new(Code::DerivedEvent, name.span, text).help("take it away"));
            return None;
        }
        Some(field)
    }

    /// A field that must be there has to be given.
    fn refuse_left_out(&mut self, event: EventId, name: &Ident, emit: &EmitClause) {
        let ty = self.event_type(event);
        let given = |field: &str| emit.fields.iter().any(|(n, _)| n.text == field);
        let needed =
            |(i, f): &(usize, &crate::schema::Field)| *i != usize::from(ty.at.0) && !f.optional && !given(&f.name);
        let left_out: Vec<String> =
            ty.fields.iter().enumerate().filter(needed).map(|(_, f)| format!("`{}`", f.name)).collect();
        if !left_out.is_empty() {
            let text = format!("`{}` needs {}", ty.name, left_out.join(", "));
            let finding = Diagnostic::new(Code::DerivedEvent, name.span, text).also(ty.span, "declared here");
            self.error(
                finding.help("give each a value, or let the event's declaration say with `?` that it may be missing"),
            );
        }
    }

    /// The value of a field of the derived event.
    pub fn derived_value(&mut self, into: &Ident, name: &Ident, value: &ast::Expr) -> Option<Expr> {
        let known = self.world.schema.find(&into.text).and_then(|e| {
            let ty = self.event_type(e);
            ty.find(&name.text).map(|f| ty.field(f).ty.clone())
        });
        match known {
            Some(ty) => self.typed(value, Scope::result(), &ty, &format!("`{}` of `{}`", name.text, into.text)),
            // What is not there has been reported; the value may hold more that is wrong.
            None => self.expr(value, Scope::result(), None),
        }
    }
}

/// Refuses a rule that builds on one that goes by another time.
pub(super) fn refuse_mixed_times(rules: &[Rule], found: &mut Vec<Diagnostic>) {
    let all: Vec<&Rule> = rules.iter().collect();
    let Some((reader, maker)) = mixed_times(&all) else { return };
    let (reader, maker) = (&rules[reader], &rules[maker]);
    let goes_by = |rule: &Rule| if rule.processing { "processing time" } else { "the events' time" };
    let text = format!(
        "rule `{}` goes by {} and reads events that `{}` makes by {}",
        reader.name,
        goes_by(reader),
        maker.name,
        goes_by(maker)
    );
    let finding = Diagnostic::new(Code::DerivedTime, reader.span, text).also(maker.span, "makes them");
    found.push(finding.help("write `time processing` in both of them, or in neither"));
}

/// Refuses rules that build on themselves.
pub(super) fn refuse_cycles(rules: &[Rule], found: &mut Vec<Diagnostic>) {
    let all: Vec<&Rule> = rules.iter().collect();
    match strata(&all) {
        Ok(_) => {}
        Err(Unstratified::Cycle(cycle)) => {
            let names: Vec<String> =
                cycle.iter().chain(cycle.first()).map(|r| format!("`{}`", rules[*r].name)).collect();
            let text = match cycle.as_slice() {
                [one] => format!("rule `{}` reads the events that it makes", rules[*one].name),
                _ => format!("each of these rules reads what the one before it makes: {}", names.join(" → ")),
            };
            let mut finding = Diagnostic::new(Code::DerivedCycle, rules[cycle[0]].span, text);
            for other in &cycle[1..] {
                finding = finding.also(rules[*other].span, "and this one");
            }
            found.push(finding.help("let one of them emit into an event type of another name"));
        }
        Err(Unstratified::TooHigh(rule)) => {
            let rule = &rules[rule];
            let text = format!("rule `{}` is one of more than {STRATA_MAX} that build on each other", rule.name);
            found.push(
                Diagnostic::new(Code::DerivedCycle, rule.span, text).help("say in one rule what several say now"),
            );
        }
    }
}
