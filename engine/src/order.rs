//! Puts events in their one total order, keeps the watermarks, and hands back what is late.
//!
//! In event-time order an event waits until every partition's watermark has passed its time; in arrival order nothing waits and nothing is
//! late. Either way each event gets a number, and the time before which everything due has fired.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

use crate::Millis;
use crate::batch::{Batch, Origin, Row};
use crate::planted::{Bug, bug};

/// How events are put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they come.
    Arrival,
    /// By (time, source, partition, offset, event type).
    EventTime,
}

/// Events in order, ready for the shards.
#[derive(Clone, Debug, Default)]
pub struct Ordered {
    /// The batches that the events stand in.
    pub batches: Vec<Arc<Batch>>,
    /// The events.
    pub events: Vec<OrderedEvent>,
    /// Time after them: what is due strictly before has to fire.
    pub until: Millis,
    /// The number of the next event.
    pub next_sequence: u64,
    /// The time of the earliest event taken so far, in arrival order of the first; none before it.
    pub since: Option<Millis>,
    /// The greatest time of an event taken so far, or that time was said to have passed.
    pub newest: Option<Millis>,
    /// By which of what was read each of the events was ready, ascending; empty where nobody asked. See [`Sequencer::note_arrivals`].
    pub arrivals: Vec<Arrival>,
    /// The stratum of the rules that they are for. What stands above the lowest has numbers of its own: see [`crate::strata`].
    pub stratum: u8,
}

/// What an event that was read let become ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Where that event came from. Places ascend within what is read at once.
    pub origin: Origin,
    /// Events of smaller numbers were ready then.
    pub sequence: u64,
    /// Time as of then.
    pub clock: Millis,
    /// Whether the event itself waits among those that came late, under which number.
    late: Option<u64>,
}

impl Ordered {
    /// The event that let something happen when it was read; none where time alone did.
    pub fn came(&self, sequence: u64, deadline: Millis) -> Option<Origin> {
        let ready = |event: u64| self.arrivals.partition_point(|a| a.sequence <= event);
        let arrival = if deadline == Millis::MAX {
            ready(sequence)
        } else {
            // It was due when time was past it, but not before the event that let it wait.
            let before = self.events.partition_point(|e| e.sequence < sequence).checked_sub(1);
            let since = before.map_or(0, |event| ready(self.events[event].sequence));
            since.max(self.arrivals.partition_point(|a| a.clock <= deadline))
        };
        self.arrivals.get(arrival).map(|a| a.origin)
    }
}

/// One event in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderedEvent {
    /// Index of its batch in [`Ordered::batches`].
    pub batch: u32,
    /// Its row.
    pub row: u32,
    /// Its number.
    pub sequence: u64,
    /// Time as of the event: what is due strictly before fires first.
    pub clock: Millis,
    /// Whether it came behind the watermark: only rules with a `lateness` take it, and only to revise.
    pub late: bool,
}

/// An event that came behind its partition's watermark, or too far ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutAside {
    /// Where it came from.
    pub origin: Origin,
    /// Its time.
    pub at: Millis,
    /// Why.
    pub reason: Aside,
}

/// Why an event was put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// Behind the watermark of its partition.
    Late {
        /// That watermark.
        watermark: Millis,
    },
    /// Further ahead of the clock than allowed.
    Ahead {
        /// The greatest time allowed.
        limit: Millis,
    },
}

/// A partition of a source.
pub type Partition = (u16, u16);

/// What is known of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionTime {
    /// The greatest time seen; none before the first event.
    pub greatest: Option<Millis>,
    /// Whether it no longer holds the others back.
    pub idle: bool,
}

/// A batch of which the rows of some times are taken. Where a change of the rule set is under way, the same lines are
/// decoded for the old rules and for the new, and each takes its own times.
#[derive(Clone, Debug)]
pub struct Part {
    /// The rows.
    pub batch: Arc<Batch>,
    /// Rows of later times than this.
    pub above: Millis,
    /// Rows up to this time.
    pub up_to: Millis,
}

impl Part {
    /// All rows of a batch.
    pub fn whole(batch: Arc<Batch>) -> Part {
        Part { batch, above: Millis::MIN, up_to: Millis::MAX }
    }

    fn takes(&self, at: Millis) -> bool {
        (self.above == Millis::MIN || at > self.above) && at <= self.up_to
    }
}

