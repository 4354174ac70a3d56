//! A compiled rule: immutable, shared, ready to run. What moves (runs, windows) is the engine's.

use crate::ir::{Expr, Rule, StepId};
use crate::nfa::Nfa;
use crate::schema::{EventId, FieldId};

/// A compiled rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// The typed rule it was made from.
    pub rule: Rule,
    /// Its automaton.
    pub nfa: Nfa,
    /// For each step: what of its condition needs the event alone, what needs the run.
    pub conditions: Vec<Condition>,
    /// For each step: the fields of a bound event that later conditions and the alert read. The event's time and place are
    /// always kept.
    pub captures: Vec<Vec<FieldId>>,
    /// The event types of the rule's input, ascending.
    pub inputs: Vec<EventId>,
    /// The steps that can bind a match's first event.
    pub first_steps: Vec<StepId>,
    /// Hash of the rule's meaning: equal for rules that differ in layout, comments, title or message only.
    pub fingerprint: u64,
}

/// A step's `where`, split by what its terms read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Condition {
    /// Terms that read nothing but the candidate event.
    pub event: Vec<Expr>,
    /// Terms that read the key's windows, but no run.
    pub key: Vec<Expr>,
    /// Terms that read what the run has bound.
    pub run: Vec<Expr>,
}

impl Program {
    /// Where a field of a step's bound events is kept.
    pub fn capture(&self, step: StepId, field: FieldId) -> Option<usize> {
        self.captures[step.0 as usize].iter().position(|f| *f == field)
    }
}
