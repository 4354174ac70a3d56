//! Features: named values over windows that many rules share.
//!
//! A feature is checked once where it is declared, and typed anew where a rule reads it: its windows then are windows of the rule, and the
//! rule set makes one of those that hold the same.

use std::collections::BTreeSet;

use super::World;
use super::reach::{Scope, Site};
use super::rule::RuleCheck;
use crate::diagnostics::{Code, Diagnostic};
use crate::ir::{Expr, WindowKey};
use crate::schema::{EventId, FieldId};
use crate::syntax::Span;
use crate::syntax::ast::{By, Call, FeatureDecl};

/// A feature while its value is typed.
#[derive(Clone, Debug)]
pub(super) struct Reading<'a> {
    /// Where a rule reads it, and what its names mean there; none where it is checked by itself.
    pub reader: Option<(Span, Scope)>,
    /// Its name, and behind it those of the features that it reads on the way.
    path: Vec<&'a str>,
}

/// Checks each feature by itself; returns the names of those that are wrong.
pub(super) fn features(world: &World<'_>, found: &mut Vec<Diagnostic>) -> BTreeSet<String> {
    let mut wrong = BTreeSet::new();
    for (name, decl) in &world.names.features {
        let mut check = RuleCheck::new(world);
        check.feature = Some(Reading { reader: None, path: vec![name] });
        let typed = check.expr(&decl.expr, Scope::at(Site::Feature), None);
        if typed.is_some() && check.windows.is_empty() && !check.found.iter().any(Diagnostic::is_error) {
            let text = format!("`{name}` has no window, so every event would give it the same value");
            check.error(
                Diagnostic::new(Code::WindowMisuse, decl.expr.span, text)
                    .help("write an aggregate: `avg(withdrawal.amount) by card over 30d`"),
            );
        }
        if typed.is_none() || check.found.iter().any(Diagnostic::is_error) {
            wrong.insert((*name).to_owned());
        }
        found.extend(check.found);
    }
    wrong
}

impl<'a> RuleCheck<'a> {
    /// The value of a feature; the outer none where no feature has the name.
    pub fn feature(&mut self, name: &str, span: Span, scope: Scope) -> Option<Option<Expr>> {
        let world = self.world;
        let (name, decl) = world.names.features.get_key_value(name)?;
        Some(self.value_of(name, decl, span, scope))
    }

    fn value_of(&mut self, name: &'a str, decl: &'a FeatureDecl, span: Span, scope: Scope) -> Option<Expr> {
        let before = self.feature.clone();
        self.feature_stands_alone(name, span, scope)?;
        let mut reading = before.clone().unwrap_or_else(|| Reading { reader: Some((span, scope)), path: Vec::new() });
        if reading.path.contains(&name) {
            // Each feature of a cycle is reported, where it is declared.
            if reading.reader.is_none() && reading.path.first() == Some(&name) {
                let text = match reading.path.as_slice() {
                    [_] => format!("the feature `{name}` reads itself"),
                    [_, between @ ..] => {
                        format!("the feature `{name}` reads itself by way of `{}`", between.join("`, `"))
                    }
                    [] => return None,
                };
                self.error(
                    Diagnostic::new(Code::FeatureCycle, decl.name.span, text)
                        .help("a feature is made of windows and of features that do without it"),
                );
            }
            return None;
        }
        // What is wrong with it has been reported.
        if reading.reader.is_some() && self.world.wrong_features.contains(name) {
            return None;
        }
        reading.path.push(name);
        self.feature = Some(reading);
        let typed = self.expr(&decl.expr, Scope::at(Site::Feature), None);
        self.feature = before;
        typed.map(|value| Expr { span, ..value })
    }

    /// A feature has its value as of the current event, and is no part of what a single event says.
    fn feature_stands_alone(&mut self, name: &str, span: Span, scope: Scope) -> Option<()> {
        let inside = match scope.site {
            Site::Counted(_) => "a window",
            Site::Stop(_) => "`stop on`",
            _ if scope.element.is_some() => "an aggregate over a step",
            _ => return Some(()),
        };
        let text = format!("the feature `{name}` stands inside of {inside}, which reads single events only");
        self.error(
            Diagnostic::new(Code::WindowMisuse, span, text)
                .help("read it outside: in a step's `where`, `when` or `emit`"),
        );
        None
    }

    /// What only the event at hand can answer, or only a pattern, has no place in a feature.
    pub fn fits_a_feature(&mut self, call: &Call) -> Option<()> {
        let name = call.name.text.as_str();
        let help = match (name, &call.over) {
            ("lag" | "first_seen", _) => "write it in the rule: it asks about the event that is judged there",
            ("count" | "sum" | "avg" | "stddev" | "distinct" | "list" | "first" | "last", None) => {
                "say over which window: `avg(withdrawal.amount) by card over 30d`"
            }
            ("min" | "max", None) if call.args.len() == 1 => {
                "say over which window: `max(withdrawal.amount) by card over 30d`"
            }
            _ => return Some(()),
        };
        let text = match call.over {
            None if name != "lag" && name != "first_seen" => format!("`{name}` in a feature has no window"),
            _ => format!("`{name}` is no part of a feature"),
        };
        self.error(Diagnostic::new(Code::WindowMisuse, call.name.span, text).help(help));
        None
    }

