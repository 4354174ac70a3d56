//! Finds the rules that an event may begin, without asking each.
//!
//! Each rule's first step is filed under one necessary condition, its witness: an equality, a set, a range, a prefix, a literal
//! in a text, or else only the event type. What an event's values find is then asked for the rest of its condition: bounds of a number as columns, all else
//! as terms; equal conditions of all rules are one term, and equal lists of terms one rest, judged at most once an event. The
//! index may name too much, never too little: the rest of the condition decides.

pub mod asks;
mod exact;
mod posting;
mod prefix;
mod range;
mod text;
pub mod uses;
pub mod witness;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use lapwing_dsl::ir::{Expr, StepId};
use lapwing_dsl::schema::{EventId, FieldId, Schema};
use lapwing_dsl::value::Value;

use self::exact::Exact;
use self::posting::{Entry, Posting, Postings};
use self::prefix::Prefixes;
use self::range::Ranges;
use self::text::Texts;
use self::witness::{Witness, choose};
use crate::asking::{Asked, Asking};
use crate::batch::{Batch, EventView, Hit};
use crate::bound::BoundEvents;
use crate::data::Data;
use crate::eval::Scope;
use crate::rule_set::RuleEntry;
use crate::terms::strip_spans;

/// For each event type, how its values find first steps.
#[derive(Clone, Debug, Default)]
pub struct Index {
    events: Vec<EventIndex>,
    terms_max: usize,
    rests_max: usize,
}

/// The index of one event type.
#[derive(Clone, Debug, Default)]
struct EventIndex {
    /// The steps filed.
    postings: Postings,
    /// Those found by their type alone.
    always: Posting,
    exact: Vec<(FieldId, Exact)>,
    ranges: Vec<(FieldId, Ranges)>,
    prefixes: Vec<(FieldId, Prefixes)>,
    texts: Vec<(FieldId, Texts)>,
    /// Conditions, each once.
    terms: Vec<Expr>,
    /// What is left of conditions, each list of terms once.
    rests: Vec<Vec<u32>>,
}

/// What is known of the terms for one event; memory that look-ups share.
#[derive(Debug, Default)]
pub struct Scratch {
    terms: Judged,
    rests: Judged,
    event: u32,
    found: Vec<Posting>,
    bytes: Vec<u8>,
    hits: Vec<Hit>,
    none: BoundEvents,
}

/// For each of several conditions the event for which it was judged last, and how.
#[derive(Debug, Default)]
struct Judged {
    of: Vec<(u32, bool)>,
}

impl Judged {
    fn new(count: usize) -> Judged {
        Judged { of: vec![(0, false); count] }
    }

    /// Whether a condition holds for an event.
    #[inline]
    fn holds(&mut self, condition: u32, event: u32, judge: impl FnOnce() -> bool) -> bool {
        let known = &mut self.of[condition as usize];
        if known.0 != event {
            *known = (event, judge());
        }
        known.1
    }
}

impl Index {
    /// The index of a rule set.
    pub fn new(schema: &Schema, rules: &[RuleEntry]) -> Index {
        Index::build(schema, first_steps(rules), true)
    }

    /// An index that finds every step by its event type alone: slow, and what the other is held against.
    pub fn without_witnesses(schema: &Schema, rules: &[RuleEntry]) -> Index {
        Index::build(schema, first_steps(rules), false)
    }

