//! Records and offsets that are seen together or not at all.

use std::collections::BTreeMap;
use std::time::Duration;

use lapwing::data::kafka::{
    Batch, Error, Kind, Partition, Producer, Reader, Record, Start, TransactionError, TransactionalProducer,
};
use lapwing_broker::{Broker, until};

use super::{WAIT, payloads, properties, read, read_to_end, reader};

fn open(broker: &Broker, id: &str) -> TransactionalProducer {
    let mut producer =
        TransactionalProducer::open(&properties(broker), id, Duration::from_secs(60)).expect("known properties");
    producer.init(WAIT).expect("the broker answers");
    producer
}

fn send(producer: &mut TransactionalProducer, topic: &str, payload: &str) {
    producer.send(&Record { topic, payload: Some(payload.as_bytes()), ..Record::default() }).expect("sent");
}

#[test]
fn only_what_was_committed_is_seen() {
    let broker = Broker::shared();
    broker.topic("seen", 1);
    let mut producer = open(broker, "seen");
    for (payload, commit) in [("a", true), ("b", false), ("c", true), ("d", false)] {
        producer.begin().expect("begun");
        send(&mut producer, "seen", payload);
        let done = if commit { producer.commit(WAIT) } else { producer.abort(WAIT) };
        done.expect("the broker answers");
    }
    // Open, and not seen either.
    producer.begin().expect("begun");
    send(&mut producer, "seen", "e");
    let mut reader = reader(broker, "seen", 1);
    assert_eq!(payloads(&read_to_end(&mut reader)), ["a", "c"]);
    producer.commit(WAIT).expect("the broker answers");
    assert_eq!(payloads(&read(&mut reader, 1)), ["e"]);
}

#[test]
fn offsets_are_committed_with_the_records() {
    let broker = Broker::shared();
    broker.topic("places", 1);
    let reader = Reader::open(&properties(broker), "places", &["places".to_owned()], false).expect("known properties");
    let place = Partition::new("places", 0);
    let committed = || reader.committed(std::slice::from_ref(&place), WAIT).expect("the broker answers");
    assert_eq!(committed(), [None]);
    let mut producer = open(broker, "places");
    for (offset, commit) in [(3, true), (4, false)] {
        producer.begin().expect("begun");
        send(&mut producer, "places", "x");
        producer.send_offsets(&[(place.clone(), offset)], &reader.group(), WAIT).expect("the broker answers");
        let done = if commit { producer.commit(WAIT) } else { producer.abort(WAIT) };
        done.expect("the broker answers");
        assert_eq!(committed(), [Some(3)]);
    }
}

#[test]
fn an_older_producer_of_the_same_id_is_fenced() {
    let broker = Broker::shared();
    broker.topic("fenced", 1);
    let mut old = open(broker, "fenced");
    old.begin().expect("begun");
    send(&mut old, "fenced", "old");
    let mut young = open(broker, "fenced");
    young.begin().expect("begun");
    send(&mut young, "fenced", "young");
    young.commit(WAIT).expect("the broker answers");
    let error = old.commit(WAIT).expect_err("a younger one has taken over");
    assert_eq!(error.kind, Kind::Fenced, "{error}");
    assert!(error.to_string().ends_with(": a younger instance has taken over"), "{error}");
    // It stays so.
    let error = old.begin().expect_err("a younger one has taken over");
    assert_eq!(error.kind, Kind::Fenced, "{error}");
    drop(old);
    assert_eq!(payloads(&read_to_end(&mut reader(broker, "fenced", 1))), ["young"]);
}

