//! Batches of messages: everything that a message can have, from every place that one can begin at.

use std::thread;
use std::time::Duration;

use lapwing::config::kafka::From;
use lapwing::data::kafka::{Error, Partition, Producer, Reader, Record, Start};
use lapwing_broker::{Broker, until};

use super::{WAIT, payloads, properties, read, read_to_end, reader};

/// Writes payloads to a partition, a second apart from a time on.
fn write(broker: &Broker, topic: &str, partition: i32, from: i64, payloads: &[&str]) {
    let mut producer = Producer::open(&properties(broker)).expect("known properties");
    for (payload, second) in payloads.iter().zip(0..) {
        let timestamp = Some(from + second * 1000);
        let payload = Some(payload.as_bytes());
        producer
            .send(&Record { topic, partition: Some(partition), payload, timestamp, ..Record::default() })
            .expect("sent");
    }
    producer.flush(WAIT).expect("delivered");
}

#[test]
fn all_compressions_are_read() {
    let broker = Broker::shared();
    broker.topic("compressed", 1);
    let text = "abcdefgh".repeat(1000);
    for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let properties = properties(broker).with("compression.type", compression);
        let mut producer = Producer::open(&properties).expect("known properties");
        for _ in 0..10 {
            let (key, payload) = (Some(compression.as_bytes()), Some(text.as_bytes()));
            producer.send(&Record { topic: "compressed", key, payload, ..Record::default() }).expect("sent");
        }
        producer.flush(WAIT).expect("delivered");
    }
    let messages = read(&mut reader(broker, "compressed", 1), 50);
    assert!(messages.iter().all(|message| message.payload.as_deref() == Some(text.as_bytes())));
    let keys: Vec<_> = messages.iter().step_by(10).filter_map(|m| m.key.clone()).collect();
    assert_eq!(keys, [b"none".as_slice(), b"gzip", b"snappy", b"lz4", b"zstd"]);
}

#[test]
fn a_message_comes_with_all_that_it_has() {
    let broker = Broker::shared();
    broker.topic("whole", 2);
    let mut producer = Producer::open(&properties(broker)).expect("known properties");
    let headers: [(&str, Option<&[u8]>); 4] =
        [("type", Some(b"login")), ("empty", Some(b"")), ("null", None), ("type", Some(b"\x00\xff"))];
    let records = [
        Record {
            key: Some(b"ann"),
            payload: Some(b"{}"),
            headers: &headers,
            timestamp: Some(1_767_600_000_123),
            ..Record::default()
        },
        // A tombstone.
        Record { key: Some(b"ann"), ..Record::default() },
        // No key.
        Record { payload: Some(b"x"), ..Record::default() },
        Record { key: Some(b""), payload: Some(b""), ..Record::default() },
    ];
    for record in &records {
        producer.send(&Record { topic: "whole", partition: Some(1), ..*record }).expect("sent");
    }
    producer.flush(WAIT).expect("delivered");
    let messages = read(&mut reader(broker, "whole", 2), 4);
    assert_eq!(messages.len(), 4);
    for (message, record) in messages.iter().zip(&records) {
        assert_eq!((message.topic, message.partition), (0, 1));
        assert_eq!((message.key.as_deref(), message.payload.as_deref()), (record.key, record.payload));
        assert_eq!(message.headers.len(), record.headers.len());
        for ((name, value), (known_name, known_value)) in message.headers.iter().zip(record.headers) {
            assert_eq!((name.as_str(), value.as_deref()), (*known_name, *known_value));
        }
    }
    assert_eq!(messages.iter().map(|message| message.offset).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(messages[0].timestamp, Some(1_767_600_000_123));
    assert!(messages[1].timestamp > messages[0].timestamp);
}

#[test]
fn headers_are_read_only_where_it_is_said() {
    let broker = Broker::shared();
    broker.topic("headers", 1);
    let mut producer = Producer::open(&properties(broker)).expect("known properties");
    let headers: [(&str, Option<&[u8]>); 1] = [("type", Some(b"login"))];
    producer.send(&Record { topic: "headers", headers: &headers, ..Record::default() }).expect("sent");
    producer.flush(WAIT).expect("delivered");
    let mut without = Reader::open(&properties(broker), "headers", &["headers".to_owned()], false).expect("known");
    without.assign(&[(Partition::new("headers", 0), Start::Earliest)]).expect("it exists");
    assert!(read(&mut without, 1)[0].headers.is_empty());
}

#[test]
fn a_message_of_ten_megabytes_is_read() {
    let broker = Broker::shared();
    broker.topic_with("large", 1, &[("max.message.bytes", "20000000")]);
    let large = vec![b'x'; 10 << 20];
    let mut small = Producer::open(&properties(broker)).expect("known properties");
    let record = Record { topic: "large", payload: Some(&large), ..Record::default() };
    let error = small.send(&record).expect_err("the client takes a megabyte");
    assert_eq!(error, Error::TooLarge { topic: "large".to_owned(), bytes: 10 << 20 });
    let properties = properties(broker).with("message.max.bytes", "20000000");
    let mut producer = Producer::open(&properties).expect("known properties");
    producer.send(&record).expect("sent");
    producer.flush(WAIT).expect("delivered");
    let messages = read(&mut reader(broker, "large", 1), 1);
    assert!(messages[0].payload.as_deref() == Some(&large[..]));
}

#[test]
fn a_batch_outlives_its_reader_and_goes_to_other_threads() {
    let broker = Broker::shared();
    broker.topic("outlives", 1);
    write(broker, "outlives", 0, 1_000_000, &["a", "b", "c"]);
    let mut reader = reader(broker, "outlives", 1);
    let mut batch = reader.batch(10, Duration::from_secs(1));
    assert!(until(|| {
        if batch.is_empty() {
            batch = reader.batch(10, Duration::from_secs(1));
        }
        !batch.is_empty()
    }));
    drop(reader);
    let batch = &batch;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                assert_eq!(batch.iter().next().and_then(|message| message.payload()), Some(b"a".as_slice()));
                assert_eq!(batch.topic(0), "outlives");
            });
        }
    });
}

