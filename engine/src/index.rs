//! Finds the rules that an event may begin, without asking each.

use std::cell::Cell;

use lapwing_dsl::ir::{Expr, StepId};
use lapwing_dsl::schema::Schema;

use crate::batch::{Batch, EventView, Hit};
use crate::bound::BoundEvents;
use crate::eval::{NoWindows, Scope};
use crate::rule_set::RuleEntry;

/// For each event type the first steps that may take it.
#[derive(Clone, Debug, Default)]
pub struct Index {
    events: Vec<Vec<Entry>>,
}

#[derive(Clone, Debug)]
struct Entry {
    hit: Hit,
    condition: Vec<Expr>,
}

impl Index {
    /// The index of a rule set.
    pub fn new(schema: &Schema, rules: &[RuleEntry]) -> Index {
        let mut events: Vec<Vec<Entry>> = vec![Vec::new(); schema.events.len()];
        for (r, rule) in rules.iter().enumerate() {
            for step in &rule.program.first_steps {
                let condition = rule.program.conditions[step.0 as usize].event.clone();
                let event = rule.program.rule.steps[step.0 as usize].event;
                events[event.0 as usize].push(Entry { hit: Hit { rule: r as u32, step: step.0 }, condition });
            }
        }
        Index { events }
    }

    /// Adds to the batch the first steps that its last row meets.
    pub fn look_up(&self, batch: &mut Batch, errors: &Cell<u64>) {
        let Some(row) = batch.rows.last() else { return };
        let row = *row;
        let none = BoundEvents::default();
        let mut hits = Vec::new();
        {
            let scope = Scope {
                program: None,
                event: Some(EventView { batch, row: &row }),
                step: StepId(0),
                bound: &none,
                last: None,
                element: (None, None),
                key: &[],
                windows: &NoWindows,
                errors,
            };
            for entry in &self.events[row.event.0 as usize] {
                if scope.all_hold(&entry.condition) {
                    hits.push(entry.hit);
                }
            }
        }
        batch.hits.extend(hits);
        let end = batch.hits.len() as u32;
        if let Some(row) = batch.rows.last_mut() {
            row.hits.1 = end;
        }
    }
}
