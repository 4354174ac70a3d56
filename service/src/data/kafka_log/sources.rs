//! The topics that events are read from: batches of messages in the order of their places.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lapwing_engine::batch::Origin;

use super::dress::dress;
use super::history::is_file;
use super::journal::{Mark, Positions};
use crate::data::event_log::Ended;
use crate::data::kafka::{Batch, Error, Message, Partition, Reader, Start};
use crate::data::pipeline::{Record, Records};

/// The most messages that are handed out at once.
const MESSAGES_MAX: usize = 16_384;

/// Messages that were taken together, in the order of their places.
#[derive(Default)]
pub struct Taken {
    batches: Vec<Arc<Batch>>,
    /// Where each stands, and where it is.
    order: Vec<(Origin, u32, u32)>,
    /// For each source the header that names the type of an event, where there is one.
    type_headers: Vec<Option<String>>,
    names: Vec<String>,
}

impl Taken {
    fn clear(&mut self) {
        self.batches.clear();
        self.order.clear();
    }

    fn message(&self, index: usize) -> Message<'_> {
        let (_, batch, index) = self.order[index];
        self.batches[batch as usize].get(index as usize)
    }

    /// The message of a place.
    pub fn find(&self, origin: Origin) -> Option<Message<'_>> {
        let at = self.order.binary_search_by_key(&origin, |(origin, _, _)| *origin).ok()?;
        let (_, batch, index) = self.order[at];
        Some(self.batches[batch as usize].get(index as usize))
    }

    /// The offsets that come next of the partitions that are in it.
    fn until(&self) -> Vec<Mark> {
        let mut until: Vec<Mark> = Vec::new();
        for (Origin { source, partition, offset }, _, _) in &self.order {
            match until.last_mut() {
                Some(Mark(s, p, next)) if (*s, *p) == (*source, *partition) => *next = offset + 1,
                _ => until.push(Mark(*source, *partition, offset + 1)),
            }
        }
        until
    }
}

impl Records for Taken {
    fn count(&self) -> usize {
        self.order.len()
    }

    #[inline]
    fn get(&self, index: usize) -> Record<'_> {
        Record { origin: self.order[index].0, bytes: self.message(index).payload().unwrap_or_default() }
    }

    fn dress(&self, index: usize, all: bool, into: &mut Vec<u8>) -> bool {
        let (Origin { source, .. }, _, _) = self.order[index];
        let header = self.type_headers[usize::from(source)].as_deref();
        (all || header.is_some()) && dress(&self.message(index), &self.names[usize::from(source)], header, all, into)
    }
}

/// Reads the partitions of all sources.
pub struct Sources {
    reader: Reader,
    /// The names of all sources, by number, which are those of the reader's topics.
    names: Vec<String>,
    /// What is read next of each partition.
    positions: Positions,
    /// What was handed out last.
    taken: Taken,
    /// Messages that were read before their turn came.
    early: BTreeMap<(u16, u16), VecDeque<(Arc<Batch>, u32)>>,
    /// Partitions that were read to their end when they were read last.
    at_end: BTreeMap<(u16, u16), bool>,
}

impl Sources {
    /// Reads these topics by a reader of them.
    pub fn new(reader: Reader, names: Vec<String>, type_headers: Vec<Option<String>>) -> Sources {
        let (positions, early, at_end) = Default::default();
        let taken = Taken { type_headers, names: names.clone(), ..Taken::default() };
        Sources { reader, names, positions, taken, early, at_end }
    }

    /// What is read next of each partition.
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// The name of a partition.
    pub fn name(&self, (source, partition): (u16, u16)) -> Partition {
        Partition::new(self.names[usize::from(source)].as_str(), i32::from(partition))
    }

    /// The reader itself.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// What was handed out last.
    pub fn taken(&self) -> &Taken {
        &self.taken
    }

    /// Whether a partition was read to its end.
    pub fn is_at_end(&self, partition: (u16, u16)) -> bool {
        self.at_end.get(&partition).copied().unwrap_or(false)
    }

    /// Reads partitions from these positions on, and forgets what was read before.
    pub fn go_to(&mut self, positions: Positions, wanted: impl Fn(u16) -> bool) -> Result<(), Error> {
        let is_topic = |source: u16| !is_file(&self.names[usize::from(source)]);
        let wanted = positions.iter().filter(|((source, _), _)| is_topic(*source) && wanted(*source));
        let all: Vec<_> = wanted.map(|(place, offset)| (self.name(*place), Start::At(*offset as i64))).collect();
        self.reader.assign(&all)?;
        self.positions = positions;
        self.taken.clear();
        self.early.clear();
        self.at_end.clear();
        Ok(())
    }

