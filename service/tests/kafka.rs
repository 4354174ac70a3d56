//! `lapwing serve` over Kafka: what stands in the topics is judged once, whatever happens to the process or the broker.
//!
//! `LAPWING_KILLS` says how often the service is killed; the default is a few times in every test run.

mod service;
mod topics;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

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
