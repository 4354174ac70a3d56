//! How fast `lapwing serve` goes from topic to topic, against a consumer that polls the same messages and only counts them.
//!
//! The broker has one core, who reads has the other. `serve MESSAGES RULES… [-- SETTING…]`; `target/release/lapwing` is what is measured, and
//! `scripts/kafka.sh` has brought the broker. The service begins on a topic that is full, with a secure place for each epoch: its time is from the
//! first batch that it read to its last commit, as its journal tells. The stream is that of `lapwing generate`.

use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use lapwing::data::kafka::{Partition, Producer, Properties, Reader, Record, Start};
use lapwing_broker::Broker;
use rdkafka::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

const TOPIC: &str = "events";
const PARTITIONS: i32 = 4;
const WAIT: Duration = Duration::from_secs(60);
const ROUNDS: usize = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, address, count, backoff] = &arguments[..]
        && mode == "--count"
    {
        println!("{}", polled(address, count.parse().expect("a number"), backoff));
        return ExitCode::SUCCESS;
    }
    let (own, settings) = match arguments.iter().position(|a| a == "--") {
        Some(at) => (&arguments[..at], &arguments[at + 1..]),
        None => (&arguments[..], &[][..]),
    };
    let Some((Ok(messages), rules)) = own.split_first().map(|(count, rules)| (count.parse::<u64>(), rules)) else {
        eprintln!("error: write how many messages, and rule files");
        return ExitCode::from(3);
    };
    let broker = Broker::start();
    broker.topic(TOPIC, PARTITIONS);
    let bytes = write(&broker, messages);
    println!("{messages} messages of {} bytes each in {PARTITIONS} partitions", bytes / messages);
    for round in 1..=ROUNDS {
        let polled = count_apart(&broker, messages, "1000");
        println!("round {round}  polled and counted       {polled:>9.0} a second");
        let fast = count_apart(&broker, messages, "20");
        println!("round {round}  the same, set as Lapwing {fast:>9.0} a second");
        for (name, delivery) in [("exactly once", "exactly-once"), ("at least once", "at-least-once")] {
            let (served, alerts) = served(&broker, messages, &format!("{delivery}-{round}"), delivery, rules, settings);
            println!(
                "round {round}  served, {name:<15}  {served:>9.0} a second, {:.2} of that, {alerts} alerts",
                served / polled
            );
        }
    }
    ExitCode::SUCCESS
}

/// A command on a core of its own.
fn on_core(core: &str, program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core, program]);
    command
}

/// Writes the stream that `lapwing generate` makes; gives its bytes.
fn write(broker: &Broker, messages: u64) -> u64 {
    let output = Command::new("target/release/lapwing")
        .args(["generate", "--seed", "7", "--users", "100000", "--attacks", "0.001", "--events", &messages.to_string()])
        .args(["--output", "-"])
        .stderr(Stdio::null())
        .output()
        .expect("`cargo build --release` has made it");
    let properties = Properties::new(&broker.address()).with("linger.ms", "50").with("compression.type", "lz4");
    let mut producer = Producer::open(&properties).expect("known properties");
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    for (number, line) in lines.enumerate() {
        let partition = Some((number / 1_000) as i32 % PARTITIONS);
        producer.send(&Record { topic: TOPIC, partition, payload: Some(line), ..Record::default() }).expect("sent");
    }
    producer.flush(WAIT).expect("delivered");
    output.stdout.len() as u64
}

/// What everybody does, in a process on the core of the service: a poll for each message. Messages a second.
/// `backoff` is `fetch.queue.backoff.ms`: 1,000 is the client's default, 20 is what Lapwing sets.
fn count_apart(broker: &Broker, messages: u64, backoff: &str) -> f64 {
    let own = std::env::current_exe().expect("it has a path").display().to_string();
    let output = on_core("1", &own)
        .args(["--count", &broker.address(), &messages.to_string(), backoff])
        .stderr(Stdio::inherit())
        .output()
        .expect("it starts");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
}

fn polled(address: &str, messages: u64, backoff: &str) -> f64 {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("group.id", "polled")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", backoff)
        .create()
        .expect("known properties");
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(TOPIC, partition, Offset::Beginning).expect("a place");
    }
    consumer.assign(&list).expect("they exist");
    let mut bytes = 0;
    let mut begun = Instant::now();
    for number in 0..messages {
        let message = consumer.poll(WAIT).expect("a message comes").expect("a message");
        bytes += message.payload().map_or(0, <[u8]>::len);
        if number == 0 {
            begun = Instant::now();
        }
    }
    std::hint::black_box(bytes);
    messages as f64 / begun.elapsed().as_secs_f64()
}

/// Ends the process where it is dropped.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A service on the full topic: events a second, and how many alerts it wrote.
fn served(
    broker: &Broker,
    messages: u64,
    name: &str,
    delivery: &str,
    rules: &[String],
    settings: &[String],
) -> (f64, usize) {
    for topic in ["alerts", "control", "journal"] {
        broker.topic(&format!("{name}-{topic}"), 1);
    }
    let data = std::env::temp_dir().join(format!("lapwing-bench-{}-{name}", std::process::id()));
    let mut command = on_core("1", "target/release/lapwing");
    command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let sets = [
        "service.listen=127.0.0.1:0".to_owned(),
        format!("service.data={}", data.display()),
        format!("service.rules={}", rules.join(",")),
        "engine.lateness=2s".to_owned(),
        format!("kafka.brokers={}", broker.address()),
        format!("kafka.group={name}"),
        format!("kafka.delivery={delivery}"),
        format!("kafka.source.0.topic={TOPIC}"),
        "kafka.source.0.from=earliest".to_owned(),
        format!("kafka.alerts.topic={name}-alerts"),
        format!("kafka.control.topic={name}-control"),
        format!("kafka.journal.topic={name}-journal"),
    ];
    sets.iter().chain(settings).for_each(|set| {
        command.args(["--set", set]);
    });
    let service = Ends(command.spawn().expect("it starts"));
    let (mut first, mut last) = (None, 0);
    let mut judged = [0u64; PARTITIONS as usize];
    let mut journal = whole(broker, &format!("{name}-journal"));
    while judged.iter().sum::<u64>() < messages {
        let batch = journal.batch(1_000, WAIT);
        for message in batch.iter() {
            let epoch: Value = serde_json::from_slice(message.payload().unwrap_or_default()).expect("JSON");
            for read in epoch["steps"].as_array().expect("steps").iter().filter_map(|step| step.get("read")) {
                first = first.or(read["at"].as_i64());
                for mark in read["until"].as_array().expect("offsets") {
                    judged[mark[1].as_u64().expect("a number") as usize] = mark[2].as_u64().expect("a number");
                }
            }
            last = message.timestamp().expect("a time");
        }
    }
    drop(service);
    let mut alerts = 0;
    let mut reader = whole(broker, &format!("{name}-alerts"));
    loop {
        let batch = reader.batch(10_000, WAIT);
        alerts += batch.len();
        if !batch.ends.is_empty() {
            break;
        }
    }
    let _ = std::fs::remove_dir_all(&data);
    (messages as f64 / ((last - first.expect("it has read")) as f64 / 1e3), alerts)
}

/// Reads a topic of one partition from its beginning.
fn whole(broker: &Broker, topic: &str) -> Reader {
    let properties = Properties::new(&broker.address());
    let mut reader = Reader::open(&properties, "bench", &[topic.to_owned()], false).expect("known properties");
    reader.assign(&[(Partition::new(topic, 0), Start::Earliest)]).expect("it exists");
    reader
}
