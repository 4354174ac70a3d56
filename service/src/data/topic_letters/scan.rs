//! Reads partitions of the topics for one request, as far as it wants.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Cursor, Failure, Place, Which};
use crate::data::kafka::{Error, Message, Partition, Properties, Reader, Start};

/// How long brokers may take to answer.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// How long a partition may hold nothing that can be read: a transaction may be open there.
const PATIENCE: Duration = Duration::from_secs(20);

/// The most messages that are taken at once.
const MESSAGES_MAX: usize = 1_000;

/// How far a partition was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    /// The offset that comes next.
    pub next: i64,
    /// Whether that is the end of what was to be read.
    pub end: bool,
    /// Where the end was when the first answer came.
    target: Option<i64>,
    /// No more is wanted.
    done: bool,
}

/// A reader of some of the topics.
pub(super) struct Scan {
    reader: Reader,
    topics: Vec<(Which, String)>,
}

impl Scan {
    pub fn open(properties: &Properties, group: &str, topics: Vec<(Which, String)>) -> Result<Scan, Error> {
        let names: Vec<String> = topics.iter().map(|(_, name)| name.clone()).collect();
        // A request holds little at once, and somebody waits until it has come to the end.
        let properties = properties.clone().with("queued.max.messages.kbytes", "8192").with("fetch.wait.max.ms", "20");
        Ok(Scan { reader: Reader::open(&properties, group, &names, true)?, topics })
    }

    /// All partitions.
    pub fn places(&self) -> Result<Vec<Place>, Error> {
        let mut places = Vec::new();
        for (which, name) in &self.topics {
            let count = self.reader.client().partitions(name, ANSWER)?;
            places.extend((0..count).map(|partition| Place { which: *which, partition }));
        }
        Ok(places)
    }

    /// How many partitions any topic has.
    pub fn partitions(&self, topic: &str) -> Result<i32, Error> {
        self.reader.client().partitions(topic, ANSWER)
    }

    /// The first offset of a partition, and the one behind its last.
    pub fn ends(&self, place: Place) -> Result<(i64, i64), Error> {
        self.reader.watermarks(&self.partition(place), ANSWER)
    }

    fn partition(&self, place: Place) -> Partition {
        let found = self.topics.iter().find(|(which, _)| *which == place.which);
        Partition::new(found.map_or("", |(_, name)| name.as_str()), place.partition)
    }

    /// Reads partitions from offsets on, until `take` wants no more of each or its end has come: that of what can be read, or with `whole` also of what is in
    /// transactions that were open when this began.
    pub fn run(
        &mut self,
        from: &BTreeMap<Place, i64>,
        until: Option<&Cursor>,
        whole: bool,
        mut take: impl FnMut(Place, &Message<'_>) -> bool,
    ) -> Result<BTreeMap<Place, Reached>, Failure> {
        let all: Vec<_> = from.iter().map(|(place, at)| (self.partition(*place), Start::At(*at))).collect();
        self.reader.assign(&all)?;
        let reached =
            |(place, at): (&Place, &i64)| (*place, Reached { next: *at, end: false, target: None, done: false });
        let mut reached: BTreeMap<Place, Reached> = from.iter().map(reached).collect();
        let mut heard = Instant::now();
        while reached.values().any(|reached| !reached.done) {
            let batch = self.reader.batch(MESSAGES_MAX, Duration::from_millis(100));
            let place = |topic: u16, partition| Place { which: self.topics[usize::from(topic)].0, partition };
            let mut wanted_no_more = Vec::new();
            for message in batch.iter() {
                let place = place(message.topic(), message.partition());
                let Some(reached) = reached.get_mut(&place).filter(|reached| !reached.done) else { continue };
                if message.offset() < reached.next {
                    continue;
                }
                heard = Instant::now();
                let is_behind = until.and_then(|until| until.get(place)).is_some_and(|last| message.offset() > last);
                if is_behind {
                    (reached.end, reached.done) = (true, true);
                } else {
                    reached.next = message.offset() + 1;
                    reached.done = !take(place, &message);
                }
                if reached.done {
                    wanted_no_more.push(self.partition(place));
                }
            }
            for (topic, partition, offset) in &batch.ends {
                let place = place(*topic, *partition);
                if let Some(reached) = reached.get_mut(&place).filter(|reached| !reached.done) {
                    reached.next = reached.next.max(*offset);
                    (reached.end, reached.done) = (true, !whole);
                }
            }
            for (place, reached) in reached.iter_mut().filter(|_| whole).filter(|(_, reached)| !reached.done) {
                // What the answers to reads tell is all that was written, committed or not.
                let known = || self.reader.known_watermarks(&self.partition(*place)).map(|(_, high)| high);
                reached.target = reached.target.or_else(known);
                reached.done = reached.target.is_some_and(|target| reached.next >= target);
                reached.end |= reached.done;
            }
            if let Some(error) = batch.errors.first() {
                return Err(error.clone().into());
            }
            if heard.elapsed() > PATIENCE {
                return Err(self.silence().into());
            }
            if !wanted_no_more.is_empty() && reached.values().any(|reached| !reached.done) {
                self.reader.pause(&wanted_no_more)?;
            }
        }
        Ok(reached)
    }

    /// Why nothing comes.
    fn silence(&self) -> Error {
        let open = || Error::Other {
            doing: "reading dead letters",
            name: "_TIMED_OUT".to_owned(),
            reason: "nothing comes; a transaction may be open in their topic, try again soon".to_owned(),
        };
        self.reader.client().errors().into_iter().next().unwrap_or_else(open)
    }
}
