//! Dead letters in topics of Kafka: messages that were read and gave no event, as `kafka_log` wrote them aside, and the way back to where they came from.
//!
//! What is bad is in one topic, what came late or too far ahead in another. `scan` reads them for a request, without the group. A message that was put in
//! again is told by a marker behind its dead letter, written in one transaction with it (`redrive`): so that it comes once, whoever asks.

mod cursor;
mod letter;
mod redrive;
mod scan;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use tokio::sync::Semaphore;

pub use self::cursor::{Cursor, Id, Place, Which};
pub use self::letter::Letter;
pub use self::redrive::Redriven;
use self::scan::Scan;
use crate::config::kafka::Kafka;
use crate::data::dead_letters::Kind;
use crate::data::kafka::{Error, Properties};

/// So many messages are read for a page at most; what is behind comes with the next.
const SCAN_MAX: usize = 100_000;

/// With so many bytes of messages a page ends.
const BYTES_MAX: usize = 16 << 20;

/// So many requests read at once.
const READERS_MAX: usize = 8;

/// Which dead letters a page has.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Those behind these, in each partition that is named; in others from the oldest on.
    pub after: Cursor,
    /// Those up to these; else to the end.
    pub until: Option<Cursor>,
    /// Those of a kind.
    pub kind: Option<Kind>,
    /// At most so many.
    pub limit: usize,
}

/// Some dead letters, the newest last.
#[derive(Clone, Debug)]
pub struct Page {
    /// They.
    pub letters: Vec<Letter>,
    /// The next page is behind these.
    pub next: Cursor,
    /// Whether there may be more now.
    pub more: bool,
}

/// Why dead letters cannot be had.
#[derive(Debug)]
pub enum Failure {
    /// A topic is not configured: the keys of which one would have to be set.
    NotSet(&'static str),
    /// There is none with this id.
    None(Id),
    /// The topic no longer has what comes behind this.
    Gone(Id),
    /// Brokers do not answer, or refuse.
    Kafka(Error),
    /// Too many others ask.
    Busy,
    /// Another instance puts messages in at the same time.
    NotAlone,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Kafka(error)
    }
}

/// The topics of dead letters.
pub struct TopicLetters {
    properties: Properties,
    group: String,
    bad: Option<String>,
    late: Option<String>,
    sources: Vec<String>,
    readers: Semaphore,
    redriving: Mutex<()>,
}

impl TopicLetters {
    /// Those of a configuration.
    pub fn new(properties: Properties, kafka: &Kafka) -> TopicLetters {
        TopicLetters {
            properties,
            group: kafka.group.clone(),
            bad: kafka.dead_letters.topic.clone(),
            late: kafka.late.topic.clone(),
            sources: kafka.source.iter().map(|source| source.topic.clone()).collect(),
            readers: Semaphore::new(READERS_MAX),
            redriving: Mutex::default(),
        }
    }

    /// The last offsets that there are now.
    ///
    /// # Errors
    /// No topic is configured, or no broker answers.
    pub fn end(&self, kind: Option<Kind>) -> Result<Cursor, Failure> {
        let _permit = self.readers.try_acquire().map_err(|_| Failure::Busy)?;
        let scan = Scan::open(&self.properties, &self.group, self.topics_of(kind)?)?;
        let mut end = Cursor::default();
        for place in scan.places()? {
            end.pass(place, scan.ends(place)?.1);
        }
        Ok(end)
    }