    /// Of steps with their event types and what they ask of the event alone.
    fn build<'r>(schema: &Schema, steps: impl Iterator<Item = (EventId, Hit, &'r [Expr])>, witnesses: bool) -> Index {
        let mut builders: Vec<Builder> = schema.events.iter().map(|_| Builder::default()).collect();
        for (event, hit, condition) in steps {
            builders[event.0 as usize].add(hit, condition, witnesses);
        }
        let events: Vec<EventIndex> = builders.into_iter().map(Builder::finish).collect();
        let terms_max = events.iter().map(|e| e.terms.len()).max().unwrap_or(0);
        let rests_max = events.iter().map(|e| e.rests.len()).max().unwrap_or(0);
        Index { events, terms_max, rests_max }
    }

    /// Which term of a condition is the witness that a first step is filed under; none where it is found by its event type alone.
    pub fn witness_of(condition: &[Expr]) -> Option<usize> {
        choose(condition).map(|(term, ..)| term)
    }

    /// Memory for look-ups.
    pub fn scratch(&self) -> Scratch {
        Scratch { terms: Judged::new(self.terms_max), rests: Judged::new(self.rests_max), ..Scratch::default() }
    }

    /// Adds to the batch the first steps that a row meets, as of the lists and tables. Rows are looked up in their order.
    pub fn look_up(&self, batch: &mut Batch, at: usize, scratch: &mut Scratch, data: &Data, errors: &Cell<u64>) {
        let row = batch.rows[at];
        let index = &self.events[row.event.0 as usize];
        if scratch.event == u32::MAX {
            *scratch = self.scratch();
        }
        scratch.event += 1;
        let mut hits = std::mem::take(&mut batch.hits);
        let start = hits.len();
        let scope = |none| Scope::of_event(EventView { batch, row: &row }, none, data, errors);
        index.find::<false>(scope, scratch, &mut hits);
        batch.rows[at].hits = (start as u32, hits.len() as u32);
        batch.hits = hits;
    }

    /// Writes down what a look-up will ask of models, as far as it can be told before they have answered.
    fn ask_first(&self, batch: &Batch, at: usize, scratch: &mut Scratch, data: &Data, asking: &RefCell<Asked>) {
        let row = batch.rows[at];
        let errors = Cell::new(0);
        let mut hits = std::mem::take(&mut scratch.hits);
        hits.clear();
        if scratch.event == u32::MAX {
            *scratch = self.scratch();
        }
        scratch.event += 1;
        let event = EventView { batch, row: &row };
        let scope = |none| Scope { asking: Some(Asking::First(asking)), ..Scope::of_event(event, none, data, &errors) };
        self.events[row.event.0 as usize].find::<false>(scope, scratch, &mut hits);
        scratch.hits = hits;
    }
}

impl Index {
    /// Whether an event meets any step.
    fn meets_any(&self, batch: &Batch, at: usize, scratch: &mut Scratch, data: &Data, errors: &Cell<u64>) -> bool {
        let row = batch.rows[at];
        scratch.event += 1;
        let mut hits = std::mem::take(&mut scratch.hits);
        hits.clear();
        let scope = |none| Scope::of_event(EventView { batch, row: &row }, none, data, errors);
        self.events[row.event.0 as usize].find::<true>(scope, scratch, &mut hits);
        let any = !hits.is_empty();
        scratch.hits = hits;
        any
    }
}

/// The steps that may begin a run, with their conditions on the event alone. What is read for rows begins none, but late events revise it.
fn first_steps(rules: &[RuleEntry]) -> impl Iterator<Item = (EventId, Hit, &[Expr])> {
    rules.iter().enumerate().flat_map(|(r, rule)| {
        let program = &rule.program;
        let revised = if rule.closes_rows() && program.rule.lateness > 0 { program.rule.steps.len() } else { 0 };
        let revised = (0..revised as u16).map(StepId);
        program.first_steps.iter().copied().chain(revised).map(move |step| {
            let event = program.rule.steps[step.0 as usize].event;
            let hit = Hit { rule: r as u32, step: step.0 };
            (event, hit, &*program.conditions[step.0 as usize].event)
        })
    })
}

impl EventIndex {
    /// Appends the steps that an event meets, in order of rules; where `ANY`, stops when there are some.
    #[inline]
    fn find<'a, const ANY: bool>(
        &'a self,
        scope: impl FnOnce(&'a BoundEvents) -> Scope<'a>,
        scratch: &'a mut Scratch,
        hits: &mut Vec<Hit>,
    ) {
        let Scratch { terms, rests, event: number, found, bytes, none, .. } = scratch;
        let scope = scope(none);
        let event = scope.event.expect("the index looks at an event");
        found.clear();
        found.push(self.always);
        for (field, exact) in &self.exact {
            exact.find(&event.field(*field), bytes, found);
        }
        for (field, ranges) in &self.ranges {
            found.extend(as_number(&event.field(*field)).map(|v| ranges.find(v)));
        }
        for (field, prefixes) in &self.prefixes {
            if let Value::Text(text) = event.field(*field) {
                prefixes.find(&text, found);
            }
        }
        for (field, texts) in &self.texts {
            if let Value::Text(text) = event.field(*field) {
                texts.find(&text, found);
            }
        }
        let start = hits.len();
        let mut rest_holds = |rest: u32| {
            let own = &self.rests[rest as usize];
            own.is_empty()
                || rests.holds(rest, *number, || {
                    own.iter().all(|t| terms.holds(*t, *number, || scope.holds(&self.terms[*t as usize])))
                })
        };
        for posting in found.iter() {
            self.postings.meet::<ANY>(*posting, hits, &mut rest_holds, |field| as_number(&event.field(field)));
        }
        // Each block is in order of rules, but the next begins anew.
        if !hits[start..].is_sorted() {
            hits[start..].sort();
        }
        if !self.texts.is_empty() {
            dedup_from(start, hits);
        }
    }
}

