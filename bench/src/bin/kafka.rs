//! How fast messages come from Kafka: polled one after the other and only counted, and as batches taken whole, counted and touched. Both
//! clients have the same properties. The time of the thread that reads is what reading costs; librdkafka's own threads and the broker do
//! the rest beside it.
//!
//! `kafka [MESSAGES]`; `scripts/kafka.sh` has brought the broker.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use lapwing::data::kafka::{Partition, Producer, Properties, Reader, Record, Start};
use lapwing_broker::Broker;
use rdkafka::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, TopicPartitionList};

const TOPIC: &str = "events";
const PARTITIONS: i32 = 4;
const WAIT: Duration = Duration::from_secs(60);

/// What a way of reading saw, and how long it took from the first message on.
struct Seen {
    messages: u64,
    bytes: u64,
    seconds: f64,
    /// Of the reading thread on its processor.
    busy: f64,
}

/// A clock on the wall and one for the processor time of this thread.
struct Clocks(Instant, f64);

impl Clocks {
    fn start() -> Clocks {
        Clocks(Instant::now(), busy())
    }

    fn stop(self, messages: u64, bytes: u64) -> Seen {
        Seen { messages, bytes, seconds: self.0.elapsed().as_secs_f64(), busy: busy() - self.1 }
    }
}

/// Seconds that this thread had a processor.
fn busy() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e9
}

fn main() -> ExitCode {
    let messages = std::env::args().nth(1).map_or(Ok(2_000_000), |text| text.parse());
    let Ok(messages) = messages else {
        eprintln!("error: write how many messages, a whole number");
        return ExitCode::from(3);
    };
    let broker = Broker::start();
    broker.topic(TOPIC, PARTITIONS);
    let bytes = write(&broker, messages);
    println!("{messages} messages of {} bytes each in {PARTITIONS} partitions", bytes / messages);
    for round in 1..=5 {
        for (name, way) in [
            ("polled and counted", polled as fn(&Broker, u64) -> Seen),
            ("batches, counted", |broker, messages| batches(broker, messages, |_| 0)),
            ("batches, touched", |broker, messages| batches(broker, messages, touch)),
        ] {
            let seen = way(&broker, messages);
            println!(
                "round {round}  {name:<20} {:>9.0} a second, {:>4.0} ns each on the thread  ({} messages, {} bytes)",
                seen.messages as f64 / seen.seconds,
                seen.busy / seen.messages as f64 * 1e9,
                seen.messages,
                seen.bytes
            );
        }
    }
    ExitCode::SUCCESS
}

/// Writes events like those of the demo; gives their bytes.
fn write(broker: &Broker, messages: u64) -> u64 {
    let properties = Properties::new(&broker.address()).with("linger.ms", "50").with("compression.type", "lz4");
    let mut producer = Producer::open(&properties).expect("known properties");
    let mut bytes = 0;
    for number in 0..messages {
        let user = number * 7_919 % 100_000;
        let payload = format!(
            r#"{{"type":"login","at":{},"user":"user-{user:06}","ip":"10.{}.{}.{}","device":"device-{:08}","country":"DE","success":{},"agent":"Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101"}}"#,
            1_767_600_000_000 + number,
            user % 256,
            user / 256 % 256,
            number % 256,
            user * 31 % 100_000_000,
            number % 5 != 0,
        );
        bytes += payload.len() as u64;
        let partition = Some((number % PARTITIONS as u64) as i32);
        producer
            .send(&Record { topic: TOPIC, partition, payload: Some(payload.as_bytes()), ..Record::default() })
            .expect("sent");
    }
    producer.flush(WAIT).expect("delivered");
    bytes
}

/// What everybody does: a poll for each message.
fn polled(broker: &Broker, messages: u64) -> Seen {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .set("group.id", "polled")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "20")
        .create()
        .expect("known properties");
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(TOPIC, partition, Offset::Beginning).expect("a place");
    }
    consumer.assign(&list).expect("they exist");
    let mut bytes = first(|| consumer.poll(WAIT).map(|message| length(&message.expect("a message"))));
    let clocks = Clocks::start();
    for _ in 1..messages {
        let message = consumer.poll(WAIT).expect("a message comes").expect("a message");
        bytes += length(&message);
    }
    clocks.stop(messages - 1, bytes)
}

/// The bytes of a message.
fn length(message: &BorrowedMessage<'_>) -> u64 {
    message.payload().map_or(0, <[u8]>::len) as u64
}

/// Whole batches.
fn batches(broker: &Broker, messages: u64, touch: fn(&[u8]) -> u64) -> Seen {
    let properties = Properties::new(&broker.address());
    let mut reader = Reader::open(&properties, "batches", &[TOPIC.to_owned()], false).expect("known properties");
    let all: Vec<_> = (0..PARTITIONS).map(|partition| (Partition::new(TOPIC, partition), Start::Earliest)).collect();
    reader.assign(&all).expect("they exist");
    let mut touched = 0;
    let mut take = || {
        let batch = reader.batch(4096, WAIT);
        assert_eq!(batch.errors, []);
        let payloads = batch.iter().filter_map(|message| message.payload());
        let bytes = payloads.map(|payload| {
            touched += touch(payload);
            payload.len() as u64
        });
        let bytes = bytes.sum::<u64>();
        (batch.len() as u64, bytes)
    };
    let (mut count, mut bytes) = first(|| Some(take()).filter(|(count, _)| *count > 0));
    let before = count;
    let clocks = Clocks::start();
    while count < messages {
        let (more, more_bytes) = take();
        count += more;
        bytes += more_bytes;
    }
    // What came before the clocks began does not count.
    let seen = clocks.stop(count - before, bytes);
    std::hint::black_box(touched);
    seen
}

/// Waits for the first.
fn first<T>(mut take: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(taken) = take() {
            return taken;
        }
    }
}

/// Reads every byte, as a decoder does.
fn touch(payload: &[u8]) -> u64 {
    payload.iter().filter(|byte| **byte == b'"').count() as u64
}
