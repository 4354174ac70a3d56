//! What holds against a real Kafka.

mod broker;
mod errors;
mod membership;
mod reader;
mod transactions;

use std::time::{Duration, Instant};

use lapwing::data::kafka::{Batch, Partition, Properties, Reader, Start};
use lapwing_broker::{Broker, PATIENCE};

/// How long a call that should succeed may take.
const WAIT: Duration = Duration::from_secs(30);

fn properties(broker: &Broker) -> Properties {
    Properties::new(&broker.address())
}

/// A reader of partitions from their beginning.
fn reader(broker: &Broker, topic: &str, partitions: i32) -> Reader {
    let mut reader = Reader::open(&properties(broker), topic, &[topic.to_owned()], true).expect("known properties");
    let all: Vec<_> = (0..partitions).map(|partition| (Partition::new(topic, partition), Start::Earliest)).collect();
    reader.assign(&all).expect("partitions that exist");
    reader
}

/// A message, owned.
#[derive(Clone, Debug, PartialEq)]
struct Owned {
    topic: u16,
    partition: i32,
    offset: i64,
    timestamp: Option<i64>,
    key: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn owned(batch: &Batch) -> Vec<Owned> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let one = |message: lapwing::data::kafka::Message<'_>| Owned {
        topic: message.topic(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp(),
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().map(<[u8]>::to_vec),
        headers: message.headers().map(|(name, value)| (text(name), value.map(<[u8]>::to_vec))).collect(),
    };
    batch.iter().map(one).collect()
}

/// Reads until something holds of what was read so far.
#[track_caller]
fn read_until(reader: &mut Reader, mut enough: impl FnMut(&[Owned], &Batch) -> bool) -> Vec<Owned> {
    let end = Instant::now() + PATIENCE;
    let mut read = Vec::new();
    while Instant::now() < end {
        let batch = reader.batch(1000, Duration::from_millis(100));
        assert_eq!(batch.errors, [], "after {} messages", read.len());
        read.extend(owned(&batch));
        if enough(&read, &batch) {
            return read;
        }
    }
    panic!("only {} messages came", read.len());
}

/// Reads as many messages.
#[track_caller]
fn read(reader: &mut Reader, count: usize) -> Vec<Owned> {
    read_until(reader, |read, _| read.len() >= count)
}

/// Reads to the end of a partition.
#[track_caller]
fn read_to_end(reader: &mut Reader) -> Vec<Owned> {
    read_until(reader, |_, batch| !batch.ends.is_empty())
}

fn payloads(messages: &[Owned]) -> Vec<String> {
    let text = |message: &Owned| String::from_utf8_lossy(message.payload.as_deref().unwrap_or(b"-")).into_owned();
    messages.iter().map(text).collect()
}
