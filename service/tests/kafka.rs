//! `lapwing serve` over Kafka: what stands in the topics is judged once, whatever happens to the process or the broker.
//!
//! `LAPWING_KILLS` says how often the service is killed; the default is a few times in every test run.

mod service;
mod topics;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use lapwing_broker::Broker;
use serde_json::{Value, json};

use self::service::{Service, command, folder, random, run_on, stream};
use self::topics::Topics;

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/seed");
const EVENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/events.lap");

const SETS: [&str; 4] = ["engine.lateness=2s", "engine.idle_after=1d", "save.every=200ms", "epoch.every=50ms"];

/// How a service over topics is started.
fn over(topics: &Topics, data: &Path) -> Command {
    let sets = topics.sets();
    let sets: Vec<&str> = SETS.into_iter().chain(sets.iter().map(String::as_str)).collect();
    command(data, &[EVENTS, RULES], &sets)
}

#[test]
fn events_come_from_a_topic_and_alerts_go_to_one_over_restarts_and_changes() {
    let dir = folder("kafka");
    let topics = Topics::new(Broker::shared(), "plain");
    let lines = stream(&dir.join(&topics.events), 8_000);
    let (first, rest) = lines.split_at(5_000);
    let data = dir.join("data");
    let mut service = Service::start(&mut over(&topics, &data)).expect("it is ready");
    topics.send(first);
    topics.until_judged(5_000);
    let pause = json!({"op": "stage", "kind": "rule", "name": "mass_sharing", "stage": "paused", "author": "ann"});
    let answer = service.change(&pause.to_string()).expect("it answers");
    assert_eq!((answer.status, &answer.body["generation"]), (200, &json!(2)), "{answer:?}");
    let answer = service.change(&pause.to_string().replace("mass_sharing", "mass_sharin")).expect("it answers");
    assert_eq!(answer.status, 422);
    let answer = service.post(&first.concat(), None).expect("it answers");
    assert_eq!(answer.status, 409, "{answer:?}");
    topics.until_applied(1);

    let (code, said) = service.terminate();
    assert_eq!(code, Some(0), "{said}");
    service = Service::start(&mut over(&topics, &data)).expect("it is ready");
    topics.send(rest);
    topics.until_judged(lines.len() as u64);
    let expected = run_on(&dir.join(&topics.events), &topics.changes(&[pause]), &[EVENTS, RULES]);
    assert!(expected.iter().any(|alert| alert.contains("\"ruleset\":2")));
    assert_eq!(topics.alerts(), expected);
    drop(service);
}

