//! A service whose network fails: between any request of a transaction and its answer.
//!
//! `LAPWING_CUTS` says how many faults are planted; the default are a few in every test run.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lapwing_broker::{Api, Broker, Fault, Proxy, Way, What};
use serde_json::{Value, json};

use super::service::{DEADLINE, Service, folder, random, run_on, stream};
use super::topics::Topics;
use super::{EVENTS, RULES, over};

/// What strikes, ends of transactions most of all.
const APIS: [Api; 8] = [
    Api::EndTxn,
    Api::EndTxn,
    Api::EndTxn,
    Api::TxnOffsetCommit,
    Api::AddOffsetsToTxn,
    Api::AddPartitionsToTxn,
    Api::InitProducerId,
    Api::Produce,
];

/// How long a broker may be silent before the service takes it for gone; librdkafka takes no less for who reads.
const SILENCE: Duration = Duration::from_millis(1_100);

/// What a service says where it does not know what became of an epoch, or knows that nothing did.
const FAILED: &str = "an epoch could not be committed";

/// How a service is started whose every connection goes through the proxy.
fn through(proxy: &Proxy, topics: &Topics, data: &Path) -> Command {
    let mut command = over(topics, data);
    let silence = SILENCE.as_millis();
    command.args(["--set", &format!("kafka.brokers={}", proxy.address())]);
    command.args(["--set", "kafka.properties.\"fetch.wait.max.ms\"=100"]);
    command.args(["--set", &format!("kafka.properties.\"socket.timeout.ms\"={silence}")]);
    command
}

/// A fault of some kind.
fn any(seed: &mut u64) -> Fault {
    let api = APIS[random(seed) as usize % APIS.len()];
    let way = if random(seed).is_multiple_of(2) { Way::Request } else { Way::Answer };
    let what = match random(seed) % 5 {
        0 | 1 => What::Lose,
        2 | 3 => What::Hold(SILENCE * 2),
        _ => What::Cut,
    };
    Fault { api, way, what, times: 1 + random(seed) as u32 % 5 }
}

/// Waits until something holds.
fn until(service: &Service, what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < 3 * DEADLINE, "{what}; it said:\n{}", service.said());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Makes a change, however often that takes: what was not answered may have been taken, and is the same then.
fn change(service: &Service, message: &Value) {
    until(service, "the change is not taken", || match service.change(&message.to_string()) {
        Some(answer) if answer.status == 200 => true,
        Some(answer) => {
            assert_eq!(answer.status, 503, "{answer:?}");
            false
        }
        None => false,
    });
}

#[test]
fn cut_off_anywhere_in_a_transaction_nothing_is_torn_lost_or_said_twice() {
    let number = |name: &str, usual| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual);
    let (cuts, mut seed) = (number("LAPWING_CUTS", 12), number("LAPWING_SEED", 23));
    let began = seed;
    let dir = folder("kafka-cuts");
    let broker = Broker::behind_proxy();
    let (proxy, topics) = (broker.proxy(), Topics::new(&broker, "cuts"));
    let file = dir.join(&topics.events);
    let lines = stream(&file, 500 * (cuts + 2));
    let service = Service::start(&mut through(proxy, &topics, &dir.join("data"))).expect("it is ready");
    let (mut sent, mut changes) = (0, Vec::new());
    let mut send = |count: usize| {
        let batch = &lines[sent..lines.len().min(sent + count)];
        topics.send(batch);
        sent += batch.len();
        sent as u64
    };
    topics.until_judged(send(400));

    // Every answer is lost, until nobody knows any more what became of an epoch.
    for way in [Way::Answer, Way::Request] {
        let failed = service.said().matches(FAILED).count();
        proxy.plant(Fault { api: Api::EndTxn, way, what: What::Lose, times: u32::MAX });
        let count = send(100);
        until(&service, "no epoch fails", || service.said().matches(FAILED).count() > failed);
        proxy.heal();
        until(&service, "it does not go on", || topics.judged() >= Some(count));
    }
    for _ in 0..cuts {
        let struck = proxy.struck();
        let fault = any(&mut seed);
        // Nothing but a failure makes a producer anew.
        if fault.api == Api::InitProducerId {
            proxy.plant(Fault { api: Api::EndTxn, way: Way::Answer, what: What::Lose, times: 20 });
        }
        proxy.plant(fault);
        let count = send(1 + random(&mut seed) as usize % 500);
        until(&service, "nothing is struck", || proxy.struck() > struck);
        if random(&mut seed).is_multiple_of(4) {
            proxy.cut();
        }
        if random(&mut seed).is_multiple_of(4) {
            let stage = if changes.len() % 2 == 0 { "paused" } else { "live" };
            let message = json!({"op": "stage", "kind": "rule", "name": "failed_logins", "stage": stage});
            change(&service, &message);
            changes.push(message);
        }
        // Others strike while those before are not got over.
        if random(&mut seed).is_multiple_of(2) {
            until(&service, "it does not go on", || topics.judged() >= Some(count));
        }
    }
    proxy.heal();
    let count = send(lines.len());
    until(&service, "it does not come to the end", || topics.judged() >= Some(count));
    (1..=changes.len() as u64).for_each(|change| topics.until_applied(change));

    let said = format!("seed {began}");
    let expected = run_on(&file, &topics.changes(&changes), &[EVENTS, RULES]);
    let alerts = topics.alerts();
    let different = alerts.iter().zip(&expected).position(|(a, b)| a != b);
    assert_eq!((alerts.len(), different), (expected.len(), None), "{said}");
    let epochs: Vec<u64> = topics.epochs().iter().filter_map(|epoch| epoch["epoch"].as_u64()).collect();
    assert_eq!(epochs, (1..=epochs.len() as u64).collect::<Vec<_>>(), "each epoch once, {said}");
    let (code, said) = service.terminate();
    assert_eq!(code, Some(0), "{said}");
}