/// Orders events.
#[derive(Clone, Debug)]
pub struct Sequencer {
    order: Order,
    lateness: Millis,
    partitions: BTreeMap<Partition, PartitionTime>,
    waiting: Queue,
    /// Late events that a rule may take, by the time at which their place is, and as they were read.
    late: BTreeMap<(Millis, u64), Waiting>,
    next_late: u64,
    /// Whether a rule takes late events.
    revises: bool,
    /// Whether [`Ordered::arrivals`] are told.
    notes_arrivals: bool,
    /// Batches with waiting rows, by number, with how many wait.
    held: BTreeMap<u64, (Arc<Batch>, u32)>,
    next_batch: u64,
    next_sequence: u64,
    clock: Millis,
    span: Span,
}

/// From when to when events were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    /// The time of the earliest, in arrival order of the first: what came behind it is not yet known when that is judged.
    pub since: Option<Millis>,
    /// The time of the latest.
    pub newest: Option<Millis>,
}

impl Span {
    #[inline]
    fn take(&mut self, at: Millis, order: Order) {
        self.since = match (self.since, order) {
            (Some(since), Order::Arrival) => Some(since),
            (Some(since), Order::EventTime) => Some(since.min(at)),
            (None, _) => Some(at),
        };
        self.newest = Some(self.newest.map_or(at, |newest| newest.max(at)));
    }

    fn tell(self, ready: &mut Ordered) {
        (ready.since, ready.newest) = (self.since, self.newest);
    }
}

/// An event that waits for the watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    at: Millis,
    origin: Origin,
    event: u16,
    batch: u64,
    row: u32,
}

/// Waiting events by their order: those that came in order stand in a queue, only the others in a heap.
#[derive(Clone, Debug, Default)]
struct Queue {
    ascending: VecDeque<Waiting>,
    others: BinaryHeap<Reverse<Waiting>>,
}

impl Queue {
    fn push(&mut self, waiting: Waiting) {
        if self.ascending.back().is_none_or(|last| *last <= waiting) {
            self.ascending.push_back(waiting);
        } else {
            self.others.push(Reverse(waiting));
        }
    }

    fn first(&self) -> Option<&Waiting> {
        match (self.ascending.front(), self.others.peek()) {
            (Some(a), Some(Reverse(b))) => Some(a.min(b)),
            (a, b) => a.or(b.map(|Reverse(b)| b)),
        }
    }

    /// The first one, if it is strictly older than `time`.
    fn pop_before(&mut self, time: Millis) -> Option<Waiting> {
        let first = self.first()?;
        if first.at >= time {
            return None;
        }
        match self.ascending.front() {
            Some(a) if a == first => self.ascending.pop_front(),
            _ => self.others.pop().map(|Reverse(b)| b),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.ascending.iter().chain(self.others.iter().map(|Reverse(w)| w))
    }

    fn len(&self) -> usize {
        self.ascending.len() + self.others.len()
    }
}

impl Sequencer {
    /// A sequencer that has seen nothing. The lateness is in milliseconds.
    pub fn new(order: Order, lateness: Millis) -> Self {
        Sequencer {
            order,
            lateness,
            partitions: BTreeMap::new(),
            waiting: Queue::default(),
            late: BTreeMap::new(),
            next_late: 0,
            revises: false,
            notes_arrivals: false,
            held: BTreeMap::new(),
            next_batch: 0,
            next_sequence: 0,
            clock: Millis::MIN,
            span: Span::default(),
        }
    }

    /// Whether a rule has a `lateness`: then late events go to the shards too.
    pub fn revise(&mut self, revises: bool) {
        self.revises = revises;
    }

    /// Whether to tell from here on by which of what was read each event was ready: rules by processing time say what they do as it is read.
    pub fn note_arrivals(&mut self, notes: bool) {
        self.notes_arrivals = notes;
    }

    /// Makes a partition known: until its first event it holds the others back.
    pub fn add_partition(&mut self, partition: Partition) {
        self.partitions.entry(partition).or_default();
    }

    /// Declares a partition idle: it no longer holds the others back.
    pub fn set_idle(&mut self, partition: Partition) {
        if let Some(p) = self.partitions.get_mut(&partition) {
            p.idle = true;
        }
    }