#[test]
fn a_record_that_is_given_up_makes_the_transaction_abortable() {
    let broker = Broker::shared();
    broker.topic_with("given-up", 1, &[("max.message.bytes", "2000")]);
    let mut producer = open(broker, "given-up");
    producer.begin().expect("begun");
    send(&mut producer, "given-up", "small");
    send(&mut producer, "given-up", &"x".repeat(10_000));
    let error = producer.commit(WAIT).expect_err("the broker takes 2,000 bytes");
    assert_eq!(error.kind, Kind::Abortable, "{error}");
    assert_eq!(error.error, Error::TooLarge { topic: "given-up".to_owned(), bytes: 10_000 });
    // The record that was given up had a number, and the client counts on from there: the next transaction fails for the gap, and with it
    // the client begins to count anew.
    let mut failures = 0;
    while {
        producer.abort(WAIT).expect("the broker answers");
        producer.begin().expect("begun");
        send(&mut producer, "given-up", "after");
        producer.commit(WAIT).is_err()
    } {
        failures += 1;
        assert!(failures <= 1, "it does not recover");
    }
    assert_eq!(payloads(&read_to_end(&mut reader(broker, "given-up", 1))), ["after"]);
}

#[test]
fn a_record_that_is_refused_leaves_the_transaction_whole() {
    let broker = Broker::shared();
    broker.topic("refused", 1);
    let mut producer = open(broker, "refused");
    producer.begin().expect("begun");
    let large = vec![b'x'; 2 << 20];
    let record = Record { topic: "refused", payload: Some(&large), ..Record::default() };
    let error = producer.send(&record).expect_err("the client takes a megabyte");
    assert_eq!(error.kind, Kind::Refused, "{error}");
    let error = producer.send(&Record { topic: "a\0b", ..record }).expect_err("no topic has such a name");
    assert_eq!(error.kind, Kind::Refused, "{error}");
    send(&mut producer, "refused", "whole");
    producer.commit(WAIT).expect("the broker answers");
    assert_eq!(payloads(&read_to_end(&mut reader(broker, "refused", 1))), ["whole"]);
}

/// Whatever became of a commit that nobody answered, a new producer of the same id finds it decided.
#[test]
fn a_commit_without_an_answer_is_unknown_and_decided_by_the_next_producer() {
    let broker = Broker::start();
    broker.topic("unknown", 1);
    let mut producer = open(&broker, "unknown");
    let reader = reader(&broker, "unknown", 1);
    let place = Partition::new("unknown", 0);
    producer.begin().expect("begun");
    send(&mut producer, "unknown", "x");
    producer.send_offsets(&[(place.clone(), 1)], &reader.group(), WAIT).expect("the broker answers");
    broker.freeze();
    let error = producer.commit(Duration::from_secs(2)).expect_err("nobody answers");
    assert_eq!(error.kind, Kind::Unknown, "{error}");
    drop(producer);
    broker.thaw();
    let mut next = open(&broker, "unknown");
    let committed = reader.committed(std::slice::from_ref(&place), WAIT).expect("the broker answers");
    let seen = payloads(&read_to_end(&mut self::reader(&broker, "unknown", 1)));
    match committed[0] {
        Some(1) => assert_eq!(seen, ["x"]),
        None => assert_eq!(seen, [""; 0]),
        other => panic!("an offset that nobody committed: {other:?}"),
    }
    next.begin().expect("begun");
    send(&mut next, "unknown", "y");
    next.commit(WAIT).expect("the broker answers");
    assert!(until(|| payloads(&read_to_end(&mut self::reader(&broker, "unknown", 1)))
        .last()
        .is_some_and(|l| l == "y")));
}

#[test]
fn a_producer_outlives_a_broker_that_comes_back() {
    let mut broker = Broker::start();
    broker.topic("lasting", 1);
    let mut producer = Producer::open(&properties(&broker)).expect("known properties");
    let record =
        |payload: &'static str| Record { topic: "lasting", payload: Some(payload.as_bytes()), ..Record::default() };
    producer.send(&record("a")).expect("sent");
    producer.flush(WAIT).expect("delivered");
    broker.stop();
    producer.send(&record("b")).expect("sent");
    let error = producer.flush(Duration::from_secs(2)).expect_err("nobody takes it");
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    broker.restart();
    producer.flush(WAIT).expect("delivered");
    assert_eq!(payloads(&read_to_end(&mut reader(&broker, "lasting", 1))), ["a", "b"]);
}

