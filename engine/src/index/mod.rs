//! Finds the rules that an event may begin, without asking each.
//!
//! Each rule's first step is filed under one necessary condition, its witness: an equality, a set, a range, a prefix, or else only
//! the event type. What an event's values find is then asked for the rest of its condition; equal conditions of all
//! rules are one term, judged at most once an event. The index may name too much, never too little: the rest of the condition
//! decides.

mod exact;
mod prefix;
mod range;
pub mod witness;

use std::cell::Cell;
use std::collections::BTreeMap;

use lapwing_dsl::ir::Expr;
use lapwing_dsl::schema::{FieldId, Schema};
use lapwing_dsl::value::Value;

use self::exact::Exact;
use self::prefix::Prefixes;
use self::range::Ranges;
use self::witness::{Witness, choose};
use crate::batch::{Batch, EventView, Hit};
use crate::bound::BoundEvents;
use crate::eval::Scope;
use crate::rule_set::RuleEntry;

/// For each event type, how its values find first steps.
#[derive(Clone, Debug, Default)]
pub struct Index {
    events: Vec<EventIndex>,
    terms_max: usize,
}

/// The index of one event type.
#[derive(Clone, Debug, Default)]
struct EventIndex {
    /// The steps filed.
    entries: Vec<Entry>,
    /// Those found by their type alone.
    always: Vec<u32>,
    exact: Vec<(FieldId, Exact)>,
    ranges: Vec<(FieldId, Ranges)>,
    prefixes: Vec<(FieldId, Prefixes)>,
    /// Conditions, each once.
    terms: Vec<Expr>,
}

/// A first step with what is left of its condition.
#[derive(Clone, Debug)]
struct Entry {
    hit: Hit,
    terms: Vec<u32>,
}

/// What is known of the terms for one event; memory that look-ups share.
#[derive(Debug, Default)]
pub struct Scratch {
    /// For each term the event for which it was judged.
    judged: Vec<u32>,
    holds: Vec<bool>,
    event: u32,
    found: Vec<u32>,
    hits: Vec<Hit>,
    bytes: Vec<u8>,
    none: BoundEvents,
}

impl Index {
    /// The index of a rule set.
    pub fn new(schema: &Schema, rules: &[RuleEntry]) -> Index {
        Index::build(schema, rules, true)
    }

    /// An index that finds every step by its event type alone: slow, and what the other is held against.
    pub fn without_witnesses(schema: &Schema, rules: &[RuleEntry]) -> Index {
        Index::build(schema, rules, false)
    }

    fn build(schema: &Schema, rules: &[RuleEntry], witnesses: bool) -> Index {
        let mut builders: Vec<Builder> = schema.events.iter().map(|_| Builder::default()).collect();
        for (r, rule) in rules.iter().enumerate() {
            for step in &rule.program.first_steps {
                let event = rule.program.rule.steps[step.0 as usize].event;
                let condition = &rule.program.conditions[step.0 as usize].event;
                let hit = Hit { rule: r as u32, step: step.0 };
                builders[event.0 as usize].add(hit, condition, witnesses);
            }
        }
        let events: Vec<EventIndex> = builders.into_iter().map(Builder::finish).collect();
        let terms_max = events.iter().map(|e| e.terms.len()).max().unwrap_or(0);
        Index { events, terms_max }
    }

    /// Which term of a condition is the witness that a first step is filed under; none where it is found by its event type alone.
    pub fn witness_of(condition: &[Expr]) -> Option<usize> {
        choose(condition).map(|(term, ..)| term)
    }

    /// Memory for look-ups.
    pub fn scratch(&self) -> Scratch {
        Scratch { judged: vec![0; self.terms_max], holds: vec![false; self.terms_max], ..Scratch::default() }
    }

    /// Adds to the batch the first steps that a row meets. Rows are looked up in their order.
    pub fn look_up(&self, batch: &mut Batch, at: usize, scratch: &mut Scratch, errors: &Cell<u64>) {
        let row = batch.rows[at];
        let index = &self.events[row.event.0 as usize];
        if scratch.event == u32::MAX {
            scratch.judged.fill(0);
            scratch.event = 0;
        }
        scratch.event += 1;
        index.find(EventView { batch, row: &row }, scratch, errors);
        let start = batch.hits.len() as u32;
        batch.hits.append(&mut scratch.hits);
        batch.rows[at].hits = (start, batch.hits.len() as u32);
    }
}