#[test]
fn many_partitions_of_two_topics_keep_their_order() {
    let broker = Broker::shared();
    let topics = ["many-a".to_owned(), "many-b".to_owned()];
    let mut producer = Producer::open(&properties(broker)).expect("known properties");
    let mut reader = Reader::open(&properties(broker), "many", &topics, false).expect("known properties");
    let mut all = Vec::new();
    for topic in &topics {
        broker.topic(topic, 8);
        for number in 0..800_u32 {
            let (partition, payload) = (Some((number % 8) as i32), number.to_string());
            producer
                .send(&Record { topic, partition, payload: Some(payload.as_bytes()), ..Record::default() })
                .expect("sent");
        }
        all.extend((0..8).map(|partition| (Partition::new(topic, partition), Start::Earliest)));
    }
    producer.flush(WAIT).expect("delivered");
    reader.assign(&all).expect("they exist");
    let messages = read(&mut reader, 1600);
    let mut next = [[0; 8]; 2];
    for message in &messages {
        let expected = &mut next[usize::from(message.topic)][message.partition as usize];
        assert_eq!(message.offset, *expected);
        *expected += 1;
        let number = message.offset * 8 + i64::from(message.partition);
        assert_eq!(message.payload, Some(number.to_string().into_bytes()));
    }
    assert_eq!(next, [[100; 8]; 2]);
}

#[test]
fn reading_begins_where_it_is_said() {
    let broker = Broker::shared();
    broker.topic("begin", 2);
    write(broker, "begin", 0, 1_767_600_000_000, &["a", "b", "c", "d"]);
    let mut reader =
        Reader::open(&properties(broker), "begin", &["begin".to_owned()], false).expect("known properties");
    let from = |from: From| reader.starts("begin", &from, WAIT).expect("the broker answers");
    let starts = |first, second| vec![(Partition::new("begin", 0), first), (Partition::new("begin", 1), second)];
    assert_eq!(from(From::Committed), starts(Start::Earliest, Start::Earliest));
    assert_eq!(from(From::Latest), starts(Start::Latest, Start::Latest));
    assert_eq!(from(From::Offsets([(1, 5)].into())), starts(Start::Earliest, Start::At(5)));
    let time = From::Time("2026-01-05T08:00:01.500Z".parse().expect("a time"));
    assert_eq!(from(time), starts(Start::At(2), Start::Latest));
    let beyond = reader.starts("begin", &From::Offsets([(7, 5)].into()), WAIT).expect_err("there is no partition 7");
    assert!(beyond.to_string().contains("`from` names it, and the topic has 2 partitions"), "{beyond}");
    reader.assign(&starts(Start::At(2), Start::Latest)).expect("they exist");
    assert_eq!(payloads(&read(&mut reader, 2)), ["c", "d"]);
}