    /// What every partition's watermark has passed.
    pub fn watermark(&self) -> Millis {
        let active = self.partitions.values().filter(|p| !p.idle);
        let least = active.map(|p| p.greatest.map_or(Millis::MIN, |t| t.saturating_sub(self.lateness))).min();
        // Where all are idle, time stands at the greatest of them.
        let all = || self.partitions.values().filter_map(|p| p.greatest).max();
        least.or_else(|| all().map(|t| t.saturating_sub(self.lateness))).unwrap_or(Millis::MIN)
    }

    /// How many events wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len() + self.late.len()
    }

    /// The time of the first event that waits for its place.
    pub fn waits_until(&self) -> Option<Millis> {
        let late = self.late.first_key_value().map(|((place, _), _)| *place);
        self.waiting.first().map(|first| first.at).into_iter().chain(late).min()
    }

    /// The number of the next event.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The greatest time taken so far; the least time there is where nothing was taken.
    pub fn greatest(&self) -> Millis {
        self.partitions.values().filter_map(|p| p.greatest).max().unwrap_or(Millis::MIN)
    }

    /// The time of the latest event taken so far, or that time was said to have passed.
    pub fn newest(&self) -> Option<Millis> {
        self.span.newest
    }

    /// How events are put in order.
    pub fn order(&self) -> Order {
        self.order
    }

    /// Takes rows in the order in which their lines were read; puts what is ready into `ready` and what is late or
    /// ahead of `limit` into `aside`. Returns how many events were taken.
    pub fn take(&mut self, parts: Vec<Part>, limit: Millis, ready: &mut Ordered, aside: &mut Vec<PutAside>) -> u64 {
        let in_order = reading_order(&parts, self.order);
        let taken = match self.order {
            Order::Arrival => self.take_as_they_come(parts, &in_order, limit, ready, aside),
            Order::EventTime => self.take_by_time(parts, &in_order, limit, &mut ready.arrivals, aside),
        };
        if self.order == Order::EventTime {
            let watermark = self.watermark();
            self.release(watermark, ready);
        }
        taken
    }

    fn take_as_they_come(
        &mut self,
        parts: Vec<Part>,
        in_order: &[(u32, u32)],
        limit: Millis,
        ready: &mut Ordered,
        aside: &mut Vec<PutAside>,
    ) -> u64 {
        let first = ready.batches.len() as u32;
        let before = self.next_sequence;
        for (part, row) in in_order {
            let at = parts[*part as usize].batch.rows[*row as usize].at;
            if at > limit {
                let origin = parts[*part as usize].batch.rows[*row as usize].origin;
                aside.push(PutAside { origin, at, reason: Aside::Ahead { limit } });
                continue;
            }
            self.span.take(at, self.order);
            self.clock = self.clock.max(at.saturating_sub(self.lateness));
            if parts[*part as usize].batch.rows[*row as usize].used {
                ready.events.push(OrderedEvent {
                    batch: first + part,
                    row: *row,
                    sequence: self.next_sequence,
                    clock: self.clock,
                    late: false,
                });
            }
            self.next_sequence += 1;
            if self.notes_arrivals {
                let origin = parts[*part as usize].batch.rows[*row as usize].origin;
                let (sequence, clock) = (self.next_sequence, self.clock);
                ready.arrivals.push(Arrival { origin, sequence, clock, late: None });
            }
        }
        ready.batches.extend(parts.into_iter().map(|p| p.batch));
        self.span.tell(ready);
        ready.until = self.clock;
        ready.next_sequence = self.next_sequence;
        self.next_sequence - before
    }

