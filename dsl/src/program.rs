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
    /// For each step: whether its `where` asks a model. What the models answered is then kept of a bound event behind the captured fields.
    pub scored: Vec<bool>,
    /// Whether any expression of the rule asks a model.
    pub asks_models: bool,
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
    /// Terms that read nothing but the candidate event; those that ask a model, which cost most, last.
    pub event: Vec<Expr>,
    /// Terms that read the key's windows, but no run.
    pub key: Vec<Expr>,
    /// Terms that read what the run has bound.
    pub run: Vec<Expr>,
}

impl Condition {
    /// The terms on the event alone that ask no model.
    pub fn without_models(&self) -> &[Expr] {
        let cheap = self.event.iter().position(crate::compile::walk::asks_model).unwrap_or(self.event.len());
        &self.event[..cheap]
    }
}

impl Program {
    /// How many values are kept of an event bound to a step.
    pub fn kept(&self, step: StepId) -> usize {
        let step = step.0 as usize;
        self.captures[step].len() + usize::from(self.scored[step])
    }

    /// Where a field of a step's bound events is kept.
    pub fn capture(&self, step: StepId, field: FieldId) -> Option<usize> {
        self.captures[step.0 as usize].iter().position(|f| *f == field)
    }
}
