//! One rule: the order in which its parts are checked, and what they share.

use super::World;
use super::clauses::Clauses;
use super::closing::ClosingCheck;
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
    /// The window at whose close the rule fires.
    pub closing: Option<ClosingCheck<'a>>,
}

/// What a rule's alert holds, and when there is one.
struct Results {
    when: Option<ir::Expr>,
    emit: Option<Vec<(String, ir::Expr)>>,
    into: Option<Option<ir::Into>>,
    message: Vec<ir::Expr>,
    severity: Option<ir::Expr>,
    risk: Option<ir::Expr>,
    suppress: Option<ir::Suppress>,
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
            closing: None,
        }
    }

    fn rule(&mut self, decl: &'a RuleDecl) -> Option<Rule> {
        let clauses = Clauses::read(decl, &mut self.found);
        self.by = clauses.by;
        let of_window = clauses.window.is_some();
        let Some(matching) = clauses.matching.filter(|_| !of_window) else {
            if of_window {
                return self.closing_rule(decl, &clauses);
            }
            self.no_match(decl);
            return None;
        };
        self.collect_steps(&matching.pattern);
        self.rule_key();
        let keys = self.step_keys();
        self.check_structure(&clauses);
        let filters = self.conditions();
        self.refuse_unreachable(&clauses, &filters, &keys);
        let results = self.results(&clauses);
        let stop = clauses.stop.and_then(|s| self.stop(s));
        let skip = self.skip(&clauses);
        let pattern = self.pattern(&matching.pattern);
        self.lint(&clauses, decl.name.span);
        let (steps, pattern) = (self.ir_steps(keys, filters)?, pattern?);
        Some(Rule {
            mode: matching.mode,
            within: clauses.within.map(|d| d.ms),
            skip,
            report: clauses.report.map_or(Report::Early, |(r, _)| r),
            stop,
            ..self.finished(decl, &clauses, results, steps, pattern)?
        })
    }

    /// A rule that fires when a window closes.
    fn closing_rule(&mut self, decl: &'a RuleDecl, clauses: &Clauses<'a>) -> Option<Rule> {
        self.rule_key();
        let closing = self.closing(clauses);
        let results = self.results(clauses);
        self.lint(clauses, decl.name.span);
        let (_, place) = clauses.window?;
        // What is not typed may be what counts.
        self.counts_something(place);
        let closing = closing.filter(|_| !self.broken)?;
        let (steps, pattern) = self.closing_steps(&closing.reach, place)?;
        let closing = Some(closing);
        Some(Rule { skip: ir::Skip::None, closing, ..self.finished(decl, clauses, results, steps, pattern)? })
    }

    /// The clauses that say what an alert holds.
    fn results(&mut self, clauses: &Clauses<'a>) -> Results {
        let result = Scope::result();
        let when = clauses.when.and_then(|e| self.condition(e, result));
        if let Some(when) = &when {
            self.refuse_never(std::slice::from_ref(when));
        }
        Results {
            when,
            emit: self.emit(clauses),
            into: self.into(clauses),
            message: clauses.message.map(|m| self.message(m)).unwrap_or_default(),
            severity: self.severity(clauses.severity),
            risk: clauses.risk.and_then(|e| self.risk(e)),
            suppress: clauses.suppress.and_then(|s| self.suppress(s)),
        }
    }

    /// A rule of its parts, with what is left out at its default.
    fn finished(
        &mut self,
        decl: &RuleDecl,
        clauses: &Clauses<'a>,
        results: Results,
        steps: Vec<ir::Step>,
        pattern: ir::Pattern,
    ) -> Option<Rule> {
        let lateness = self.lateness(clauses);
        Some(Rule {
            lateness,
            processing: clauses.processing.is_some(),
            name: decl.name.text.clone(),
            title: clauses.title.map(|t| t.value.clone()).unwrap_or_default(),
            severity: results.severity?,
            risk: results.risk,
            tags: clauses.tags.iter().map(|t| t.value.clone()).collect(),
            key: std::mem::take(&mut self.key),
            mode: MatchMode::One,
            steps,
            pattern,
            within: None,
            when: results.when,
            emit: results.emit?,
            into: results.into?,
            message: results.message,
            suppress: results.suppress,
            skip: ir::Skip::PastLast,
            report: Report::Early,
            stop: None,
            closing: None,
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