    fn take_by_time(
        &mut self,
        parts: Vec<Part>,
        in_order: &[(u32, u32)],
        limit: Millis,
        arrivals: &mut Vec<Arrival>,
        aside: &mut Vec<PutAside>,
    ) -> u64 {
        let first = self.next_batch;
        self.next_batch += parts.len() as u64;
        let mut held = vec![0u32; parts.len()];
        let mut taken = 0;
        let lateness = self.lateness;
        for (part, index) in in_order {
            let row = &parts[*part as usize].batch.rows[*index as usize];
            let own = |at: Millis| parts[*part as usize].takes(at);
            if row.at > limit {
                if own(row.at) {
                    aside.push(PutAside { origin: row.origin, at: row.at, reason: Aside::Ahead { limit } });
                }
                continue;
            }
            let partition = self.partitions.entry((row.origin.source, row.origin.partition)).or_default();
            let behind = partition.greatest.map_or(Millis::MIN, |t| t.saturating_sub(lateness));
            // The others may have gone on while it was idle: what is behind them cannot have its place any more.
            let watermark = behind.max(self.clock);
            partition.idle = false;
            let waiting = Waiting {
                at: row.at,
                origin: row.origin,
                event: row.event.0,
                batch: first + u64::from(*part),
                row: *index,
            };
            if row.at < watermark || bug(Bug::Watermark) && row.at == watermark {
                if own(row.at) {
                    aside.push(PutAside { origin: row.origin, at: row.at, reason: Aside::Late { watermark } });
                }
                // The rule set takes it that is in force where it comes, whichever would have judged it in its time.
                let place = row.at.max(self.watermark());
                if self.revises && row.used && own(place) {
                    self.late.insert((place, self.next_late), waiting);
                    self.note_arrival(row.origin, Some(self.next_late), arrivals);
                    self.next_late += 1;
                    held[*part as usize] += 1;
                }
                continue;
            }
            if !own(row.at) {
                continue;
            }
            partition.greatest = partition.greatest.max(Some(row.at));
            self.span.take(row.at, self.order);
            self.note_arrival(row.origin, None, arrivals);
            taken += 1;
            if !row.used {
                continue;
            }
            self.waiting.push(waiting);
            held[*part as usize] += 1;
        }
        for (i, (part, held)) in parts.into_iter().zip(&held).enumerate() {
            if *held > 0 {
                self.held.insert(first + i as u64, (part.batch, *held));
            }
        }
        taken
    }

    /// How far time has come with an event. What it lets become ready is known once that is released.
    fn note_arrival(&self, origin: Origin, late: Option<u64>, arrivals: &mut Vec<Arrival>) {
        if self.notes_arrivals {
            // A partition that was idle may hold the watermark back again, but time does not go back.
            let clock = arrivals.last().map_or(Millis::MIN, |last| last.clock).max(self.watermark());
            arrivals.push(Arrival { origin, sequence: 0, clock, late });
        }
    }

    /// Releases what is strictly older than `time`: a partition may still bring events of that very time.
    fn release(&mut self, time: Millis, ready: &mut Ordered) {
        // Batch number → place in `ready`, and how many of it go.
        let mut places: BTreeMap<u64, (u32, u32)> = BTreeMap::new();
        let mut last: Option<(u64, (u32, u32))> = None;
        let mut first_late = self.first_late(time);
        let mut noted = 0;
        loop {
            // A late one stands behind all that was before its place.
            let (next, clock, late) = match (self.waiting.pop_before(first_late.unwrap_or(time)), first_late) {
                (Some(next), _) => (next, next.at, false),
                (None, None) => break,
                (None, Some(place)) => {
                    let ((_, number), next) = self.late.pop_first().expect("there is a first late one");
                    first_late = self.first_late(time);
                    let own = ready.arrivals.iter().position(|a| a.late == Some(number)).unwrap_or(0);
                    for arrival in ready.arrivals.iter_mut().take(own).skip(noted) {
                        arrival.sequence = self.next_sequence;
                    }
                    noted = noted.max(own);
                    (next, place, true)
                }
            };
            let not_yet = |a: &&mut Arrival| a.clock < clock || !late && a.clock == clock;
            for arrival in ready.arrivals.iter_mut().skip(noted).take_while(not_yet) {
                arrival.sequence = self.next_sequence;
                noted += 1;
            }
            // Neighbours mostly stand in one batch.
            if last.as_ref().is_none_or(|(batch, _)| *batch != next.batch) {
                if let Some((batch, place)) = last.take() {
                    places.insert(batch, place);
                }
                let place = places.get(&next.batch).copied().unwrap_or_else(|| {
                    ready.batches.push(self.held[&next.batch].0.clone());
                    (ready.batches.len() as u32 - 1, 0)
                });
                last = Some((next.batch, place));
            }
            let (_, (place, gone)) = last.as_mut().expect("it was just set");
            *gone += 1;
            self.clock = self.clock.max(clock);
            let (row, sequence) = (next.row, self.next_sequence);
            ready.events.push(OrderedEvent { batch: *place, row, sequence, clock, late });
            self.next_sequence += 1;
        }
        places.extend(last);
        for (batch, (_, gone)) in places {
            if let Some((_, held)) = self.held.get_mut(&batch) {
                *held -= gone;
                if *held == 0 {
                    self.held.remove(&batch);
                }
            }
        }
        for arrival in ready.arrivals.iter_mut().skip(noted) {
            arrival.sequence = self.next_sequence;
        }
        self.clock = self.clock.max(time);
        self.span.tell(ready);
        ready.until = self.clock;
        ready.next_sequence = self.next_sequence;
    }