/// Of steps found more than once, each stays once.
fn dedup_from(start: usize, hits: &mut Vec<Hit>) {
    let mut kept = start;
    for i in start..hits.len() {
        if kept == start || hits[kept - 1] != hits[i] {
            hits[kept] = hits[i];
            kept += 1;
        }
    }
    hits.truncate(kept);
}

/// A number as the bounds of witnesses see it.
#[inline]
fn as_number(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Int(v) | Value::Timestamp(v) | Value::Duration(v) => Some(*v as f64),
        // Both zeros are one number.
        Value::Float(v) => Some(*v + 0.0),
        Value::Decimal(v) => Some(f64::try_from(*v).unwrap_or(0.0)),
        _ => None,
    }
}

#[derive(Default)]
struct Builder {
    index: EventIndex,
    entries: Vec<Entry>,
    always: Vec<u32>,
    /// Terms by a faithful picture of them.
    terms: BTreeMap<String, u32>,
    rests: BTreeMap<Vec<u32>, u32>,
    exact: BTreeMap<FieldId, Vec<(Value<'static>, u32)>>,
    ranges: BTreeMap<FieldId, Vec<(witness::Bounds, u32)>>,
    prefixes: BTreeMap<FieldId, Vec<(String, u32)>>,
    texts: BTreeMap<FieldId, Vec<text::Filed>>,
}

impl Builder {
    fn add(&mut self, hit: Hit, condition: &[Expr], witnesses: bool) {
        let number = self.entries.len() as u32;
        let chosen = if witnesses { choose(condition) } else { None };
        let mut left: Vec<&Expr> = match &chosen {
            // A witness that says just what its term says leaves nothing of that to be asked.
            Some((term, _, true)) => condition.iter().enumerate().filter(|(i, _)| i != term).map(|(_, e)| e).collect(),
            _ => condition.iter().collect(),
        };
        let bounds = if witnesses { take_bounds(&mut left) } else { None };
        let terms: Vec<u32> = left.into_iter().map(|e| self.term(e)).collect();
        let rest = *self.rests.entry(terms).or_insert_with_key(|terms| {
            self.index.rests.push(terms.clone());
            self.index.rests.len() as u32 - 1
        });
        self.entries.push(Entry { hit, rest, bounds });
        match chosen.map(|(_, witness, _)| witness) {
            None => self.always.push(number),
            Some(Witness::OneOf(field, values)) => {
                let filed = self.exact.entry(field).or_default();
                filed.extend(values.into_iter().map(|v| (v, number)));
            }
            Some(Witness::Within(field, bounds)) => self.ranges.entry(field).or_default().push((bounds, number)),
            Some(Witness::Prefix(field, prefix)) => self.prefixes.entry(field).or_default().push((prefix, number)),
            Some(Witness::Substring { field, folded, literals }) => {
                let filed = self.texts.entry(field).or_default();
                filed.extend(literals.into_iter().map(|literal| (literal, folded, number)));
            }
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

    fn finish(self) -> EventIndex {
        let Builder { mut index, entries, mut always, exact, ranges, prefixes, texts, .. } = self;
        let mut postings = Postings::default();
        let mut post = |numbers: &[u32]| postings.add(numbers.iter().map(|n| &entries[*n as usize]));
        index.exact = exact.into_iter().map(|(f, filed)| (f, Exact::new(filed, &mut post))).collect();
        index.prefixes = prefixes.into_iter().map(|(f, filed)| (f, Prefixes::new(filed, &mut post))).collect();
        for (field, filed) in ranges {
            match Ranges::new(&filed, &mut post) {
                Some(ranges) => index.ranges.push((field, ranges)),
                // Too many ranges over one another: the type alone finds them.
                None => always.extend(filed.iter().map(|(_, entry)| *entry)),
            }
        }
        for (field, filed) in texts {
            match Texts::new(&filed, &mut post) {
                Some(texts) => index.texts.push((field, texts)),
                None => always.extend(filed.iter().map(|(_, _, entry)| *entry)),
            }
        }
        // An entry may be there under several literals.
        always.sort_unstable();
        always.dedup();
        index.always = post(&always);
        index.postings = postings;
        index
    }
}

/// Takes the bounds of one number out of the terms, where terms say just that it lies within bounds.
fn take_bounds(terms: &mut Vec<&Expr>) -> Option<(FieldId, witness::Bounds)> {
    let mut taken: Option<(FieldId, witness::Bounds)> = None;
    terms.retain(|term| match (witness::bounds(term), &mut taken) {
        (Some((field, bounds)), None) => {
            taken = Some((field, bounds));
            false
        }
        (Some((field, bounds)), Some((own, both))) if field == *own => {
            *both = both.and(bounds);
            false
        }
        _ => true,
    });
    taken
}
