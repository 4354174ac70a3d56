//! Tells what models will be asked of an event before any state is looked at, so that they can be asked for many events at once.

use std::cell::RefCell;

use lapwing_dsl::compile::walk::asks_model;
use lapwing_dsl::ir::Expr;
use lapwing_dsl::schema::{EventId, Schema};

use super::{Index, Scratch, first_steps};
use crate::asking::Asked;
use crate::batch::{Batch, Hit};
use crate::data::Data;
use crate::rule_set::RuleEntry;

/// What models are asked of an event whatever the state is: by the conditions of first steps, and where windows count it.
#[derive(Clone, Debug, Default)]
pub struct Asks {
    first: bool,
    windows: Index,
    any: bool,
}

impl Asks {
    /// Those of a rule set.
    pub fn new(schema: &Schema, rules: &[RuleEntry]) -> Asks {
        let first = first_steps(rules).any(|(_, _, condition)| condition.iter().any(asks_model));
        let windows = || rules.iter().flat_map(|rule| &rule.program.rule.windows);
        let mut asked: Vec<(EventId, Vec<Expr>)> = Vec::new();
        for window in windows() {
            // Of events that are counted, each value is asked for.
            let values = window.args.iter().filter(|arg| asks_model(arg));
            let values = values.map(|value| window.filter.iter().chain([value]).cloned().collect());
            let filter = window.filter.iter().filter(|filter| asks_model(filter)).map(|filter| vec![filter.clone()]);
            asked.extend(filter.chain(values).map(|condition| (window.event, condition)));
        }
        let any = first || !asked.is_empty();
        let steps = asked.iter().map(|(event, condition)| (*event, Hit { rule: 0, step: 0 }, condition.as_slice()));
        Asks { first, windows: Index::build(schema, steps, true), any }
    }

    /// Whether anything is asked.
    pub fn any(&self) -> bool {
        self.any
    }

    /// Memory for [`Asks::ask`].
    pub fn scratch(&self) -> Scratch {
        self.windows.scratch()
    }

    /// Writes down what is asked of models for a row, as far as it can be told before they have answered. The scratches are the index's and
    /// its own.
    pub fn ask(
        &self,
        index: &Index,
        (batch, at): (&Batch, usize),
        scratches: [&mut Scratch; 2],
        data: &Data,
        asking: &RefCell<Asked>,
    ) {
        let [first, windows] = scratches;
        if self.first {
            index.ask_first(batch, at, first, data, asking);
        }
        self.windows.ask_first(batch, at, windows, data, asking);
    }
}
