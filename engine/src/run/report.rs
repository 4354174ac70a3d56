//! Turns a complete match into what leaves the engine: emitted values, message, severity, evidence.

use std::cell::{Cell, RefCell};

use lapwing_dsl::functions::EvalError;
use lapwing_dsl::ir::StepId;
use lapwing_dsl::value::Value;

use super::Complete;
use crate::Millis;
use crate::asking::Asking;
use crate::batch::EventView;
use crate::bound::{BoundEvents, BoundRef};
use crate::data::Data;
use crate::data::model::Score;
use crate::eval::{Scope, Windows};
use crate::limits::Cap;
use crate::output::{AlertId, Evidence, Match, Status};
use crate::planted::{Bug, bug};
use crate::rule_set::RuleEntry;

/// What a match is reported with.
pub struct Reporter<'a> {
    /// Index of the rule.
    pub rule: u32,
    /// The rule.
    pub entry: &'a RuleEntry,
    /// The key's parts.
    pub key: &'a [Value<'static>],
    /// The key's bytes.
    pub key_bytes: &'a [u8],
    /// Names of the sources.
    pub sources: &'a [String],
    /// The current event; none where time completed the match.
    pub event: Option<EventView<'a>>,
    /// Windows as of now.
    pub windows: &'a dyn Windows,
    /// Lists and tables as of now.
    pub data: &'a Data,
    /// The event's time, or the deadline that completed the match.
    pub now: Millis,
    /// Counts faults.
    pub errors: &'a Cell<u64>,
}

impl Reporter<'_> {
    fn scope<'s>(&'s self, complete: &Complete, bound: &'s BoundEvents) -> Scope<'s> {
        self.scope_at(Some(BoundRef::Shared(bound.get(complete.last))), bound)
    }

    /// `last` is the last event bound; none where nothing is.
    fn scope_at<'s>(&'s self, last: Option<BoundRef<'s>>, bound: &'s BoundEvents) -> Scope<'s> {
        Scope {
            program: Some(&self.entry.program),
            event: self.event,
            current: last,
            step: last.map_or(StepId(0), BoundRef::step),
            bound,
            last,
            element: (None, None),
            key: self.key,
            windows: self.windows,
            data: self.data,
            now: self.now,
            errors: self.errors,
            asking: None,
        }
    }

    /// Whether `when` holds for a match.
    pub fn when_holds(&self, complete: &Complete, bound: &BoundEvents) -> bool {
        match &self.entry.program.rule.when {
            Some(when) => self.scope(complete, bound).holds(when),
            None => true,
        }
    }

    /// The match as it leaves.
    pub fn report(&self, complete: &Complete, bound: &BoundEvents) -> Match {
        let rule = &self.entry.program.rule;
        let asks = self.entry.program.asks_models;
        let told = RefCell::default();
        let scope = Scope { asking: asks.then_some(Asking::Used(&told)), ..self.scope(complete, bound) };
        let evidence: Vec<Evidence> = bound
            .oldest_first(complete.last)
            .iter()
            .map(|(_, n)| Evidence { step: n.step, origin: n.origin, at: n.at })
            .collect();
        let version = complete.started_version.unwrap_or(self.entry.version);
        let values = self.values(&scope);
        let scores = if asks { self.scores(told.take(), complete, bound) } else { Vec::new() };
        Match {
            started_version: complete.started_version,
            id: AlertId::new(&rule.name, version, self.key_bytes, &evidence, self.sources),
            first_at: complete.first_at,
            at: complete.deadline.unwrap_or(bound.get(complete.last).at),
            evidence,
            caps: self.caps(Some(BoundRef::Shared(bound.get(complete.last)))),
            scores,
            ..values
        }
    }

    /// What leaves when a window closes that began at `first`; none where `when` does not hold. Of `bound` nothing is read.
    pub fn close(&self, first: Millis, end: Millis, version: Option<u32>, bound: &BoundEvents) -> Option<Match> {
        let rule = &self.entry.program.rule;
        let told = RefCell::default();
        let asking = self.entry.program.asks_models.then_some(Asking::Used(&told));
        let scope = Scope { asking, ..self.scope_at(None, bound) };
        if rule.when.as_ref().is_some_and(|when| !scope.holds(when)) {
            return None;
        }
        let values = self.values(&scope);
        let mut scores = told.take();
        Score::sort(&mut scores);
        Some(Match {
            started_version: version,
            id: AlertId::of_window(&rule.name, version.unwrap_or(self.entry.version), self.key_bytes, first),
            first_at: first,
            at: end,
            caps: self.caps(None),
            scores,
            ..values
        })
    }

    /// A match with what the rule's clauses make of it, and nothing of when and why.
    fn values(&self, scope: &Scope<'_>) -> Match {
        let rule = &self.entry.program.rule;
        let severity = match scope.value(&rule.severity) {
            Value::Text(s) => s.into_owned(),
            _ => "medium".to_owned(),
        };
        let message =
            (!rule.message.is_empty()).then(|| rule.message.iter().map(|part| text(&scope.value(part))).collect());
        let suppress_by = rule.suppress.as_ref().map(|suppress| match &suppress.by {
            None => self.key_bytes.to_vec(),
            Some(by) => {
                let mut bytes = Vec::new();
                for expr in by {
                    crate::key::push(&mut bytes, &scope.value(expr), true);
                }
                bytes
            }
        });
        let fields = rule.emit.iter().map(|(_, e)| scope.value(e).into_static()).collect();
        let risk = rule.risk.as_ref().map(|r| scope.value(r).into_static());
        Match {
            rule: self.rule,
            started_version: None,
            id: AlertId::default(),
            revision: 0,
            status: Status::Open,
            key: self.key.to_vec(),
            first_at: 0,
            at: 0,
            evidence: Vec::new(),
            fields,
            severity,
            risk,
            scores: Vec::new(),
            message,
            suppress_by,
            caps: 0,
        }
    }

    fn caps(&self, last: Option<BoundRef<'_>>) -> u8 {
        if self.windows.lost(last) { Cap::WindowEntries as u8 } else { 0 }
    }
}

impl Reporter<'_> {
    /// What models answered to all that the alert rests on: when its events were bound, to `when`, and to what it tells.
    fn scores(&self, told: Vec<Score>, complete: &Complete, bound: &BoundEvents) -> Vec<Score> {
        let program = &self.entry.program;
        let mut scores = told;
        if let Some(when) = &program.rule.when {
            let (errors, used) = (Cell::new(0), RefCell::default());
            let asking = Some(Asking::Used(&used));
            Scope { errors: &errors, asking, ..self.scope(complete, bound) }.holds(when);
            scores.extend(used.into_inner());
        }
        let most = if bug(Bug::ScoreKept) { 1 } else { usize::MAX };
        for (_, node) in bound.newest_first(complete.last).take(most) {
            if program.scored[node.step.0 as usize] {
                scores.extend(Score::unpack(&node.captured[program.captures[node.step.0 as usize].len()]));
            }
        }
        Score::sort(&mut scores);
        scores
    }
}

/// A value as it stands in a message; a missing one is `?`.
fn text(value: &Value<'_>) -> String {
    match lapwing_dsl::functions::text_of(value) {
        Ok(Value::Text(t)) => t.into_owned(),
        Ok(_) | Err(EvalError::Overflow | EvalError::DivisionByZero | EvalError::BadCast) => "?".to_owned(),
    }
}
