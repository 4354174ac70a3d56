//! Epochs to transactions: alerts, what was not taken, the journal and the offsets are seen together or not at all.
//!
//! One thread writes. An epoch that failed is sent again from memory. Where nobody knows what became of a transaction, the producer is made anew,
//! which decides it, and what the group committed tells how: the offset that is committed for the journal is the number of the last epoch.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::config::kafka::{Delivery, TopicBy};
use crate::data::event_log::Ended;
use crate::data::kafka::{
    Error, GroupMetadata, Kind, Partition, Producer, Properties, Reader, Record, TransactionError,
    TransactionalProducer,
};
use crate::faults;

/// How often a broker may be silent for as long as takes it for gone, before a call has failed.
const SILENCES: u32 = 3;

/// How long the sink waits where an epoch failed: the first time, and at most.
const RETRY: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// A value that no broker takes is cut to so many bytes, where it is only there to be looked at.
const CUT: usize = 256 << 10;

/// Who this instance is in its group; none where it no longer holds the task.
pub type Standing = Arc<Mutex<Option<Arc<GroupMetadata>>>>;

/// Where an epoch goes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The group, which names the producer too.
    pub group: String,
    /// The topic of the journal.
    pub journal: String,
    /// The topic of alerts, or the beginning of its name.
    pub alerts: String,
    /// How alerts are spread over topics.
    pub topic_by: TopicBy,
    /// Where messages go that are no event.
    pub dead_letters: Option<String>,
    /// Where late events go.
    pub late: Option<String>,
    /// What a crash may do to alerts.
    pub delivery: Delivery,
    /// The brokers abort a transaction that is open for longer.
    pub timeout: Duration,
}

/// A message that was not taken, as it came, and why.
#[derive(Clone, Debug, Default)]
pub struct Aside {
    /// `bad`, `late` or `ahead`.
    pub kind: &'static str,
    /// Why.
    pub reason: String,
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: u16,
    /// Its offset.
    pub offset: u64,
    /// Its time, where it has one.
    pub timestamp: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub payload: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// What is committed at once.
#[derive(Debug, Default)]
pub struct Epoch {
    /// Its number.
    pub number: u64,
    /// Alerts as JSON lines.
    pub alerts: Vec<u8>,
    /// What was not taken.
    pub aside: Vec<Aside>,
    /// Its record in the journal.
    pub journal: Vec<u8>,
    /// What is read next of each partition.
    pub offsets: Vec<(Partition, i64)>,
}

/// The sink, for the one who gathers epochs.
pub struct Sink {
    epochs: Option<Sender<Epoch>>,
    done: Receiver<Result<u64, Ended>>,
    under_way: bool,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    /// Takes over from whoever wrote for this group before: when this returns, nothing of theirs can be committed any more, and the number of the
    /// last epoch is known, where there is one.
    pub fn open(properties: Properties, settings: Settings, standing: Standing) -> Result<Sink, Ended> {
        let closing = Arc::new(AtomicBool::new(false));
        let call = properties.silence() * SILENCES;
        let closing_too = closing.clone();
        let mut writer =
            Writer { properties, settings, standing, call, producer: None, closing: closing_too, cut: None };
        writer.begin_anew()?;
        let (epochs, incoming) = channel::<Epoch>();
        let (answer, done) = channel();
        let thread = std::thread::Builder::new().name("sink".to_owned()).spawn(move || {
            for epoch in incoming {
                let result = writer.write(&epoch).map(|()| epoch.number);
                let ended = result.is_err();
                if answer.send(result).is_err() || ended {
                    return;
                }
            }
        });
        let thread = thread.map_err(|e| Ended::Failed(e.to_string()))?;
        Ok(Sink { epochs: Some(epochs), done, under_way: false, closing, thread: Some(thread) })
    }

    /// Begins to write an epoch; none is under way.
    pub fn begin(&mut self, epoch: Epoch) {
        self.under_way = true;
        if let Some(epochs) = &self.epochs {
            // Who has ended has said so.
            let _ = epochs.send(epoch);
        }
    }