/// What a transaction copies from `source` to `copy`, and the offsets that come next.
fn copy(
    producer: &mut TransactionalProducer,
    batch: &Batch,
    reader: &Reader,
    mut before_commit: impl FnMut(),
) -> Result<(), TransactionError> {
    let wait = Duration::from_secs(3);
    producer.begin()?;
    let mut next = BTreeMap::new();
    for message in batch.iter() {
        let (partition, payload) = (Some(message.partition()), message.payload());
        producer.send(&Record { topic: "copy", partition, payload, ..Record::default() })?;
        next.insert(Partition::new("source", message.partition()), message.offset() + 1);
    }
    let next: Vec<_> = next.into_iter().collect();
    producer.send_offsets(&next, &reader.group(), wait)?;
    before_commit();
    producer.commit(wait)
}

/// A copier, as often as the broker is frozen or killed in the middle of its commits, copies each message once: after any failure the
/// producer is made anew, and what was committed says where to go on.
#[test]
fn each_message_is_copied_once_whatever_happens_to_the_broker() {
    const MESSAGES: i64 = 600;
    let mut broker = Broker::start();
    broker.topic("source", 3);
    broker.topic("copy", 3);
    let mut writer = Producer::open(&properties(&broker)).expect("known properties");
    for number in 0..MESSAGES {
        let (partition, payload) = (Some((number % 3) as i32), number.to_string());
        let record = Record { topic: "source", partition, payload: Some(payload.as_bytes()), ..Record::default() };
        writer.send(&record).expect("sent");
    }
    writer.flush(WAIT).expect("delivered");
    let partitions: Vec<_> = (0..3).map(|partition| Partition::new("source", partition)).collect();
    let mut reader =
        Reader::open(&properties(&broker), "copier", &["source".to_owned()], false).expect("known properties");
    let is_done = |reader: &Reader| {
        let committed = reader.committed(&partitions, WAIT).expect("the broker answers");
        committed.iter().all(|offset| *offset == Some(MESSAGES / 3))
    };
    let mut producer: Option<TransactionalProducer> = None;
    let (mut epochs, mut failures) = (0, Vec::new());
    loop {
        // At the beginning, and after each failure.
        if producer.is_none() {
            let properties = properties(&broker).with("socket.timeout.ms", "2000");
            let copier = TransactionalProducer::open(&properties, "copier", Duration::from_secs(60));
            let mut copier = copier.expect("known properties");
            copier.init(WAIT).expect("the broker answers");
            producer = Some(copier);
            let committed = reader.committed(&partitions, WAIT).expect("the broker answers");
            let starts = committed.iter().map(|offset| offset.map_or(Start::Earliest, Start::At));
            reader.assign(&partitions.iter().cloned().zip(starts).collect::<Vec<_>>()).expect("they exist");
        }
        let batch = reader.batch(40, Duration::from_millis(100));
        if batch.is_empty() {
            if is_done(&reader) {
                break;
            }
            continue;
        }
        epochs += 1;
        let copier = producer.as_mut().expect("it was made");
        let done = match epochs {
            3 => {
                let done = copy(copier, &batch, &reader, || broker.freeze());
                broker.thaw();
                done
            }
            5 => {
                let done = copy(copier, &batch, &reader, || broker.kill());
                broker.restart();
                done
            }
            7 => {
                broker.freeze();
                let done = copy(copier, &batch, &reader, || {});
                broker.thaw();
                done
            }
            _ => copy(copier, &batch, &reader, || {}),
        };
        if let Err(error) = done {
            failures.push(error.kind);
            producer = None;
        }
    }
    assert_eq!(failures, [Kind::Unknown, Kind::Unknown, Kind::Retriable], "of {epochs} transactions");
    let mut copies = super::reader(&broker, "copy", 3);
    let copied = read(&mut copies, MESSAGES as usize);
    assert!(copies.batch(10, Duration::from_secs(1)).is_empty(), "something was copied twice");
    for partition in 0..3 {
        let of_one: Vec<_> = copied.iter().filter(|message| message.partition == partition).cloned().collect();
        let expected: Vec<_> = (0..MESSAGES / 3).map(|row| (row * 3 + i64::from(partition)).to_string()).collect();
        assert_eq!(payloads(&of_one), expected);
    }
}
