//! The control topic: changes of the catalog in one order for all instances.
//!
//! A message is a control message, the same as the REST API takes. The first is what the service began with. Every instance reads all of them and
//! judges each in its turn, so that all come to the same catalog; what became of a message is told on the status topic. The topic is kept whole: each
//! message has a key of its own, so that none is lost where it is compacted.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use lapwing_dsl::functions::timestamp_text;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::catalog::Refusal;
use super::history::Begin;
use super::rollout::{Accepted, NotAccepted};
use crate::data::kafka::{Client, Error, Partition, Producer, Properties, Reader, Record, Start};

/// How long brokers may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// A message of the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its offset.
    pub offset: u64,
    /// Its key.
    pub key: Vec<u8>,
    /// When it was written, RFC 3339.
    pub at: String,
    /// Its value.
    pub text: Vec<u8>,
}

/// What a service begins with, as the first message.
#[derive(Debug, Serialize, Deserialize)]
struct Beginning {
    op: String,
    files: Vec<(String, String)>,
    secret: u64,
    /// The files with what lists, tables and models hold, by name, in base64.
    #[serde(default)]
    data: Vec<(String, String)>,
}

/// What a service begins with: rules, and files with what lists, tables and models hold.
pub type Begins = (Begin, Vec<(String, Vec<u8>)>);

impl Message {
    /// What a service begins with, where it is that.
    ///
    /// # Errors
    /// It says so and is not.
    pub fn beginning(&self) -> Option<Result<Begins, String>> {
        #[derive(Deserialize)]
        struct Op<'a> {
            op: &'a str,
        }
        let op: Op<'_> = serde_json::from_slice(&self.text).ok()?;
        (op.op == "begin").then(|| {
            let beginning: Beginning = serde_json::from_slice(&self.text).map_err(|e| e.to_string())?;
            let file = |(name, text): (String, String)| {
                let plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
                let bytes = BASE64_STANDARD.decode(text).map_err(|e| format!("`{name}`: {e}"))?;
                if plain { Ok((name, bytes)) } else { Err(format!("`{name}` is no name of a file")) }
            };
            let data = beginning.data.into_iter().map(file).collect::<Result<_, String>>()?;
            Ok((Begin { files: beginning.files, secret: beginning.secret }, data))
        })
    }
}

/// Reads the topic.
pub struct ControlReader {
    reader: Reader,
    topic: String,
    next: u64,
    /// The end when this was opened.
    end: u64,
}

impl ControlReader {
    /// Reads from an offset on.
    ///
    /// # Errors
    /// No broker answers, there is no such topic, or it no longer has that offset.
    pub fn open(properties: &Properties, group: &str, topic: &str, next: u64) -> Result<ControlReader, Error> {
        let mut reader = Reader::open(properties, group, &[topic.to_owned()], false)?;
        let count = reader.client().partitions(topic, ANSWER)?;
        let partition = Partition::new(topic, 0);
        let gone = |reason: String| Error::OffsetGone { topic: topic.to_owned(), partition: 0, reason };
        if count != 1 {
            return Err(gone(format!("it has {count} partitions, and the control topic has one")));
        }
        let (low, high) = reader.watermarks(&partition, ANSWER)?;
        let (low, end) = (u64::try_from(low).unwrap_or(0), u64::try_from(high).unwrap_or(0));
        if next < low || next > end {
            return Err(gone(format!("it holds {low} to {end}, and {next} comes next; it has to be kept for ever")));
        }
        reader.assign(&[(partition, Start::At(next as i64))])?;
        Ok(ControlReader { reader, topic: topic.to_owned(), next, end })
    }

    /// The connection.
    pub fn client(&self) -> &Client {
        self.reader.client()
    }

    /// The end when this was opened.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Goes to an earlier offset.
    ///
    /// # Errors
    /// There is no such place.
    pub fn go_back(&mut self, offset: u64) -> Result<(), Error> {
        self.next = offset;
        self.reader.assign(&[(Partition::new(self.topic.as_str(), 0), Start::At(offset as i64))])
    }

    /// Whether everything was read that was there when this was opened.
    pub fn is_at_end(&self) -> bool {
        self.next >= self.end
    }

    /// What comes next; waits for it so long at most.
    ///
    /// # Errors
    /// The topic no longer has it.
    pub fn next(&mut self, wait: Duration) -> Result<Vec<Message>, Error> {
        let batch = self.reader.batch(256, wait);
        let messages = batch.iter().map(|message| Message {
            offset: u64::try_from(message.offset()).unwrap_or(0),
            key: message.key().unwrap_or_default().to_vec(),
            at: timestamp_text(message.timestamp().unwrap_or(0)),
            text: message.payload().unwrap_or_default().to_vec(),
        });
        let messages: Vec<Message> = messages.collect();
        for offset in messages.iter().map(|message| message.offset + 1) {
            self.next = self.next.max(offset);
        }
        for (_, _, offset) in &batch.ends {
            self.next = self.next.max(u64::try_from(*offset).unwrap_or(0));
        }
        for error in batch.errors.iter().chain(&self.reader.client().errors()) {
            if matches!(error, Error::OffsetGone { .. }) {
                return Err(error.clone());
            }
            tracing::warn!(%error, topic = self.topic, "reading changes");
        }
        Ok(messages)
    }
}

/// Who waits for what became of a message, by its key.
type Waiting = HashMap<Vec<u8>, oneshot::Sender<Result<Accepted, NotAccepted>>>;