    /// Whether no epoch is under way.
    pub fn poll(&mut self, wait: bool) -> Result<bool, Ended> {
        if !self.under_way {
            return Ok(true);
        }
        let done = match wait {
            true => self.done.recv().map_err(|_| TryRecvError::Disconnected),
            false => self.done.try_recv(),
        };
        match done {
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => {
                Err(Ended::Failed("the thread that writes to Kafka has failed".to_owned()))
            }
            Ok(result) => {
                self.under_way = false;
                result.map(|_| true)
            }
        }
    }

    /// An epoch that fails is tried no more.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.close();
        self.epochs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A producer, with transactions or without.
enum Writes {
    Transactions(TransactionalProducer, Reader),
    Alone(Producer),
}

struct Writer {
    properties: Properties,
    settings: Settings,
    standing: Standing,
    /// How long a call of the brokers may take.
    call: Duration,
    producer: Option<Writes>,
    closing: Arc<AtomicBool>,
    /// What was not taken is cut to so many bytes, after a broker has refused a record for its size.
    cut: Option<usize>,
}

/// Why an epoch was not written at once.
enum Failure {
    /// It may be sent again.
    Again(Error),
    /// The producer is to be made anew, and then looked whether it was written.
    Anew(Error),
    /// Somebody else writes now.
    TakenOver,
}

impl From<TransactionError> for Failure {
    fn from(TransactionError { kind, error }: TransactionError) -> Failure {
        match kind {
            Kind::Fenced => Failure::TakenOver,
            Kind::Retriable | Kind::Refused | Kind::Abortable => Failure::Again(error),
            Kind::Unknown | Kind::Fatal => Failure::Anew(error),
        }
    }
}

impl Writer {
    /// Makes the producer anew. What the one before sent to be committed is decided then.
    fn begin_anew(&mut self) -> Result<(), Ended> {
        self.producer = None;
        let failed = |e: Error| Ended::Failed(e.to_string());
        if self.settings.delivery == Delivery::AtLeastOnce {
            self.producer = Some(Writes::Alone(Producer::open(&self.properties).map_err(failed)?));
            return Ok(());
        }
        let id = format!("{}-0", self.settings.group);
        let journal = [self.settings.journal.clone()];
        let reader = Reader::open(&self.properties, &self.settings.group, &journal, false).map_err(failed)?;
        let mut pause = RETRY;
        loop {
            let opened = TransactionalProducer::open(&self.properties, &id, self.settings.timeout);
            let mut producer = opened.map_err(failed)?;
            match producer.init(self.call) {
                Ok(()) => {
                    self.producer = Some(Writes::Transactions(producer, reader));
                    return Ok(());
                }
                Err(TransactionError { kind: Kind::Fenced, .. }) => return Err(Ended::TakenOver),
                Err(TransactionError { error, .. }) => self.pause(&error, &mut pause)?,
            }
        }
    }

    /// Waits after a failure, ever longer; not where the end has come.
    fn pause(&self, error: &Error, pause: &mut Duration) -> Result<(), Ended> {
        if self.standing().is_none() {
            return Err(Ended::TakenOver);
        }
        if self.closing.load(Ordering::Acquire) {
            return Err(Ended::Failed(format!("{error}; what was judged last is judged again at the next start")));
        }
        tracing::warn!(%error, "an epoch could not be committed; it is tried again");
        std::thread::sleep(*pause);
        *pause = (*pause * 2).min(RETRY_MAX);
        Ok(())
    }