impl EventIndex {
    fn find(&self, event: EventView<'_>, scratch: &mut Scratch, errors: &Cell<u64>) {
        scratch.found.clear();
        scratch.found.extend_from_slice(&self.always);
        for (field, exact) in &self.exact {
            exact.find(&event.field(*field), &mut scratch.bytes, &mut scratch.found);
        }
        for (field, ranges) in &self.ranges {
            ranges.find(&event.field(*field), &mut scratch.found);
        }
        for (field, prefixes) in &self.prefixes {
            if let Value::Text(text) = event.field(*field) {
                prefixes.find(&text, &mut scratch.found);
            }
        }
        if scratch.found.len() > 1 {
            // Entries stand in order of rules, and so must hits.
            scratch.found.sort_unstable();
        }
        let Scratch { judged, holds, event: number, found, hits, none, .. } = scratch;
        let scope = Scope::of_event(event, none, errors);
        let mut term_holds = |term: u32| {
            let t = term as usize;
            if judged[t] != *number {
                judged[t] = *number;
                holds[t] = scope.holds(&self.terms[t]);
            }
            holds[t]
        };
        for entry in found.iter().map(|e| &self.entries[*e as usize]) {
            if entry.terms.iter().all(|t| term_holds(*t)) {
                hits.push(entry.hit);
            }
        }
    }
}

#[derive(Default)]
struct Builder {
    index: EventIndex,
    /// Terms by a faithful picture of them.
    terms: BTreeMap<String, u32>,
    exact: BTreeMap<FieldId, Vec<(Value<'static>, u32)>>,
    ranges: BTreeMap<FieldId, Vec<(witness::Bounds, u32)>>,
    prefixes: BTreeMap<FieldId, Vec<(String, u32)>>,
}

impl Builder {
    fn add(&mut self, hit: Hit, condition: &[Expr], witnesses: bool) {
        let number = self.index.entries.len() as u32;
        let chosen = if witnesses { choose(condition) } else { None };
        let left: Vec<&Expr> = match &chosen {
            // A witness that says just what its term says leaves nothing of that to be asked.
            Some((term, _, true)) => condition.iter().enumerate().filter(|(i, _)| i != term).map(|(_, e)| e).collect(),
            _ => condition.iter().collect(),
        };
        let terms = left.into_iter().map(|e| self.term(e)).collect();
        self.index.entries.push(Entry { hit, terms });
        match chosen.map(|(_, witness, _)| witness) {
            None => self.index.always.push(number),
            Some(Witness::OneOf(field, values)) => {
                let filed = self.exact.entry(field).or_default();
                filed.extend(values.into_iter().map(|v| (v, number)));
            }
            Some(Witness::Within(field, bounds)) => self.ranges.entry(field).or_default().push((bounds, number)),
            Some(Witness::Prefix(field, prefix)) => self.prefixes.entry(field).or_default().push((prefix, number)),
        }
    }

    fn term(&mut self, expr: &Expr) -> u32 {
        let mut bare = expr.clone();
        strip_spans(&mut bare);
        let terms = &mut self.index.terms;
        *self.terms.entry(format!("{:?}", bare.kind)).or_insert_with(|| {
            terms.push(bare);
            terms.len() as u32 - 1
        })
    }

    fn finish(mut self) -> EventIndex {
        self.index.exact = self.exact.into_iter().map(|(f, filed)| (f, Exact::new(filed))).collect();
        self.index.prefixes = self.prefixes.into_iter().map(|(f, filed)| (f, Prefixes::new(filed))).collect();
        for (field, filed) in self.ranges {
            match Ranges::new(&filed) {
                Some(ranges) => self.index.ranges.push((field, ranges)),
                // Too many ranges over one another: the type alone finds them.
                None => self.index.always.extend(filed.iter().map(|(_, entry)| *entry)),
            }
        }
        self.index
    }
}

fn strip_spans(expr: &mut Expr) {
    expr.span = Default::default();
    lapwing_dsl::compile::walk::children_mut(expr, &mut strip_spans);
}
