//! Tells which events a rule can use that begin no run: what no rule can use is gone before it is put in order.
//!
//! A run that lives may take an event only where the step's condition on the event alone holds, an absence, a `stop on` or a window
//! likewise. A rule that asks for the very next event of its input sees all of them.

use std::cell::Cell;
use std::collections::BTreeMap;

use lapwing_dsl::ir::{Expr, WindowKey};
use lapwing_dsl::program::Program;
use lapwing_dsl::schema::{EventId, Schema};

use super::{Index, Scratch};
use crate::batch::{Batch, Hit};
use crate::data::Data;
use crate::planted::{Bug, bug};
use crate::rule_set::RuleEntry;
use crate::terms::strip_spans;

/// What is asked of the events of each type before any state is looked at.
#[derive(Clone, Debug, Default)]
pub struct Uses {
    /// For each event type whether some rule may use each event of it.
    all: Vec<bool>,
    /// For the others what the rules ask of it.
    some: Index,
}

impl Uses {
    /// Those of a rule set.
    pub fn new(schema: &Schema, rules: &[RuleEntry]) -> Uses {
        let mut all = vec![false; schema.events.len()];
        for rule in rules {
            uses(&rule.program, |event, condition| {
                all[event.0 as usize] |= condition.is_empty() || sees_all(&rule.program, event);
            });
        }
        // Which rule asks does not matter: what many ask is one.
        let mut asked: BTreeMap<(EventId, String), &[Expr]> = BTreeMap::new();
        for rule in rules {
            uses(&rule.program, |event, condition| {
                if !all[event.0 as usize] {
                    asked.insert((event, picture(condition)), condition);
                }
            });
        }
        let numbered = asked.iter().enumerate();
        let steps = numbered.map(|(i, ((event, _), asked))| (*event, Hit { rule: i as u32, step: 0 }, *asked));
        Uses { some: Index::build(schema, steps, true), all }
    }

    /// Memory for look-ups.
    pub fn scratch(&self) -> Scratch {
        self.some.scratch()
    }

    /// Whether a run that lives, or a window, may use an event, as of the lists and tables.
    #[inline]
    pub fn has(&self, batch: &Batch, at: usize, scratch: &mut Scratch, data: &Data) -> bool {
        self.all[batch.rows[at].event.0 as usize] || self.some.meets_any(batch, at, scratch, data, &Cell::new(0))
    }
}

/// What a condition says, wherever it stands.
fn picture(condition: &[Expr]) -> String {
    let bare = condition.iter().cloned().map(|mut term| {
        strip_spans(&mut term);
        format!("{:?}", term.kind)
    });
    bare.collect::<Vec<_>>().join(" and ")
}

/// Whether a rule has to see each event of a type, whatever it holds.
fn sees_all(program: &Program, event: EventId) -> bool {
    let next = program.nfa.states.iter().any(|state| state.strict || state.absences.iter().any(|a| a.next));
    let input = |of: EventId| program.rule.steps.iter().any(|step| step.event == of);
    next && input(event) || program.rule.steps.iter().any(|step| step.event == event && step.until.is_some())
}

/// Calls for each place where a rule may use an event that begins no run, with the condition on the event alone.
fn uses<'p>(program: &'p Program, mut each: impl FnMut(EventId, &'p [Expr])) {
    for (i, step) in program.rule.steps.iter().enumerate().filter(|(_, step)| !(step.absence && bug(Bug::Uses))) {
        // A model is asked where a run waits for the step, not for every event that might be of use.
        each(step.event, program.conditions[i].without_models());
    }
    if let Some(stop) = &program.rule.stop {
        each(stop.event, stop.filter.as_slice());
    }
    for window in &program.rule.windows {
        match window.key {
            // Every event of the input is sampled.
            WindowKey::Input => program.rule.steps.iter().for_each(|step| each(step.event, &[])),
            _ => each(window.event, window.filter.as_slice()),
        }
    }
}
