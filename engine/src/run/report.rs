//! Turns a complete match into what leaves the engine: emitted values, message, severity, evidence.

use std::cell::{Cell, RefCell};

use lapwing_dsl::functions::EvalError;
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
        let last = BoundRef::Shared(bound.get(complete.last));
        Scope {
            program: Some(&self.entry.program),
            event: self.event,
            current: Some(last),
            step: last.step(),
            bound,
            last: Some(last),
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
        let version = complete.started_version.unwrap_or(self.entry.version);
        let fields = rule.emit.iter().map(|(_, e)| scope.value(e).into_static()).collect();
        let risk = rule.risk.as_ref().map(|r| scope.value(r).into_static());
        let scores = if asks { self.scores(told.take(), complete, bound) } else { Vec::new() };
        Match {
            rule: self.rule,
            started_version: complete.started_version,
            id: AlertId::new(&rule.name, version, self.key_bytes, &evidence, self.sources),
            revision: 0,
            status: Status::Open,
            key: self.key.to_vec(),
            first_at: complete.first_at,
            at: complete.deadline.unwrap_or(bound.get(complete.last).at),
            evidence,
            fields,
            severity,
            risk,
            scores,
            message,
            suppress_by,
            caps: if self.windows.lost(BoundRef::Shared(bound.get(complete.last))) {
                Cap::WindowEntries as u8
            } else {
                0
            },
        }
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