    /// Some of them.
    ///
    /// # Errors
    /// The topic is not configured, what is behind `after` is no longer there, or no broker answers.
    pub fn page(&self, wanted: &Wanted) -> Result<Page, Failure> {
        let _permit = self.readers.try_acquire().map_err(|_| Failure::Busy)?;
        let mut scan = Scan::open(&self.properties, &self.group, self.topics_of(wanted.kind)?)?;
        let (mut from, mut next) = (BTreeMap::new(), Cursor::default());
        for place in scan.places()? {
            let (low, high) = scan.ends(place)?;
            let at = match wanted.after.get(place) {
                None => low,
                Some(passed) => within(Id { place, offset: passed }, (low - 1, high))? + 1,
            };
            let is_open = wanted.until.as_ref().is_none_or(|until| until.get(place).is_some_and(|last| last >= at));
            next.pass(place, at);
            if at < high && is_open {
                from.insert(place, at);
            }
        }
        let count = from.len().max(1);
        let mut held: BTreeMap<Place, Held> = from.keys().map(|place| (*place, Held::default())).collect();
        let reached = scan.run(&from, wanted.until.as_ref(), false, |place, message| {
            let Some(held) = held.get_mut(&place) else { return false };
            held.read += 1;
            let letter = Letter::read(Id { place, offset: message.offset() }, message);
            if let Some(letter) = letter.filter(|letter| wanted.kind.is_none_or(|kind| kind == letter.kind)) {
                held.bytes += letter.bytes();
                held.letters.push_back(letter);
            }
            held.letters.len() <= wanted.limit && held.bytes < BYTES_MAX / count && held.read < SCAN_MAX / count
        })?;
        let mut letters = Vec::new();
        // A partition of which nothing is held that has more may have older ones.
        let is_known = |(place, held): (&Place, &Held)| !held.letters.is_empty() || reached[place].end;
        while letters.len() < wanted.limit && held.iter().all(is_known) {
            let fronts = held.iter().filter_map(|(place, held)| held.letters.front().map(|letter| (letter.at, *place)));
            let Some((_, place)) = fronts.min() else { break };
            letters.extend(held.get_mut(&place).and_then(|held| held.letters.pop_front()));
        }
        let more = held.iter().any(|(place, held)| !held.letters.is_empty() || !reached[place].end);
        for (place, held) in &held {
            next.pass(*place, held.letters.front().map_or(reached[place].next, |letter| letter.id.offset));
        }
        Ok(Page { letters, next, more })
    }

    /// One of them.
    ///
    /// # Errors
    /// There is none with this id, or it is no longer there, or no broker answers.
    pub fn get(&self, id: Id) -> Result<Letter, Failure> {
        let _permit = self.readers.try_acquire().map_err(|_| Failure::Busy)?;
        let mut scan = Scan::open(&self.properties, &self.group, vec![self.topic_of(id.place.which)?])?;
        if !scan.places()?.contains(&id.place) {
            return Err(Failure::None(id));
        }
        within(id, scan.ends(id.place)?)?;
        let mut found = None;
        scan.run(&[(id.place, id.offset)].into(), None, false, |_, message| {
            found = (message.offset() == id.offset).then(|| Letter::read(id, message)).flatten();
            false
        })?;
        found.ok_or(Failure::None(id))
    }

    /// The topics in which dead letters of a kind are, or all.
    fn topics_of(&self, kind: Option<Kind>) -> Result<Vec<(Which, String)>, Failure> {
        match kind {
            Some(Kind::Bad) => Ok(vec![self.topic_of(Which::Dead)?]),
            // In one topic with the others they have the names of those.
            Some(_) if self.late == self.bad => {
                let late = self.topic_of(Which::Late)?;
                Ok(vec![(Which::Dead, late.1)])
            }
            Some(_) => Ok(vec![self.topic_of(Which::Late)?]),
            None => {
                let late = self.late.clone().filter(|_| self.late != self.bad);
                let both = [(Which::Dead, self.bad.clone()), (Which::Late, late)];
                let set: Vec<_> = both.into_iter().filter_map(|(which, topic)| Some((which, topic?))).collect();
                match set.is_empty() {
                    true => Err(Failure::NotSet("kafka.dead_letters.topic` and `kafka.late.topic")),
                    false => Ok(set),
                }
            }
        }
    }

    fn topic_of(&self, which: Which) -> Result<(Which, String), Failure> {
        let (topic, key) = match which {
            Which::Dead => (&self.bad, "kafka.dead_letters.topic"),
            Which::Late => (&self.late, "kafka.late.topic"),
        };
        topic.clone().map(|topic| (which, topic)).ok_or(Failure::NotSet(key))
    }
}

/// What was read of a partition for a page.
#[derive(Default)]
struct Held {
    letters: VecDeque<Letter>,
    bytes: usize,
    read: usize,
}

/// The offset of an id, which has to be from the first to before the second.
fn within(id: Id, (low, high): (i64, i64)) -> Result<i64, Failure> {
    match id.offset {
        offset if offset >= high => Err(Failure::None(id)),
        offset if offset < low => Err(Failure::Gone(id)),
        offset => Ok(offset),
    }
}
