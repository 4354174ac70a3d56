//! The topics of a service, for tests.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lapwing::data::kafka::{Partition, Producer, Properties, Reader, Record, Start};
use lapwing_broker::Broker;
use serde_json::Value;

use super::service::DEADLINE;

/// How long a call that should succeed may take.
pub const WAIT: Duration = Duration::from_secs(30);

/// The topics of one service, all with a name of their own.
pub struct Topics {
    pub address: String,
    pub name: String,
    /// Where events come from.
    pub events: String,
}

/// A message, owned.
#[derive(Clone, Debug, PartialEq)]
pub struct Owned {
    pub partition: i32,
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub headers: Vec<(String, String)>,
}

impl Topics {
    /// Makes them.
    pub fn new(broker: &Broker, name: &str) -> Topics {
        Topics::with_partitions(broker, name, 1)
    }

    /// The same; events have so many partitions.
    pub fn with_partitions(broker: &Broker, name: &str, partitions: i32) -> Topics {
        let topics = Topics { address: broker.address(), name: name.to_owned(), events: format!("{name}-events") };
        for topic in ["alerts", "control", "status", "journal", "late", "dead"] {
            broker.topic(&format!("{name}-{topic}"), 1);
        }
        broker.topic_with(&topics.events, partitions, &[("max.message.bytes", "20000000")]);
        topics
    }

    /// The settings of a service over them.
    pub fn sets(&self) -> Vec<String> {
        let name = &self.name;
        vec![
            format!("kafka.brokers={}", self.address),
            format!("kafka.group={name}"),
            format!("kafka.source.0.topic={}", self.events),
            "kafka.source.0.from=earliest".to_owned(),
            format!("kafka.alerts.topic={name}-alerts"),
            format!("kafka.control.topic={name}-control"),
            format!("kafka.status.topic={name}-status"),
            format!("kafka.journal.topic={name}-journal"),
            format!("kafka.late.topic={name}-late"),
            format!("kafka.dead_letters.topic={name}-dead"),
        ]
    }

    pub fn properties(&self) -> Properties {
        Properties::new(&self.address)
    }

    /// Writes events, each a line.
    pub fn send(&self, lines: &[Vec<u8>]) {
        self.send_to(lines, |_| 0);
    }

    /// Writes events, each to a partition by its number.
    pub fn send_to(&self, lines: &[Vec<u8>], partition: impl Fn(usize) -> i32) {
        let properties = self.properties().with("message.max.bytes", "20000000");
        let mut producer = Producer::open(&properties).expect("known properties");
        for (number, line) in lines.iter().enumerate() {
            // An empty line is a tombstone.
            let payload = Some(line.strip_suffix(b"\n").unwrap_or(line)).filter(|line| !line.is_empty());
            let record =
                Record { topic: &self.events, partition: Some(partition(number)), payload, ..Record::default() };
            producer.send(&record).expect("it is taken");
        }
        producer.flush(WAIT).expect("it arrives");
    }

    /// How many events are judged, as is committed; none where nobody knows: who was killed while it committed left a transaction open, which its
    /// successor ends.
    pub fn judged(&self) -> Option<u64> {
        const ANSWER: Duration = Duration::from_secs(2);
        let reader = Reader::open(&self.properties(), &self.name, &[], false).expect("known properties");
        let count = reader.client().partitions(&self.events, WAIT).expect("the broker answers");
        let places: Vec<_> = (0..count).map(|partition| Partition::new(self.events.as_str(), partition)).collect();
        let committed = reader.committed(&places, ANSWER).ok()?;
        Some(committed.into_iter().flatten().map(|offset| offset as u64).sum())
    }

    /// Waits until so many events are judged, and that is committed.
    pub fn until_judged(&self, count: u64) {
        let begun = Instant::now();
        while self.judged() < Some(count) {
            assert!(begun.elapsed() < DEADLINE, "only {:?} of {count} are judged", self.judged());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All messages of a topic that are committed.
    pub fn read(&self, topic: &str) -> Vec<Owned> {
        let mut reader =
            Reader::open(&self.properties(), "reads", &[topic.to_owned()], true).expect("known properties");
        let count = reader.client().partitions(topic, WAIT).expect("the broker answers");
        let all: Vec<_> = (0..count).map(|partition| (Partition::new(topic, partition), Start::Earliest)).collect();
        reader.assign(&all).expect("partitions that exist");
        // Where somebody writes on and on there is always more: what came since is not read to its end.
        let high =
            |(partition, _): &(Partition, Start)| reader.watermarks(partition, WAIT).expect("the broker answers").1;
        let highs: Vec<i64> = all.iter().map(high).collect();
        let (mut read, mut ended) = (Vec::new(), BTreeSet::new());
        let begun = Instant::now();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        while ended.len() < all.len() {
            let batch = reader.batch(1_000, Duration::from_millis(100));
            read.extend(batch.iter().map(|message| Owned {
                partition: message.partition(),
                key: message.key().map(<[u8]>::to_vec),
                payload: message.payload().map(<[u8]>::to_vec),
                headers: message.headers().map(|(name, value)| (text(name), text(value.unwrap_or_default()))).collect(),
            }));
            let beyond = batch.iter().filter(|message| message.offset() + 1 >= highs[message.partition() as usize]);
            ended.extend(beyond.map(|message| message.partition()));
            ended.extend(batch.ends.iter().map(|(_, partition, _)| *partition));
            assert!(begun.elapsed() < DEADLINE, "the end of `{topic}` does not come");
        }
        read
    }

    /// All alerts that are committed.
    pub fn alerts(&self) -> Vec<String> {
        let text = |message: &Owned| String::from_utf8(message.payload.clone().unwrap_or_default()).expect("text");
        self.read(&format!("{}-alerts", self.name)).iter().map(text).collect()
    }

    /// The epochs of the journal.
    pub fn epochs(&self) -> Vec<Value> {
        let json = |message: &Owned| serde_json::from_slice(message.payload.as_deref().unwrap_or_default());
        self.read(&format!("{}-journal", self.name)).iter().map(|m| json(m).expect("JSON")).collect()
    }

    /// Before which event each change took over, by its number.
    pub fn places(&self) -> Vec<(u64, u64)> {
        let mut places = Vec::new();
        let mut judged = 0;
        for epoch in self.epochs() {
            for step in epoch["steps"].as_array().expect("steps") {
                if let Some(until) = step["read"]["until"][0][2].as_u64() {
                    judged = until;
                } else if let Some(change) = step["change"].as_u64() {
                    places.push((change, judged));
                }
            }
        }
        places
    }

    /// Waits until a change has taken over.
    pub fn until_applied(&self, number: u64) {
        let begun = Instant::now();
        while !self.places().iter().any(|(change, _)| *change == number) {
            assert!(begun.elapsed() < DEADLINE, "change {number} does not take over");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The changes as `lapwing run --control` takes them: each before the event before which it took over.
    pub fn changes(&self, changes: &[Value]) -> Vec<Value> {
        let places = self.places();
        assert_eq!(places.len(), changes.len(), "each change takes over once: {places:?}");
        let placed = changes.iter().zip(places).map(|(change, (_, at))| {
            let mut change = change.clone();
            change["at_line"] = at.into();
            change
        });
        placed.collect()
    }
}
