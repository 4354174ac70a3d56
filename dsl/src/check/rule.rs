//! One rule: the order in which its parts are checked, and what they share.

use super::World;
use super::clauses::Clauses;
use super::features::Reading;
use super::reach::Scope;
use super::steps::StepInfo;
use crate::diagnostics::Diagnostic;
use crate::ir::{self, Key, Rule, StepId, Window};
use crate::schema::{EventId, EventType};
use crate::syntax::Span;
use crate::syntax::ast::{MatchMode, Report, RuleDecl};

/// A rule while it is checked.
pub(super) struct RuleCheck<'a> {
    pub world: &'a World<'a>,
    /// The steps and absences, in the order of the text.
    pub steps: Vec<StepInfo<'a>>,
    pub by: Option<&'a crate::syntax::ast::By>,
    /// What is known of the key; `fields` grows as event types are named.
    pub key: Key,
    /// Event types that give no key; they have been reported.
    pub keyless: Vec<EventId>,
    pub windows: Vec<Window>,
    /// An absence at the end of the pattern: time, or another event than the last one bound, completes the match.
    pub ends_in_absence: Option<Span>,
    /// The steps that something reads, for the lint of unused bindings.
    pub read: Vec<StepId>,
    pub found: Vec<Diagnostic>,
    /// Whether an expression has no value; it may be for a finding elsewhere, as of a feature that is not executed yet.
    pub broken: bool,
    /// The feature whose value is typed.
    pub feature: Option<Reading<'a>>,
}

/// The typed rule, if nothing is wrong with it, and what was found.
pub(super) fn check(world: &World<'_>, decl: &RuleDecl) -> (Option<Rule>, Vec<Diagnostic>) {
    let mut check = RuleCheck::new(world);
    let rule = check.rule(decl);
    let rule = rule.filter(|_| !check.broken && !check.found.iter().any(Diagnostic::is_error));
    (rule, check.found)
}

impl<'a> RuleCheck<'a> {
    /// Nothing is known yet.
    pub fn new(world: &'a World<'a>) -> Self {
        RuleCheck {
            world,
            steps: Vec::new(),
            by: None,
            key: Key::default(),
            keyless: Vec::new(),
            windows: Vec::new(),
            ends_in_absence: None,
            read: Vec::new(),
            found: Vec::new(),
            broken: false,
            feature: None,
        }
    }

    fn rule(&mut self, decl: &'a RuleDecl) -> Option<Rule> {
        let clauses = Clauses::read(decl, &mut self.found);
        super::unexecuted::clauses(&clauses, &mut self.found);
        let Some(matching) = clauses.matching else {
            self.no_match(decl, &clauses);
            return None;
        };
        self.collect_steps(&matching.pattern);
        self.by = clauses.by;
        self.rule_key();
        let keys = self.step_keys();
        self.check_structure(&clauses);
        let filters = self.conditions();
        self.refuse_unreachable(&clauses, &filters, &keys);
        let result = Scope::result();
        let when = clauses.when.and_then(|e| self.condition(e, result));
        if let Some(when) = &when {
            self.refuse_never(std::slice::from_ref(when));
        }
        let emit = self.emit(&clauses);
        let into = self.into(&clauses);
        let message = clauses.message.map(|m| self.message(m)).unwrap_or_default();
        let severity = self.severity(clauses.severity);
        let risk = clauses.risk.and_then(|e| self.risk(e));
        let suppress = clauses.suppress.and_then(|s| self.suppress(s));
        let stop = clauses.stop.and_then(|s| self.stop(s));
        let skip = self.skip(&clauses);
        let pattern = self.pattern(&matching.pattern);
        self.lint(&clauses, decl.name.span);
        Some(Rule {
            name: decl.name.text.clone(),
            title: clauses.title.map(|t| t.value.clone()).unwrap_or_default(),
            severity: severity?,
            risk,
            tags: clauses.tags.iter().map(|t| t.value.clone()).collect(),
            key: std::mem::take(&mut self.key),
            mode: matching.mode,
            steps: self.ir_steps(keys, filters)?,
            pattern: pattern?,
            within: clauses.within.map(|d| d.ms),
            when,
            emit: emit?,
            into: into?,
            message,
            suppress,
            skip,
            report: clauses.report.map_or(Report::Early, |(r, _)| r),
            stop,
            windows: std::mem::take(&mut self.windows),
            source: self.world.sources.slice(decl.span).to_owned(),
            span: decl.span,
        })
    }

    /// The steps with their keys and conditions; `None` where one has no event type.
    fn ir_steps(
        &self,
        keys: Vec<Vec<crate::schema::FieldId>>,
        filters: Vec<(Vec<ir::Expr>, Option<ir::Expr>)>,
    ) -> Option<Vec<ir::Step>> {
        let parts = self.steps.iter().zip(keys).zip(filters);
        parts
            .map(|((info, key), (filter, until))| {
                Some(ir::Step {
                    name: info.name.to_owned(),
                    event: info.event?,
                    key,
                    filter,
                    until,
                    absence: info.absence,
                    span: info.step.span,
                })
            })
            .collect()
    }

    pub fn error(&mut self, finding: Diagnostic) {
        self.found.push(finding);
    }

    /// The source text of a place, for sentences; on one line and not too long.
    pub fn text(&self, span: Span) -> String {
        let text = self.world.sources.slice(span).split_whitespace().collect::<Vec<_>>().join(" ");
        match text.char_indices().nth(40) {
            Some((cut, _)) => format!("{}…", &text[..cut]),
            None => text,
        }
    }

    pub fn event_type(&self, id: EventId) -> &'a EventType {
        self.world.schema.event(id)
    }

    pub fn mode(clauses: &Clauses<'_>) -> MatchMode {
        clauses.matching.map_or(MatchMode::One, |m| m.mode)
    }
}
