//! Derived events: what a stratum's rules make of a stretch of events is put among those events for the strata above.
//!
//! A derived event stands directly after the event that completed its match, or, where time completed it, before the next event at the
//! time of the deadline; of several at one place those of the lower stratum first, then in the order of rules, keys and matches. A
//! stratum sees the events of the log and what all strata below it derive. The order does not depend on how the log was cut into
//! stretches, since all strata are led to the same time before the next begins.

use std::cell::Cell;
use std::sync::Arc;

use crate::Millis;
use crate::batch::{Batch, Origin};
use crate::index::Scratch;
use crate::order::{Ordered, OrderedEvent};
use crate::output::{AlertId, Match, Output, Place};
use crate::planted::{Bug, bug};
use crate::rule_set::RuleSet;
use crate::store::codec::{Corrupt, Reader, Writer};
use crate::suppress::{Suppressor, Verdict};

/// The source of derived events: an [`Origin`] of it holds the first 80 bits of the id of the match.
pub const DERIVED: u16 = u16::MAX;

/// The origin of an event that a match became.
pub fn origin_of(id: AlertId) -> Origin {
    let [a, b, rest @ ..] = id.0;
    let offset = rest[..8].try_into().expect("eight of fourteen bytes");
    Origin { source: DERIVED, partition: u16::from_be_bytes([a, b]), offset: u64::from_be_bytes(offset) }
}

/// The digits that name a derived event in evidence: those that its id begins with.
pub fn digits_of(origin: Origin) -> String {
    format!("{:04x}{:016x}", origin.partition, origin.offset)
}

/// What numbers the events of the strata above the lowest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strata {
    /// For each stratum above the lowest the number of its next event.
    next: Vec<u64>,
}

/// What a step of all strata gave.
#[derive(Debug, Default)]
pub struct Climbed {
    /// What is no derived event.
    pub outputs: Vec<Output>,
    /// The matches that became events, each with how many of its rule `suppress` had held back before it.
    pub derived: Vec<(Match, u64)>,
    /// Derived events that `suppress` held back.
    pub held: u64,
    /// Faults in conditions, read as missing values, and derived events that were not made: a field that must be there was missing.
    pub errors: u64,
}

/// Derived events.
struct Events {
    batch: Batch,
    /// In the order of their places.
    events: Vec<Derived>,
}

/// A derived event.
struct Derived {
    place: Place,
    /// Its row in the batch.
    row: u32,
    at: Millis,
}

impl Events {
    /// Takes the derived events out of what a stratum gave.
    fn take(
        &mut self,
        rules: &RuleSet,
        mut outputs: Vec<Output>,
        suppressor: &mut Suppressor,
        scratch: &mut Scratch,
        climbed: &mut Climbed,
    ) {
        outputs.sort_by(|a, b| a.place.cmp(&b.place));
        let errors = Cell::new(0);
        for output in outputs {
            if rules.rules[output.body.rule as usize].program.rule.into.is_none() {
                climbed.outputs.push(output);
                continue;
            }
            let Verdict::Passes(before) = suppressor.judge(&output.body, rules) else {
                climbed.held += 1;
                continue;
            };
            if push(&mut self.batch, rules, scratch, &output.body, &errors) {
                let row = self.batch.rows.len() as u32 - 1;
                self.events.push(Derived { place: output.place, row, at: output.body.at });
                climbed.derived.push((output.body, before));
            } else {
                climbed.errors += 1;
            }
        }
        climbed.errors += errors.get();
        self.events.sort_by(|a, b| a.place.cmp(&b.place));
    }
}

impl Strata {
    /// Leads all strata over events, as [`Strata::climb`] does those above the lowest.
    pub fn lead(
        &mut self,
        rules: &Arc<RuleSet>,
        ready: &Ordered,
        suppressor: &mut Suppressor,
        mut step: impl FnMut(&Ordered) -> Option<Vec<Output>>,
    ) -> Climbed {
        match step(ready) {
            Some(first) if rules.derives => self.climb(rules, ready, first, suppressor, step),
            first => Climbed { outputs: first.unwrap_or_default(), ..Climbed::default() },
        }
    }

