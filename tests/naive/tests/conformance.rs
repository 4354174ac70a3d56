//! The conformance cases of `tests/conformance`, all run on the naive matcher.

use std::collections::BTreeMap;
use std::path::Path;

use lapwing_naive::{Alert, Options, Order, run};
use serde_json::{Value, json};

#[test]
fn each() {
    check("each.json");
}

#[test]
fn patterns() {
    check("patterns.json");
}

#[test]
fn rules() {
    check("rules.json");
}

#[test]
fn decided() {
    check("decided.json");
}

fn check(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance").join(file);
    let cases: Vec<Value> =
        serde_json::from_str(&std::fs::read_to_string(path).expect("the file is there")).expect("it is JSON");
    let only = std::env::var("CASE").ok();
    let mut failed = Vec::new();
    for case in &cases {
        let id = case["id"].as_str().expect("every case has an id");
        if only.as_ref().is_some_and(|only| only != id) {
            continue;
        }
        if let Some(difference) = difference(case) {
            println!("{id}\n{}\n{difference}", case["rules"].as_str().unwrap_or_default());
            failed.push(id);
        }
    }
    assert!(failed.is_empty(), "{} of {} cases of {file} fail: {failed:?}", failed.len(), cases.len());
}

/// What is wrong with the matcher's answer to a case, if anything.
fn difference(case: &Value) -> Option<String> {
    let alerts = answer(case);
    let (given, wanted) = match (case.get("expected"), case.get("alerts")) {
        (Some(expected), _) => (bag(alerts.iter().map(|a| json!(a.evidence))), bag(values(expected))),
        (None, Some(expected)) => (
            alerts.iter().map(|a| json!({ "evidence": a.evidence, "fields": a.fields })).collect(),
            values(expected).collect(),
        ),
        (None, None) => return Some("the case expects nothing".to_owned()),
    };
    let list = |items: Vec<Value>| items.iter().map(|i| format!("  {i}\n")).collect::<String>();
    (given != wanted).then(|| format!("given:\n{}wanted:\n{}", list(given), list(wanted)))
}

fn answer(case: &Value) -> Vec<Alert> {
    let source = case["rules"].as_str().expect("every case has rules");
    let file = parse(source);
    let order = if case["order"] == "arrival" { Order::Arrival } else { Order::EventTime };
    let lateness_ms = case.get("lateness").and_then(Value::as_i64).unwrap_or(0);
    let events: Vec<Value> = values(&case["events"]).collect();
    run(&[file], &events, &Options { order, lateness_ms }).alerts
}

fn parse(source: &str) -> lapwing_dsl::syntax::ast::File {
    let parsed = lapwing_dsl::syntax::parse(lapwing_dsl::syntax::FileId(0), source);
    assert!(parsed.diagnostics.is_empty(), "{source}\n{:?}", parsed.diagnostics);
    parsed.file.expect("a small file is read")
}

fn values(list: &Value) -> impl Iterator<Item = Value> {
    list.as_array().cloned().unwrap_or_default().into_iter()
}

fn bag(items: impl Iterator<Item = Value>) -> Vec<Value> {
    let counted: BTreeMap<String, Value> = items.enumerate().map(|(i, v)| (format!("{v} {i:06}"), v)).collect();
    counted.into_values().collect()
}
