//! The conformance cases: rules, events, and what must come out.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lapwing::data::pipeline::Options;
use lapwing_engine::order::Order;
use lapwing_tests::engine::{Way, judge_in};
use serde::Deserialize;
use serde_json::Value as Json;

/// A match: from step to the lines bound to it.
type Bindings = BTreeMap<String, Vec<u64>>;

#[derive(Deserialize)]
struct Case {
    id: String,
    rules: String,
    events: Vec<Json>,
    order: String,
    #[serde(default)]
    lateness: i64,
    /// A bag of matches.
    expected: Option<Vec<Bindings>>,
    /// Alerts in order.
    alerts: Option<Vec<Expected>>,
}

#[derive(Deserialize, PartialEq, Debug)]
struct Expected {
    evidence: Bindings,
    fields: Json,
}

fn evidence(alert: &Json) -> Bindings {
    let steps = alert["evidence"].as_object().expect("evidence is an object");
    let lines = |events: &Json| {
        let events = events.as_array().expect("a step's evidence is a list");
        events.iter().map(|e| e["offset"].as_u64().expect("an offset is a number")).collect()
    };
    steps.iter().map(|(step, events)| (step.clone(), lines(events))).collect()
}

fn run(case: &Case, way: &Way) -> Result<(), String> {
    let options = Options {
        order: if case.order == "arrival" { Order::Arrival } else { Order::EventTime },
        lateness: case.lateness,
        ..Options::default()
    };
    let lines: Vec<String> = case.events.iter().map(Json::to_string).collect();
    let found = judge_in(&case.rules, &lines, &options, way)?.alerts;
    if let Some(expected) = &case.expected {
        let mut found: Vec<Bindings> = found.iter().map(evidence).collect();
        let mut expected = expected.clone();
        found.sort();
        expected.sort();
        if found != expected {
            return Err(format!("expected {expected:?}\nfound    {found:?}"));
        }
    }
    if let Some(expected) = &case.alerts {
        let found: Vec<Expected> =
            found.iter().map(|a| Expected { evidence: evidence(a), fields: a["fields"].clone() }).collect();
        if found != *expected {
            return Err(format!("expected {expected:?}\nfound    {found:?}"));
        }
    }
    Ok(())
}

fn check(name: &str, least: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance").join(name);
    let text = fs::read_to_string(path).expect("the cases are part of the project");
    let cases: Vec<Case> = serde_json::from_str(&text).expect("the cases are JSON");
    assert!(cases.len() >= least);
    let mut failed = Vec::new();
    for case in &cases {
        let one_by_one = vec![1; case.events.len()];
        let ways = [
            Way { threads: 1, ..Way::default() },
            Way { threads: 4, ..Way::default() },
            Way { threads: 1, batches: one_by_one.clone(), restored: true, ..Way::default() },
            Way { threads: 1, batches: one_by_one.clone(), evicted: true, ..Way::default() },
            Way { threads: 2, batches: one_by_one, saved: true, ..Way::default() },
        ];
        for way in &ways {
            if let Err(why) = run(case, way) {
                failed.push(format!("{} {way:?}:\n{}\n{why}", case.id, case.rules));
                break;
            }
        }
    }
    let shown = failed.iter().take(3).cloned().collect::<Vec<_>>().join("\n\n");
    assert!(failed.is_empty(), "{} of {} cases of {name} failed\n{shown}", failed.len(), cases.len());
}

#[test]
fn each() {
    check("each.json", 216);
}

#[test]
fn patterns() {
    check("patterns.json", 300);
}

#[test]
fn rules() {
    check("rules.json", 400);
}

#[test]
fn decided() {
    check("decided.json", 3);
}