/// Writes to the topic, and hands back what became of that.
pub struct ControlTopic {
    topic: String,
    producer: Mutex<Producer>,
    waiting: Mutex<Waiting>,
    /// Keys are of this process, and none is given twice.
    process: u64,
    count: AtomicU64,
}

impl ControlTopic {
    /// Opens a writer.
    ///
    /// # Errors
    /// A property is not known, or its value not taken.
    pub fn open(properties: &Properties, topic: &str) -> Result<ControlTopic, String> {
        let mut process = [0; 8];
        getrandom::fill(&mut process).map_err(|e| format!("the system gives no random numbers: {e}"))?;
        Ok(ControlTopic {
            topic: topic.to_owned(),
            producer: Mutex::new(Producer::open(properties).map_err(|e| e.to_string())?),
            waiting: Mutex::default(),
            process: u64::from_le_bytes(process),
            count: AtomicU64::new(0),
        })
    }

    /// Writes what a service begins with.
    ///
    /// # Errors
    /// It could not be written.
    pub fn begin(&self, begin: &Begin, data: &[(String, Vec<u8>)]) -> Result<(), Error> {
        let beginning = Beginning {
            op: "begin".to_owned(),
            files: begin.files.clone(),
            secret: begin.secret,
            data: data.iter().map(|(name, bytes)| (name.clone(), BASE64_STANDARD.encode(bytes))).collect(),
        };
        let text = serde_json::to_vec(&beginning).expect("texts can be written");
        self.write(b"begin", &text)
    }

    /// Writes a control message, and waits until it was judged.
    pub async fn send(&self, text: &str) -> Result<Accepted, NotAccepted> {
        let key = format!("{:016x}-{}", self.process, self.count.fetch_add(1, Ordering::Relaxed)).into_bytes();
        let (tell, told) = oneshot::channel();
        self.waiting.lock().expect("nobody panics with it").insert(key.clone(), tell);
        let written = tokio::task::block_in_place(|| self.write(&key, text.as_bytes()));
        if let Err(error) = written {
            self.waiting.lock().expect("nobody panics with it").remove(&key);
            return Err(match error {
                Error::TooLarge { .. } => NotAccepted::Refused(Refusal::new(format!(
                    "{error}; a model may come in chunks, which `lapwing apply --model NAME=FILE` sends"
                ))),
                error => NotAccepted::NotSent(error.to_string()),
            });
        }
        match tokio::time::timeout(ANSWER, told).await {
            Ok(Ok(result)) => result,
            _ => Err(NotAccepted::NotSent(format!(
                "it stands in the Kafka topic `{}`, and was not judged in time; `lapwing history` shows when it is",
                self.topic
            ))),
        }
    }

    /// Tells who waits what became of a message.
    pub fn answer(&self, key: &[u8], result: Result<Accepted, NotAccepted>) {
        if let Some(tell) = self.waiting.lock().expect("nobody panics with it").remove(key) {
            // Who does not wait any more is not told.
            let _ = tell.send(result);
        }
    }

    fn write(&self, key: &[u8], text: &[u8]) -> Result<(), Error> {
        let mut producer = self.producer.lock().expect("nobody panics with it");
        let record =
            Record { topic: &self.topic, partition: Some(0), key: Some(key), payload: Some(text), ..Record::default() };
        producer.send(&record)?;
        producer.flush(ANSWER)
    }
}

/// Tells on a topic what became of each change.
pub struct Status {
    topic: String,
    producer: Producer,
}

impl Status {
    /// Opens a writer.
    ///
    /// # Errors
    /// A property is not known, or its value not taken.
    pub fn open(properties: &Properties, topic: &str) -> Result<Status, Error> {
        Ok(Status { topic: topic.to_owned(), producer: Producer::open(properties)? })
    }

    /// The offset in the control topic behind the last message that was told of; none where nobody knows any more.
    ///
    /// # Errors
    /// No broker answers, or there is no such topic.
    pub fn told(properties: &Properties, group: &str, topic: &str) -> Result<Option<u64>, Error> {
        let mut reader = Reader::open(properties, group, &[topic.to_owned()], false)?;
        let count = reader.client().partitions(topic, ANSWER)?;
        let (mut is_new, mut last) = (true, Vec::new());
        for partition in (0..count).map(|number| Partition::new(topic, number)) {
            let (low, high) = reader.watermarks(&partition, ANSWER)?;
            is_new &= high == 0;
            if low < high {
                last.push((partition, Start::At(high - 1)));
            }
        }
        reader.assign(&last)?;
        let (mut told, mut ends) = (is_new.then_some(0), 0);
        let begun = Instant::now();
        while ends < last.len() && begun.elapsed() < ANSWER {
            let batch = reader.batch(256, Duration::from_millis(100));
            for message in batch.iter() {
                let what: Option<serde_json::Value> =
                    message.payload().and_then(|text| serde_json::from_slice(text).ok());
                told = told.max(what.and_then(|what| Some(what["offset"].as_u64()? + 1)));
            }
            ends += batch.ends.len();
        }
        Ok(told)
    }

    /// Tells something; whether it arrives is not waited for.
    pub fn tell(&mut self, key: &[u8], what: &serde_json::Value) {
        let text = what.to_string();
        let record = Record { topic: &self.topic, key: Some(key), payload: Some(text.as_bytes()), ..Record::default() };
        if let Err(error) = self.producer.send(&record) {
            tracing::warn!(%error, "telling the status");
        }
    }

    /// Waits until everything that was told has arrived, or warns.
    pub fn flush(&mut self, wait: Duration) {
        if let Err(error) = self.producer.flush(wait) {
            tracing::warn!(%error, "telling the status");
        }
    }
}