    /// A bare name in a feature that is no feature.
    pub fn unknown_in_feature(&mut self, name: &str, span: Span) {
        let finding = Diagnostic::new(Code::UnknownName, span, format!("unknown name `{name}`"));
        let finding = finding.label("a feature reads windows and other features");
        let owner = self.world.schema.events.iter().find(|e| e.find(name).is_some());
        let features = self.world.names.features.keys().copied();
        self.error(match owner {
            Some(event) => {
                finding.help(format!("a field is read over a window: `last({}.{name}) by … over 30d`", event.name))
            }
            None => super::names::suggest(finding, name, span, features),
        });
    }

    /// Whose events a window of a feature holds: those of the whole stream where nothing is written.
    pub fn feature_key(&mut self, by: Option<&By>, event: EventId, span: Span) -> Option<WindowKey> {
        let whole = By::Fields(Vec::new());
        let by = by.unwrap_or(&whole);
        let Some(Reading { reader: Some((at, scope)), .. }) = self.feature.clone() else {
            return self.fields_by(by, event, span).map_err(|finding| self.error(finding)).ok().map(WindowKey::Rule);
        };
        if let Some(key) = self.as_rules_key(by, event, span) {
            return Some(key);
        }
        if self.closing.is_some() {
            self.nobody_asks(at);
            return None;
        }
        let counted = self.fields_by(by, event, span).ok()?;
        let types = self.types_of(event, &counted);
        let has = |check: &Self, e: EventId| check.fields_by(by, e, span).is_ok_and(|f| check.types_of(e, &f) == types);
        let asks = match self.candidate(scope) {
            Some(candidate) => vec![candidate],
            None => self.steps.iter().filter(|s| !s.absence).filter_map(|s| s.event).collect(),
        };
        if !asks.iter().any(|e| has(self, *e)) {
            self.no_reader(by, &asks, at, |check, e| has(check, e));
            return None;
        }
        self.window_of_fields(by, counted, event, scope, span)
    }

    /// "`login` has no field `card`, by which …", with the types that have it.
    fn no_reader(&mut self, by: &By, asks: &[EventId], at: Span, has: impl Fn(&Self, EventId) -> bool) {
        let name = self.feature.as_ref().and_then(|f| f.path.first()).copied().unwrap_or_default();
        let names = match by {
            By::Fields(fields) => fields.iter().map(|f| format!("`{}`", f.name.text)).collect::<Vec<_>>().join(", "),
            By::PerType(_) => "that its `by` names".to_owned(),
        };
        let mut types: Vec<&str> = asks.iter().map(|e| self.event_type(*e).name.as_str()).collect();
        types.dedup();
        let text = format!("`{name}` is asked for by {names}, which `{}` does not give", types.join("`, `"));
        let all = (0..self.world.schema.events.len()).map(|i| EventId(i as u16));
        let give: Vec<String> =
            all.filter(|e| has(self, *e)).map(|e| format!("`{}`", self.event_type(e).name)).collect();
        let mut finding = Diagnostic::new(Code::KeyField, at, text);
        if let Some(decl) = self.world.names.features.get(name) {
            finding = finding.also(decl.span, "declared here");
        }
        self.error(finding.help(format!(
            "{} can ask for it; where types call it differently, write `by {{ login: ip, payment: addr }}`",
            give.join(", ")
        )));
    }

    /// The rule's own key, where a window's `by` gives every event that the rule reads just that: then it lives with the key.
    pub fn as_rules_key(&mut self, by: &By, event: EventId, span: Span) -> Option<WindowKey> {
        if self.steps.iter().any(|s| s.step.by.is_some()) {
            return None;
        }
        let whole = By::Fields(Vec::new());
        let own = self.by.unwrap_or(&whole);
        let mut readers: Vec<EventId> = self.steps.iter().filter_map(|s| s.event).collect();
        readers.push(event);
        let fields = |check: &Self, by: &By, e: EventId| -> Option<Vec<FieldId>> { check.fields_by(by, e, span).ok() };
        let same = |e: &EventId| {
            let asked = fields(self, by, *e);
            asked.is_some() && asked == fields(self, own, *e)
        };
        let parts = fields(self, own, event)?.len();
        let same =
            readers.iter().all(same) && super::windows::optional(by, parts) == super::windows::optional(own, parts);
        if same { self.key_of(event, span).map(WindowKey::Rule) } else { None }
    }
}