    fn standing(&self) -> Option<Arc<GroupMetadata>> {
        self.standing.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Writes an epoch, however often that takes.
    fn write(&mut self, epoch: &Epoch) -> Result<(), Ended> {
        let mut pause = RETRY;
        self.cut = None;
        loop {
            let failure = match self.try_to_write(epoch) {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            match failure {
                Failure::TakenOver => return Err(Ended::TakenOver),
                Failure::Again(error) => {
                    if matches!(error, Error::TooLarge { .. }) {
                        self.cut = Some(CUT);
                    }
                    self.pause(&error, &mut pause)?;
                }
                Failure::Anew(error) => {
                    self.pause(&error, &mut pause)?;
                    self.begin_anew()?;
                    if self.was_committed(epoch.number)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Whether an epoch was committed by a producer that is no more.
    fn was_committed(&self, number: u64) -> Result<bool, Ended> {
        let Some(Writes::Transactions(_, reader)) = &self.producer else { return Ok(false) };
        let mut pause = RETRY;
        loop {
            match reader.committed(&[Partition::new(self.settings.journal.as_str(), 0)], self.call) {
                Ok(committed) => return Ok(committed.first().copied().flatten() >= Some(number as i64)),
                Err(error) => self.pause(&error, &mut pause)?,
            }
        }
    }

    fn try_to_write(&mut self, epoch: &Epoch) -> Result<(), Failure> {
        let standing = self.standing().ok_or(Failure::TakenOver)?;
        let (settings, cut, call) = (&self.settings, self.cut, self.call);
        match self.producer.as_mut() {
            None => Err(Failure::Anew(Error::Unreachable { brokers: String::new(), reason: "no producer".to_owned() })),
            Some(Writes::Alone(producer)) => {
                let mut send = |record: &Record<'_>| producer.send(record).map_err(Failure::Again);
                send_all(settings, epoch, cut, &mut send)?;
                producer.flush(call).map_err(Failure::Again)?;
                if !epoch.alerts.is_empty() {
                    let _ = faults::at("kafka-alerts-sent");
                }
                // What is before it in the journal has arrived.
                send_journal(settings, epoch, &mut |record| producer.send(record).map_err(Failure::Again))?;
                producer.flush(call).map_err(Failure::Again)
            }
            Some(Writes::Transactions(producer, _)) => {
                let written = transaction(producer, settings, epoch, cut, &standing, call);
                // What has begun is ended, so that the next can begin.
                if let Err(Failure::Again(_)) = &written {
                    producer.abort(call)?;
                }
                written
            }
        }
    }
}

fn transaction(
    producer: &mut TransactionalProducer,
    settings: &Settings,
    epoch: &Epoch,
    cut: Option<usize>,
    standing: &GroupMetadata,
    call: Duration,
) -> Result<(), Failure> {
    producer.begin()?;
    let _ = faults::at("kafka-produce");
    send_all(settings, epoch, cut, &mut |record| producer.send(record).map_err(Failure::from))?;
    send_journal(settings, epoch, &mut |record| producer.send(record).map_err(Failure::from))?;
    let _ = faults::at("kafka-offsets");
    let mut offsets = epoch.offsets.clone();
    offsets.push((Partition::new(settings.journal.as_str(), 0), epoch.number as i64));
    producer.send_offsets(&offsets, standing, call)?;
    let _ = faults::at("kafka-commit");
    producer.commit(call)?;
    let _ = faults::at("kafka-committed");
    Ok(())
}

type Send<'a> = &'a mut dyn FnMut(&Record<'_>) -> Result<(), Failure>;

fn send_journal(settings: &Settings, epoch: &Epoch, send: Send<'_>) -> Result<(), Failure> {
    let record =
        Record { topic: &settings.journal, partition: Some(0), payload: Some(&epoch.journal), ..Record::default() };
    send(&record)
}

fn send_all(settings: &Settings, epoch: &Epoch, cut: Option<usize>, send: Send<'_>) -> Result<(), Failure> {
    for line in epoch.alerts.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match cut {
            Some(most) if line.len() > most => send_alert(settings, &without_evidence(line), send)?,
            _ => send_alert(settings, line, send)?,
        }
    }
    for aside in &epoch.aside {
        let topic = if aside.kind == "bad" { &settings.dead_letters } else { &settings.late };
        if let Some(topic) = topic {
            send_aside(topic, aside, cut, send)?;
        }
    }
    Ok(())
}

/// What of an alert is told beside it.
#[derive(Deserialize)]
struct Head<'a> {
    id: &'a str,
    revision: u64,
    status: &'a str,
    rule: &'a str,
    version: u64,
    severity: &'a str,
    #[serde(borrow)]
    key: &'a RawValue,
    at: &'a str,
}

/// Sends an alert, keyed by the rule's key, with what CloudEvents asks for ("Kafka Protocol Binding for CloudEvents", version 1.0.2, binary mode).
fn send_alert(settings: &Settings, line: &[u8], send: Send<'_>) -> Result<(), Failure> {
    let head: Head<'_> = serde_json::from_slice(line).expect("alerts are written by this program");
    let topic = match settings.topic_by {
        TopicBy::None => settings.alerts.clone(),
        TopicBy::Severity => format!("{}-{}", settings.alerts, head.severity),
        TopicBy::Rule => format!("{}-{}", settings.alerts, head.rule),
    };
    let (version, id) = (head.version.to_string(), format!("{}.{}", head.id, head.revision));
    let (source, kind) = (format!("/lapwing/{}", settings.group), format!("lapwing.alert.{}", head.status));
    let headers: [(&str, Option<&[u8]>); 10] = [
        ("content-type", Some(b"application/json")),
        ("ce_specversion", Some(b"1.0")),
        ("ce_id", Some(id.as_bytes())),
        ("ce_source", Some(source.as_bytes())),
        ("ce_type", Some(kind.as_bytes())),
        ("ce_subject", Some(head.rule.as_bytes())),
        ("ce_time", Some(head.at.as_bytes())),
        ("rule", Some(head.rule.as_bytes())),
        ("version", Some(version.as_bytes())),
        ("severity", Some(head.severity.as_bytes())),
    ];
    let key = Some(head.key.get().as_bytes());
    send(&Record { topic: &topic, key, payload: Some(line), headers: &headers, ..Record::default() })
}

/// An alert that no broker takes, without what makes it so large.
fn without_evidence(line: &[u8]) -> Vec<u8> {
    let mut alert: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(line).expect("alerts are written by this program");
    alert.insert("evidence".to_owned(), serde_json::json!({}));
    alert.insert("truncated".to_owned(), serde_json::json!(["evidence"]));
    serde_json::to_vec(&alert).expect("it was read from JSON")
}

/// Sends a message that was not taken byte for byte as it came, with why and where from.
fn send_aside(topic: &str, aside: &Aside, cut: Option<usize>, send: Send<'_>) -> Result<(), Failure> {
    let (partition, offset) = (aside.partition.to_string(), aside.offset.to_string());
    let timestamp = aside.timestamp.map(|time| time.to_string());
    let all = aside.payload.as_deref();
    let payload = match cut {
        Some(most) => all.map(|bytes| &bytes[..bytes.len().min(most)]),
        None => all,
    };
    let whole = all.map_or(0, <[u8]>::len).to_string();
    let mut headers: Vec<(&str, Option<&[u8]>)> =
        aside.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
    headers.extend([
        ("lapwing_kind", Some(aside.kind.as_bytes())),
        ("lapwing_reason", Some(aside.reason.as_bytes())),
        ("lapwing_topic", Some(aside.topic.as_bytes())),
        ("lapwing_partition", Some(partition.as_bytes())),
        ("lapwing_offset", Some(offset.as_bytes())),
    ]);
    headers.extend(timestamp.as_deref().map(|time| ("lapwing_timestamp", Some(time.as_bytes()))));
    if payload.map(<[u8]>::len) != all.map(<[u8]>::len) {
        headers.push(("lapwing_bytes", Some(whole.as_bytes())));
    }
    send(&Record { topic, key: aside.key.as_deref(), payload, headers: &headers, ..Record::default() })
}