#[test]
fn partitions_are_paused_resumed_and_sought() {
    let broker = Broker::shared();
    broker.topic("sought", 2);
    let numbers: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    let numbers: Vec<_> = numbers.iter().map(String::as_str).collect();
    write(broker, "sought", 0, 1_000_000, &numbers);
    write(broker, "sought", 1, 1_000_000, &["x", "y"]);
    let (first, second) = (Partition::new("sought", 0), Partition::new("sought", 1));
    let mut reader =
        Reader::open(&properties(broker), "sought", &["sought".to_owned()], false).expect("known properties");
    // Offsets, which need not be asked for: the client loses its place where it is paused while it asks.
    reader.assign(&[(first.clone(), Start::At(0)), (second.clone(), Start::At(0))]).expect("they exist");
    let mut before = Vec::new();
    while before.is_empty() {
        before.extend(super::owned(&reader.batch(7, Duration::from_secs(1))));
    }
    reader.pause(&[first.clone(), second.clone()]).expect("they are assigned");
    let between = reader.batch(100, Duration::from_millis(300));
    assert_eq!(between.len(), 0, "paused");
    reader.resume(&[first.clone(), second.clone()]).expect("they are assigned");
    let after = read(&mut reader, 102 - before.len());
    let of_first = before.iter().chain(&after).filter(|message| message.partition == 0);
    assert_eq!(of_first.map(|message| message.offset).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    reader.seek(&[(first.clone(), 97)], WAIT).expect("it is assigned");
    assert_eq!(payloads(&read(&mut reader, 3)), ["97", "98", "99"]);
    assert_eq!(reader.watermarks(&first, WAIT), Ok((0, 100)));
    assert_eq!(reader.known_watermarks(&second), Some((0, 2)));
    assert!(reader.pause(&[Partition::new("elsewhere", 0)]).is_err());
}

#[test]
fn an_offset_that_is_gone_is_told() {
    let broker = Broker::shared();
    broker.topic("gone", 1);
    write(broker, "gone", 0, 1_000_000, &["a"]);
    let mut reader = Reader::open(&properties(broker), "gone", &["gone".to_owned()], false).expect("known properties");
    reader.assign(&[(Partition::new("gone", 0), Start::At(17))]).expect("it exists");
    let mut errors = Vec::new();
    assert!(until(|| {
        errors.extend(reader.batch(10, Duration::from_millis(100)).errors.clone());
        !errors.is_empty()
    }));
    assert!(matches!(&errors[0], Error::OffsetGone { topic, partition: 0, .. } if topic == "gone"), "{errors:?}");
}

#[test]
fn reading_goes_on_when_the_broker_comes_back() {
    let mut broker = Broker::start();
    broker.topic("back", 1);
    write(&broker, "back", 0, 1_000_000, &["a"]);
    let mut reader = reader(&broker, "back", 1);
    assert_eq!(payloads(&read_to_end(&mut reader)), ["a"]);
    broker.kill();
    let mut told = Vec::new();
    assert!(until(|| {
        let batch = reader.batch(10, Duration::from_millis(100));
        assert!(batch.is_empty());
        told.extend(reader.client().errors());
        !told.is_empty()
    }));
    assert!(matches!(told[0], Error::Unreachable { .. }), "{told:?}");
    broker.restart();
    write(&broker, "back", 0, 2_000_000, &["b"]);
    assert_eq!(payloads(&read(&mut reader, 1)), ["b"]);
}