    /// Takes what has come; waits for it so long at most. Up to where the partitions were read then; nothing where nothing came.
    pub fn take(&mut self, wait: Duration) -> Result<Vec<Mark>, Ended> {
        self.taken.clear();
        let batch = Arc::new(self.reader.batch(MESSAGES_MAX, wait));
        self.look_at(&batch)?;
        let order = &mut self.taken.order;
        // Messages of one partition mostly stand together.
        let mut of = ((u16::MAX, u16::MAX), u64::MAX);
        for (index, message) in (0..).zip(batch.iter()) {
            let origin = origin_of(&message);
            let place = (origin.source, origin.partition);
            if of.0 != place {
                of = (place, self.positions.get(&place).copied().unwrap_or(u64::MAX));
            }
            // What is read twice is judged once.
            if origin.offset >= of.1 {
                order.push((origin, 0, index));
            }
        }
        self.taken.batches.push(batch);
        self.taken.order.sort_by_key(|(origin, _, _)| *origin);
        let until = self.taken.until();
        self.passed(&until);
        Ok(until)
    }

    /// Takes exactly what comes before these offsets. Whether it was all there; else it is to be called again.
    pub fn take_until(&mut self, until: &[Mark], wait: Duration) -> Result<bool, Ended> {
        let is_there = |sources: &Sources, Mark(source, partition, next): &Mark| {
            let place = (*source, *partition);
            let seen = sources.early.get(&place).and_then(|early| early.back());
            let last = seen.map(|(batch, index)| origin_of(&batch.get(*index as usize)).offset + 1);
            // Behind the last there may be what is no message: ends of transactions, and what was compacted away.
            last.is_some_and(|last| last >= *next)
                || sources.is_at_end(place)
                || sources.positions.get(&place) >= Some(next)
        };
        if !until.iter().all(|mark| is_there(self, mark)) {
            let batch = Arc::new(self.reader.batch(MESSAGES_MAX, wait));
            self.look_at(&batch)?;
            for (index, message) in (0..).zip(batch.iter()) {
                let origin = origin_of(&message);
                let place = (origin.source, origin.partition);
                if self.positions.get(&place).is_some_and(|next| origin.offset >= *next) {
                    self.early.entry(place).or_default().push_back((batch.clone(), index));
                }
            }
            return Ok(false);
        }
        self.taken.clear();
        for Mark(source, partition, next) in until {
            let Some(early) = self.early.get_mut(&(*source, *partition)) else { continue };
            while let Some((batch, index)) = early.front() {
                let origin = origin_of(&batch.get(*index as usize));
                if origin.offset >= *next {
                    break;
                }
                if self.taken.batches.last().is_none_or(|last| !Arc::ptr_eq(last, batch)) {
                    self.taken.batches.push(batch.clone());
                }
                self.taken.order.push((origin, self.taken.batches.len() as u32 - 1, *index));
                early.pop_front();
            }
        }
        self.taken.order.sort_by_key(|(origin, _, _)| *origin);
        self.passed(until);
        Ok(true)
    }

    /// A partition is known from an offset on. It is read from the next [`Sources::go_to`] on.
    pub fn know(&mut self, Mark(source, partition, offset): Mark) {
        self.positions.insert((source, partition), offset);
    }

    fn passed(&mut self, until: &[Mark]) {
        for Mark(source, partition, next) in until {
            self.positions.insert((*source, *partition), *next);
        }
    }

    /// Notes ends, and what is wrong.
    fn look_at(&mut self, batch: &Batch) -> Result<(), Ended> {
        let mut last = None;
        for message in batch.iter() {
            let place = (message.topic(), partition_of(message.partition()));
            if last != Some(place) {
                last = Some(place);
                self.at_end.insert(place, false);
            }
        }
        for (topic, partition, _) in &batch.ends {
            self.at_end.insert((*topic, partition_of(*partition)), true);
        }
        for error in &batch.errors {
            if matches!(error, Error::OffsetGone { .. }) {
                return Err(Ended::Failed(error.to_string()));
            }
            tracing::warn!(%error, "reading events");
        }
        for error in self.reader.client().errors() {
            tracing::warn!(%error, "reading events");
        }
        Ok(())
    }
}

fn partition_of(partition: i32) -> u16 {
    u16::try_from(partition).unwrap_or(u16::MAX)
}

/// Where a message stands: the reader's topics are the sources.
fn origin_of(message: &Message<'_>) -> Origin {
    let offset = u64::try_from(message.offset()).unwrap_or(0);
    Origin { source: message.topic(), partition: partition_of(message.partition()), offset }
}