#[test]
fn killed_at_any_place_under_a_broker_that_comes_and_goes_nothing_is_lost_or_said_twice() {
    let kills: u64 = std::env::var("LAPWING_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(15);
    let dir = folder("kafka-killed");
    let mut broker = Broker::start();
    let mut seed: u64 = std::env::var("LAPWING_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(11);
    let (mut killed, mut round) = (0, 0);
    while killed < kills {
        round += 1;
        killed += one_life(&dir, &mut broker, round, &mut seed);
    }
}

/// Writes all events, with changes in between, before a service that is killed again and again. Returns how often.
fn one_life(dir: &Path, broker: &mut Broker, round: u64, seed: &mut u64) -> u64 {
    let topics = Topics::new(broker, &format!("round-{round}"));
    let lines = stream(&dir.join(&topics.events), 20_000);
    let mut life = Life { data: dir.join(format!("data-{round}")), topics, seed: *seed, killed: 0, service: None };
    let (mut at, mut generation) = (0, 1);
    let mut changes = Vec::new();
    while at < lines.len() {
        let size = 1 + random(&mut life.seed) as usize % 2_000;
        let batch = &lines[at..lines.len().min(at + size)];
        life.topics.send(batch);
        at += batch.len();
        match random(&mut life.seed) % 8 {
            0 => {
                broker.kill();
                broker.restart();
            }
            1 => {
                broker.stop();
                broker.restart();
            }
            2..=4 => {
                let stage = if generation % 2 == 0 { "live" } else { "paused" };
                let change = json!({"op": "stage", "kind": "rule", "name": "failed_logins", "stage": stage});
                life.change(&change, generation + 1);
                generation += 1;
                changes.push(change);
            }
            _ => {}
        }
        // Now and then it has time to judge.
        if random(&mut life.seed).is_multiple_of(3) {
            let count = at as u64;
            life.until(|topics| topics.judged() >= count);
        }
    }
    life.sound();
    life.topics.until_judged(lines.len() as u64);
    (1..generation).for_each(|change| life.topics.until_applied(change));
    let expected = run_on(&dir.join(&life.topics.events), &life.topics.changes(&changes), &[EVENTS, RULES]);
    let alerts = life.topics.alerts();
    let different = alerts.iter().zip(&expected).position(|(a, b)| *a != *b);
    assert_eq!((alerts.len(), different), (expected.len(), None), "round {round}, seed {}", *seed);
    let (code, said) = life.service.take().expect("it runs").terminate();
    assert_eq!(code, Some(0), "{said}");
    *seed = life.seed;
    life.killed
}

/// A service that is killed and started again.
struct Life {
    data: PathBuf,
    topics: Topics,
    seed: u64,
    killed: u64,
    service: Option<Service>,
}

/// Places where the process ends or the disk fails.
const PLACES: [&str; 10] = [
    "kafka-produce",
    "kafka-offsets",
    "kafka-commit",
    "kafka-committed",
    "history-write",
    "history-sync",
    "store-begins",
    "store-writes",
    "store-written",
    "store-taken-in",
];

impl Life {
    fn command(&mut self) -> Command {
        let threads = if random(&mut self.seed).is_multiple_of(2) { "engine.threads=1" } else { "engine.threads=3" };
        let mut command = over(&self.topics, &self.data);
        // So little that cold keys leave memory.
        command.args(["--set", threads, "--set", "engine.memory=16MiB"]);
        command
    }

    /// A service that runs, with something planted that ends it or makes its disk fail.
    fn service(&mut self) -> &Service {
        let begun = Instant::now();
        while self.service.as_mut().is_none_or(Service::has_ended) {
            let mut start = self.command();
            let place = |seed: &mut u64| PLACES[random(seed) as usize % PLACES.len()];
            let after = random(&mut self.seed) % 30;
            let kill = format!("{}={after}*off->return(kill)", place(&mut self.seed));
            let fail = format!("{}=7%return(enospc)", place(&mut self.seed));
            start.env("FAILPOINTS", format!("{kill};{fail}"));
            self.killed += 1;
            match Service::start(&mut start) {
                Ok(service) => self.service = Some(service),
                Err(said) => assert!(begun.elapsed() < 10 * service::DEADLINE, "it never starts:\n{said}"),
            }
        }
        self.service.as_ref().expect("it runs")
    }

    /// The same with nothing planted.
    fn sound(&mut self) {
        self.service = None;
        self.service = Some(Service::start(&mut self.command()).expect("it is ready"));
    }

    /// Makes a change, however often that takes: what was not answered may have been taken.
    fn change(&mut self, change: &Value, generation: u64) {
        let begun = Instant::now();
        loop {
            if random(&mut self.seed).is_multiple_of(10)
                && let Some(mut service) = self.service.take()
            {
                service.kill();
            }
            let service = self.service();
            let now = service.ask("GET", "/readyz", &[], b"");
            if now.is_some_and(|now| now.body["generation"] == json!(generation)) {
                return;
            }
            match service.change(&change.to_string()) {
                Some(answer) if answer.status == 200 => return,
                Some(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
                None => {}
            }
            assert!(begun.elapsed() < 10 * service::DEADLINE, "{change} is not taken");
        }
    }

    /// Waits until something holds of the topics, while the service is killed now and then.
    fn until(&mut self, holds: impl Fn(&Topics) -> bool) {
        let begun = Instant::now();
        while !holds(&self.topics) {
            if random(&mut self.seed).is_multiple_of(20)
                && let Some(mut service) = self.service.take()
            {
                service.kill();
            }
            self.service();
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert!(begun.elapsed() < 10 * service::DEADLINE, "it does not come");
        }
    }
}
