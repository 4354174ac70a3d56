//! Puts messages in again where they came from, each once.
//!
//! A message and the marker that tells so are one transaction. All who do this for a group write under one transactional id: who begins decides what others
//! left open, and those can write no more. Only then it reads which markers there are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Duration;

use serde::Serialize;

use super::letter::{Letter, REDRIVEN, marked};
use super::scan::{ANSWER, Scan};
use super::{Failure, Id, Place, TopicLetters, Which, within};
use crate::data::kafka::{Kind, Record, TransactionError, TransactionalProducer};

/// The brokers abort what is open for longer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// So many bytes of messages are put in by one request at most.
const TOGETHER_MAX: usize = 64 << 20;

/// What became of a dead letter that was to be put in again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Redriven {
    /// It is in its topic again.
    Taken {
        /// Which.
        topic: String,
        /// Where there.
        partition: i32,
    },
    /// It was put in again before.
    Already {},
    /// It cannot be put in.
    Refused {
        /// Why.
        reason: String,
    },
}

/// What was found for an id.
enum Found {
    Letter(Box<Letter>),
    TooMuch,
}

impl From<TransactionError> for Failure {
    fn from(TransactionError { kind, error }: TransactionError) -> Failure {
        match kind {
            Kind::Fenced => Failure::NotAlone,
            _ => Failure::Kafka(error),
        }
    }
}

impl TopicLetters {
    /// Puts messages in again. Each comes once, however often this is done.
    ///
    /// # Errors
    /// No broker answers, or another instance does the same now. What was put in by then is told as such the next time.
    pub fn redrive(&self, mut ids: Vec<Id>) -> Result<Vec<(Id, Redriven)>, Failure> {
        ids.sort_unstable();
        ids.dedup();
        let whiches: BTreeSet<Which> = ids.iter().map(|id| id.place.which).collect();
        let topics: Vec<_> = whiches.into_iter().map(|which| self.topic_of(which)).collect::<Result<_, _>>()?;
        let _alone = self.redriving.lock().unwrap_or_else(PoisonError::into_inner);
        let _permit = self.readers.try_acquire().map_err(|_| Failure::Busy)?;
        let id = format!("{}-dlq", self.group);
        let mut producer = TransactionalProducer::open(&self.properties, &id, TIMEOUT)?;
        producer.init(ANSWER)?;
        // Behind the beginning: all that others did before is decided.
        let mut scan = Scan::open(&self.properties, &self.group, topics.clone())?;
        let mut refused = BTreeMap::new();
        let mut from: BTreeMap<Place, i64> = BTreeMap::new();
        let places = scan.places()?;
        for id in &ids {
            let there = match places.contains(&id.place) {
                true => within(*id, scan.ends(id.place)?),
                false => Err(Failure::None(*id)),
            };
            match there {
                Ok(offset) => drop(from.entry(id.place).or_insert(offset)),
                Err(Failure::Gone(_)) => drop(refused.insert(*id, "it is no longer in its topic".to_owned())),
                Err(_) => drop(refused.insert(*id, "there is no dead letter with this id".to_owned())),
            }
        }
        let (mut found, mut before, mut bytes) = (BTreeMap::new(), BTreeSet::new(), 0);
        scan.run(&from, None, true, |place, message| {
            let id = Id { place, offset: message.offset() };
            before.extend(marked(message));
            if ids.binary_search(&id).is_ok()
                && let Some(letter) = Letter::read(id, message)
            {
                bytes += letter.bytes();
                let fits = bytes <= TOGETHER_MAX || found.is_empty();
                found.insert(id, if fits { Found::Letter(Box::new(letter)) } else { Found::TooMuch });
            }
            true
        })?;
        let mut partitions = BTreeMap::new();
        for topic in &self.sources {
            partitions.insert(topic.as_str(), scan.partitions(topic)?);
        }
        drop(scan);
        let marker_topic = |which: Which| topics.iter().find(|(known, _)| *known == which).map_or("", |(_, name)| name);
        let mut results = Vec::with_capacity(ids.len());
        let mut begun = false;
        for id in ids {
            let letter = match (before.contains(&id), refused.remove(&id), found.remove(&id)) {
                (true, ..) => Err(Redriven::Already {}),
                (_, Some(reason), _) => Err(Redriven::Refused { reason }),
                (.., None) => Err(Redriven::Refused { reason: "there is no dead letter with this id".to_owned() }),
                (.., Some(Found::TooMuch)) => {
                    let reason = "those before it are large; put it in by a request of its own".to_owned();
                    Err(Redriven::Refused { reason })
                }
                (.., Some(Found::Letter(letter))) => match against(&letter, &partitions) {
                    Some(reason) => Err(Redriven::Refused { reason }),
                    None => Ok(letter),
                },
            };
            let result = match letter {
                Err(result) => result,
                Ok(letter) => {
                    if !begun {
                        producer.begin()?;
                        begun = true;
                    }
                    send(&mut producer, &letter, marker_topic(id.place.which))?
                }
            };
            results.push((id, result));
        }
        if begun && let Err(failure) = producer.commit(ANSWER) {
            if failure.kind == Kind::Abortable {
                let _ = producer.abort(ANSWER);
            }
            return Err(failure.into());
        }
        Ok(results)
    }
}

/// What there is against putting a message in again.
fn against(letter: &Letter, partitions: &BTreeMap<&str, i32>) -> Option<String> {
    let Letter { topic, partition, offset, .. } = letter;
    match (partitions.get(topic.as_str()), &letter.payload, letter.whole) {
        (None, ..) => Some(format!("it came from `{topic}`, which is no `[[kafka.source]]` of this service")),
        (Some(count), ..) if partition >= count => {
            Some(format!("it came from partition {partition} of the topic `{topic}`, which has {count} now"))
        }
        (_, None, _) => Some("it has no value".to_owned()),
        (_, Some(payload), Some(whole)) => Some(format!(
            "only the first {} of its {whole} bytes are kept here; it stood in partition {partition} of the topic `{topic}` at offset {offset}",
            payload.len()
        )),
        _ => None,
    }
}

/// Sends a message and its marker; it alone is refused where it is too large.
fn send(producer: &mut TransactionalProducer, letter: &Letter, marker: &str) -> Result<Redriven, Failure> {
    let id = letter.id.to_string();
    let redriven = [(REDRIVEN, Some(id.as_bytes()))];
    let own = letter.headers.iter().filter(|(name, _)| name != REDRIVEN);
    let headers: Vec<(&str, Option<&[u8]>)> =
        own.map(|(name, value)| (name.as_str(), value.as_deref())).chain(redriven).collect();
    let sent = producer.send(&Record {
        topic: &letter.topic,
        partition: Some(letter.partition),
        key: letter.key.as_deref(),
        payload: letter.payload.as_deref(),
        headers: &headers,
        timestamp: letter.timestamp,
    });
    match sent {
        Err(TransactionError { kind: Kind::Refused, error }) => {
            return Ok(Redriven::Refused { reason: error.to_string() });
        }
        sent => sent?,
    }
    let partition = Some(letter.id.place.partition);
    producer.send(&Record { topic: marker, partition, headers: &redriven, ..Record::default() })?;
    Ok(Redriven::Taken { topic: letter.topic.clone(), partition: letter.partition })
}
