//! Puts events in their one total order, keeps the watermarks, and hands back what is late.
//!
//! In event-time order an event waits until every partition's watermark has passed its time; in arrival order nothing waits and nothing is
//! late. Either way each event gets a number, and the time before which everything due has fired.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use crate::Millis;
use crate::batch::{Batch, Origin};

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

/// Orders events.
#[derive(Clone, Debug)]
pub struct Sequencer {
    order: Order,
    lateness: Millis,
    partitions: BTreeMap<Partition, PartitionTime>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// Batches with waiting rows, by number, with how many wait.
    held: BTreeMap<u64, (Arc<Batch>, u32)>,
    next_batch: u64,
    next_sequence: u64,
    clock: Millis,
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

impl Sequencer {
    /// A sequencer that has seen nothing. The lateness is in milliseconds.
    pub fn new(order: Order, lateness: Millis) -> Self {
        Sequencer {
            order,
            lateness,
            partitions: BTreeMap::new(),
            waiting: BinaryHeap::new(),
            held: BTreeMap::new(),
            next_batch: 0,
            next_sequence: 0,
            clock: Millis::MIN,
        }
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
        self.waiting.len()
    }

    /// The number of the next event.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Takes a batch of rows in the order in which they were read; puts what is ready into `ready` and what is late or
    /// ahead of `limit` into `aside`.
    pub fn take(&mut self, batch: Arc<Batch>, limit: Millis, ready: &mut Ordered, aside: &mut Vec<PutAside>) {
        match self.order {
            Order::Arrival => self.take_as_they_come(batch, limit, ready, aside),
            Order::EventTime => self.take_by_time(batch, limit, ready, aside),
        }
    }

    fn take_as_they_come(&mut self, batch: Arc<Batch>, limit: Millis, ready: &mut Ordered, aside: &mut Vec<PutAside>) {
        let number = ready.batches.len() as u32;
        for (i, row) in batch.rows.iter().enumerate() {
            if row.at > limit {
                aside.push(PutAside { origin: row.origin, at: row.at, reason: Aside::Ahead { limit } });
                continue;
            }
            self.clock = self.clock.max(row.at.saturating_sub(self.lateness));
            ready.events.push(OrderedEvent {
                batch: number,
                row: i as u32,
                sequence: self.next_sequence,
                clock: self.clock,
            });
            self.next_sequence += 1;
        }
        ready.batches.push(batch);
        ready.until = self.clock;
        ready.next_sequence = self.next_sequence;
    }

    fn take_by_time(&mut self, batch: Arc<Batch>, limit: Millis, ready: &mut Ordered, aside: &mut Vec<PutAside>) {
        let number = self.next_batch;
        self.next_batch += 1;
        let mut held = 0;
        let lateness = self.lateness;
        for (i, row) in batch.rows.iter().enumerate() {
            if row.at > limit {
                aside.push(PutAside { origin: row.origin, at: row.at, reason: Aside::Ahead { limit } });
                continue;
            }
            let partition = self.partitions.entry((row.origin.source, row.origin.partition)).or_default();
            let watermark = partition.greatest.map_or(Millis::MIN, |t| t.saturating_sub(lateness));
            partition.idle = false;
            if row.at < watermark {
                aside.push(PutAside { origin: row.origin, at: row.at, reason: Aside::Late { watermark } });
                continue;
            }
            partition.greatest = partition.greatest.max(Some(row.at));
            self.waiting.push(Reverse(Waiting {
                at: row.at,
                origin: row.origin,
                event: row.event.0,
                batch: number,
                row: i as u32,
            }));
            held += 1;
        }
        if held > 0 {
            self.held.insert(number, (batch, held));
        }
        let watermark = self.watermark();
        self.release(watermark, ready);
    }

    /// Releases what is strictly older than `time`: a partition may still bring events of that very time.
    fn release(&mut self, time: Millis, ready: &mut Ordered) {
        // Batch number → place in `ready`; batches are few, so a map by number is walked.
        let mut places: BTreeMap<u64, u32> = BTreeMap::new();
        while let Some(Reverse(next)) = self.waiting.peek() {
            if next.at >= time {
                break;
            }
            let Some(Reverse(next)) = self.waiting.pop() else { break };
            let place = *places.entry(next.batch).or_insert_with(|| {
                ready.batches.push(self.held[&next.batch].0.clone());
                ready.batches.len() as u32 - 1
            });
            self.clock = self.clock.max(next.at);
            ready.events.push(OrderedEvent {
                batch: place,
                row: next.row,
                sequence: self.next_sequence,
                clock: next.at,
            });
            self.next_sequence += 1;
            if let Some((_, held)) = self.held.get_mut(&next.batch) {
                *held -= 1;
                if *held == 0 {
                    self.held.remove(&next.batch);
                }
            }
        }
        self.clock = self.clock.max(time);
        ready.until = self.clock;
        ready.next_sequence = self.next_sequence;
    }

    /// Time passes without an event, up to `time`.
    pub fn advance_to(&mut self, time: Millis, ready: &mut Ordered) {
        for partition in self.partitions.values_mut() {
            partition.greatest = partition.greatest.max(Some(time.saturating_add(self.lateness)));
        }
        self.release(time, ready);
    }

    /// The end of time: everything that waits is released, everything due fires.
    pub fn finish(&mut self, ready: &mut Ordered) {
        self.release(Millis::MAX, ready);
    }
}