    /// The place of the first late event, if that is no later than `time`.
    fn first_late(&self, time: Millis) -> Option<Millis> {
        self.late.first_key_value().map(|((place, _), _)| *place).filter(|place| *place <= time)
    }

    /// The events that wait, in their order, with the batches they stand in; behind them the late ones.
    pub(crate) fn waiting_rows(&self) -> Vec<(&Row, &Batch, bool)> {
        let mut waiting: Vec<&Waiting> = self.waiting.iter().collect();
        waiting.sort_unstable();
        let held = |w: &Waiting| &*self.held[&w.batch].0;
        let row = |w, late| (&held(w).rows[w.row as usize], held(w), late);
        let late = self.late.values().map(|w| row(w, true));
        waiting.into_iter().map(|w| row(w, false)).chain(late).collect()
    }

    /// From when to when events were taken.
    pub(crate) fn span(&self) -> Span {
        self.span
    }

    /// What is known of each partition.
    pub(crate) fn partitions(&self) -> &BTreeMap<Partition, PartitionTime> {
        &self.partitions
    }

    /// Time after the last events that were released.
    pub fn clock(&self) -> Millis {
        self.clock
    }

    /// Goes on from what was saved: all rows of `waiting` wait, of which some are late. The place of these is their own time, since time has
    /// passed all other places.
    pub(crate) fn go_on(
        &mut self,
        partitions: BTreeMap<Partition, PartitionTime>,
        clock: Millis,
        next_sequence: u64,
        span: Span,
        waiting: Vec<Batch>,
        late: &BTreeSet<(Origin, u16)>,
    ) {
        self.span = span;
        self.partitions = partitions;
        self.clock = clock;
        self.next_sequence = next_sequence;
        for batch in waiting {
            let number = self.next_batch;
            self.next_batch += 1;
            for (i, row) in batch.rows.iter().enumerate() {
                let (at, origin, event) = (row.at, row.origin, row.event.0);
                let waiting = Waiting { at, origin, event, batch: number, row: i as u32 };
                if late.contains(&(origin, event)) {
                    self.late.insert((at, self.next_late), waiting);
                    self.next_late += 1;
                } else {
                    self.waiting.push(waiting);
                }
            }
            let held = batch.rows.len() as u32;
            if held > 0 {
                self.held.insert(number, (Arc::new(batch), held));
            }
        }
    }

    /// Time passes without an event, up to `time`.
    pub fn advance_to(&mut self, time: Millis, ready: &mut Ordered) {
        for partition in self.partitions.values_mut() {
            partition.greatest = partition.greatest.max(Some(time.saturating_add(self.lateness)));
        }
        self.begin(time);
        self.release(time, ready);
    }

    /// Time had come so far, if no event tells of an earlier or a later one.
    pub fn begin(&mut self, time: Millis) {
        self.span.take(time, self.order);
    }

    /// The end of time: everything that waits is released, everything due fires.
    pub fn finish(&mut self, ready: &mut Ordered) {
        self.release(Millis::MAX, ready);
    }
}

/// The rows, as (part, row), in the order in which their lines were read; in arrival order those that the parts take.
fn reading_order(parts: &[Part], order: Order) -> Vec<(u32, u32)> {
    let mut all = Vec::with_capacity(parts.iter().map(|p| p.batch.rows.len()).sum());
    for (p, part) in parts.iter().enumerate() {
        let all_of = order == Order::EventTime;
        let rows = part.batch.rows.iter().enumerate().filter(|(_, row)| all_of || part.takes(row.at));
        all.extend(rows.map(|(r, _)| (p as u32, r as u32)));
    }
    let place = |(part, row): &(u32, u32)| {
        let row = &parts[*part as usize].batch.rows[*row as usize];
        (row.origin, row.event)
    };
    if parts.iter().any(|p| p.up_to != Millis::MAX) {
        all.sort_by_key(place);
    }
    all
}
