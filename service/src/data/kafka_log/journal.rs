//! The journal: what was decided while events were judged, an epoch a record.
//!
//! Alerts are a function of what was read, in which order, and of what the outside world decided in between: which partition was read how far, at
//! which reading of the clock, when a change took over, when a partition was declared idle. An epoch of the journal is committed together with
//! the alerts that it gave; who judges what it tells once more comes to the same state.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use lapwing_engine::Millis;
use serde::{Deserialize, Serialize};

use crate::data::event_log::Ended;
use crate::data::kafka::{Error, Partition, Properties, Reader, Start};

/// The version of the records that this one writes.
const VERSION: u32 = 1;

/// How long brokers may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// The offset that is read next of each partition, by source and partition.
pub type Positions = BTreeMap<(u16, u16), u64>;

/// A partition of a source, and an offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark(pub u16, pub u16, pub u64);

/// What happened next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Partitions were read up to before these offsets, and judged in the order of source, partition, offset.
    Read {
        /// The clock then, in milliseconds since 1970.
        at: Millis,
        /// Up to where.
        until: Vec<Mark>,
    },
    /// A change of the catalog took over.
    Change(u64),
    /// Time went on without events.
    Time {
        /// As if an event of this time had come.
        greatest: Millis,
        /// The clock then, in milliseconds since 1970.
        at: Millis,
    },
    /// A partition was known from then on, and read from this offset.
    Partition(Mark),
    /// A partition held time back no more until its next event.
    Idle(u16, u16),
}

/// An epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// The version of this form.
    pub v: u32,
    /// Its number, from 1.
    pub epoch: u64,
    /// The names of the sources, by number.
    pub sources: Vec<String>,
    /// Where each partition stood at its beginning.
    pub from: Vec<Mark>,
    /// What happened, in order.
    pub steps: Vec<Step>,
}

impl Epoch {
    /// An epoch with nothing in it yet.
    pub fn new(epoch: u64, sources: Vec<String>, from: &Positions) -> Epoch {
        Epoch { v: VERSION, epoch, sources, from: marks(from), steps: Vec::new() }
    }

    /// As a record.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and texts can be written")
    }

    fn decode(bytes: &[u8]) -> Result<Epoch, String> {
        let epoch: Epoch = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        match epoch.v {
            VERSION => Ok(epoch),
            v => Err(format!("it has version {v}, and this Lapwing knows {VERSION}")),
        }
    }
}

/// Positions as a list.
pub fn marks(positions: &Positions) -> Vec<Mark> {
    positions.iter().map(|((source, partition), offset)| Mark(*source, *partition, *offset)).collect()
}

/// A list as positions.
pub fn positions(marks: &[Mark]) -> Positions {
    marks.iter().map(|Mark(source, partition, offset)| ((*source, *partition), *offset)).collect()
}

/// Reads the epochs that were committed.
pub struct Journal {
    reader: Reader,
    topic: String,
    /// What was written before this was opened ends here.
    end: u64,
    /// The offset that is read next.
    offset: u64,
    read: VecDeque<Epoch>,
}

impl Journal {
    /// Opens a journal at an offset, or at the first that is kept where that comes later. Who wrote it before has to have ended.
    pub fn open(properties: &Properties, group: &str, topic: &str, offset: u64) -> Result<Journal, Error> {
        let mut reader = Reader::open(properties, group, &[topic.to_owned()], false)?;
        let partition = Partition::new(topic, 0);
        let (low, high) = reader.watermarks(&partition, ANSWER)?;
        let (low, end) = (u64::try_from(low).unwrap_or(0), u64::try_from(high).unwrap_or(0));
        let offset = offset.max(low);
        if offset < end {
            reader.assign(&[(partition, Start::At(offset as i64))])?;
        }
        Ok(Journal { reader, topic: topic.to_owned(), end, offset, read: VecDeque::new() })
    }

    /// Where what was written before ends.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The next epoch; none behind the last. Waits for brokers so long at most.
    pub fn next(&mut self, wait: Duration) -> Result<Option<Epoch>, Ended> {
        let until = Instant::now() + wait;
        loop {
            if let Some(epoch) = self.read.pop_front() {
                return Ok(Some(epoch));
            }
            if self.offset >= self.end {
                return Ok(None);
            }
            if Instant::now() >= until {
                return Err(Ended::Failed(format!("no broker gives the rest of the Kafka topic `{}`", self.topic)));
            }
            self.fill(Duration::from_millis(200))?;
        }
    }

    fn fill(&mut self, wait: Duration) -> Result<(), Ended> {
        let batch = self.reader.batch(1_000, wait);
        for message in batch.iter() {
            let offset = u64::try_from(message.offset()).unwrap_or(0);
            let epoch = Epoch::decode(message.payload().unwrap_or_default()).map_err(|why| {
                let topic = &self.topic;
                Ended::Failed(format!("offset {offset} of the Kafka topic `{topic}` is no epoch of a journal: {why}"))
            })?;
            self.read.push_back(epoch);
            self.offset = offset + 1;
        }
        for (_, _, offset) in &batch.ends {
            self.offset = self.offset.max(u64::try_from(*offset).unwrap_or(0));
        }
        match batch.errors.iter().find(|error| matches!(error, Error::OffsetGone { .. } | Error::NoTopic { .. })) {
            Some(error) => Err(Ended::Failed(error.to_string())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let from = Positions::from([((0, 0), 17), ((1, 2), 3)]);
        let mut epoch = Epoch::new(7, vec!["logins".to_owned(), "payments".to_owned()], &from);
        epoch.steps = vec![
            Step::Partition(Mark(0, 0, 17)),
            Step::Read { at: 1_700_000_000_000, until: vec![Mark(0, 0, 19)] },
            Step::Change(3),
            Step::Idle(1, 2),
            Step::Time { greatest: -5, at: 1_700_000_000_001 },
        ];
        assert_eq!(Epoch::decode(&epoch.encode()), Ok(epoch));
        assert!(Epoch::decode(br#"{"v":2,"epoch":1,"sources":[],"from":[],"steps":[]}"#).is_err());
    }
}