    /// Leads the strata above the lowest over what that was led over. `first` is what the lowest gave, under `rules`; `step` leads all
    /// shards over events of a stratum, and gives none where it could not.
    pub fn climb(
        &mut self,
        rules: &Arc<RuleSet>,
        ready: &Ordered,
        first: Vec<Output>,
        suppressor: &mut Suppressor,
        mut step: impl FnMut(&Ordered) -> Option<Vec<Output>>,
    ) -> Climbed {
        let mut climbed = Climbed::default();
        let mut derived = Events { batch: Batch::new(rules.layout.clone()), events: Vec::new() };
        let mut scratch = rules.index.scratch();
        derived.take(rules, first, suppressor, &mut scratch, &mut climbed);
        self.next.resize(usize::from(rules.strata) - 1, 0);
        for stratum in 1..rules.strata {
            let batch = Arc::new(std::mem::take(&mut derived.batch));
            let (input, places) = self.merge(stratum, ready, &batch, &derived.events);
            let Some(mut outputs) = step(&input) else { return climbed };
            let from = input.next_sequence - input.events.len() as u64;
            for output in &mut outputs {
                let place = &mut output.place;
                let event = places.get((place.sequence - from) as usize);
                let timed = place.deadline != Millis::MAX;
                place.sequence = event.map_or(ready.next_sequence, |e| e.sequence);
                // What time completes before a derived event that an event made comes after that event, as between any two events.
                if let Some(event) = event.filter(|e| !timed || (e.deadline == Millis::MAX && e.given > 1)) {
                    place.deadline = event.deadline;
                    place.given = if timed { event.given - 1 } else { event.given };
                }
            }
            drop(input);
            derived.batch = Arc::unwrap_or_clone(batch);
            derived.take(rules, outputs, suppressor, &mut scratch, &mut climbed);
        }
        climbed
    }

    /// The events of a stratum, with the places in the log that they stand at.
    fn merge(
        &mut self,
        stratum: u8,
        ready: &Ordered,
        batch: &Arc<Batch>,
        derived: &[Derived],
    ) -> (Ordered, Vec<Place>) {
        let next = &mut self.next[usize::from(stratum) - 1];
        let mut input = Ordered {
            batches: ready.batches.clone(),
            until: ready.until,
            stratum,
            since: ready.since,
            newest: ready.newest,
            ..Ordered::default()
        };
        input.batches.push(batch.clone());
        let number = ready.batches.len() as u32;
        let mut places: Vec<Place> = Vec::new();
        let mut push = |event: OrderedEvent, mut place: Place, places: &mut Vec<Place>| {
            let before = places.last().filter(|p| (p.sequence, p.deadline) == (place.sequence, place.deadline));
            // The even numbers are for what time completes in between.
            place.given = before.map_or(1, |p| p.given + 2);
            places.push(place);
            input.events.push(OrderedEvent { sequence: *next, ..event });
            *next += 1;
        };
        let mut waiting = derived.iter().peekable();
        let mut clock = ready.until;
        for event in &ready.events {
            let place = Place::of_event(event.sequence, 0);
            let comes_first = |d: &&Derived| (d.place.sequence, d.place.deadline) < (place.sequence, place.deadline);
            while let Some(d) = waiting.next_if(|d| comes_first(d) && !bug(Bug::Derived)) {
                push(d.event(number, clock), d.place.clone(), &mut places);
            }
            clock = event.clock;
            push(*event, place, &mut places);
        }
        for d in waiting {
            push(d.event(number, clock), d.place.clone(), &mut places);
        }
        input.next_sequence = *next;
        (input, places)
    }

    /// Writes the numbers.
    pub fn save(&self, w: &mut Writer) {
        w.list(self.next.iter(), |w, next| w.u64(*next));
    }

    /// Reads them.
    pub fn load(r: &mut Reader<'_>) -> Result<Strata, Corrupt> {
        Ok(Strata { next: r.list(|r| r.u64())? })
    }
}

impl Derived {
    /// It, in a batch of a number, where time stands at `clock` with the event before it.
    fn event(&self, batch: u32, clock: Millis) -> OrderedEvent {
        let timed = self.place.deadline != Millis::MAX;
        // A window's end is behind its last moment, at which it closes.
        let clock = if timed { self.place.deadline.max(self.at) } else { clock };
        OrderedEvent { batch, row: self.row, sequence: 0, clock, late: false }
    }
}

/// Appends the event that a match becomes. Returns whether it could: a field that must be there may be missing.
fn push(batch: &mut Batch, rules: &RuleSet, scratch: &mut Scratch, body: &Match, errors: &Cell<u64>) -> bool {
    let rule = &rules.rules[body.rule as usize].program.rule;
    let into = rule.into.as_ref().expect("only what is to be an event comes here");
    let ty = rules.schema.event(into.event);
    let given = || into.fields.iter().zip(&body.fields);
    if given().any(|(field, value)| value.is_missing() && !ty.field(*field).optional) {
        return false;
    }
    batch.push(into.event, body.at, origin_of(body.id));
    let layout = rules.layout.clone();
    for (field, value) in given() {
        if let Some(column) = layout.events[usize::from(into.event.0)].column_of[usize::from(field.0)] {
            batch.set(column, value.borrow());
        }
    }
    let row = batch.rows.len() - 1;
    rules.index.look_up(batch, row, scratch, &rules.data, errors);
    true
}
