//! What becomes of runs when their rule changes: `tests/changes.json`, by the engine and by the naive matcher.
//!
//! A case has the clauses of one rule before and after, the line before which it changes, and the alerts that must come: status and
//! revision, the lines of each step, and the version that the run began under. Without a `by` the rule goes by user.

use std::fs;
use std::path::Path;

use lapwing_engine::order::Order;
use lapwing_tests::engine::{Change, Way, judge_changed};
use lapwing_tests::random::judge::naive_alerts;
use serde::Deserialize;
use serde_json::{Value as Json, json};

const TYPES: [&str; 3] = ["login", "share", "logout"];
const FIELDS: &str = "user string  ok bool  n int";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    about: String,
    before: Vec<String>,
    /// None: the rule is removed.
    after: Option<Vec<String>>,
    at: usize,
    /// The fields of every type but `at`, before and after; where they are left out, those of [`FIELDS`].
    fields: Option<[String; 2]>,
    /// `TIME TYPE FIELD=VALUE …`
    events: Vec<String>,
    alerts: Vec<String>,
}

#[test]
fn runs_live_on_where_they_reach_the_same_place() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("changes.json");
    let text = fs::read_to_string(path).expect("the cases are part of the project");
    let cases: Vec<Case> = serde_json::from_str(&text).expect("the cases are JSON");
    assert!(cases.len() >= 30, "only {} cases", cases.len());
    let failed: Vec<String> = cases.iter().flat_map(check).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

fn check(case: &Case) -> Vec<String> {
    let [fields, later] = case.fields.clone().unwrap_or([FIELDS.to_owned(), FIELDS.to_owned()]);
    let before = rules(&case.before, &fields);
    let after = case.after.as_ref().map_or_else(|| types(&later), |clauses| rules(clauses, &later));
    let changes = [(case.at, Change::Rules(after))];
    let events: Vec<Json> = case.events.iter().map(|e| event(e.as_str())).collect();
    let lines: Vec<String> = events.iter().map(Json::to_string).collect();
    let with_fields = case.fields.is_some() && case.before.iter().any(|c| c.starts_with("emit"));
    let mut failed = Vec::new();
    let mut expect = |name: String, wanted: &[String], found: &[String]| {
        if wanted != found {
            failed.push(format!("{}, {name}:\nwanted {wanted:#?}\nfound {found:#?}", case.about));
        }
    };
    for order in [Order::Arrival, Order::EventTime] {
        let options = lapwing::data::pipeline::Options { order, ..Default::default() };
        let evicted = Way { evicted: true, ..Way::default() };
        let restored = Way { restored: true, ..Way::default() };
        let saved = Way { saved: true, ..Way::default() };
        for way in [Way::default(), Way { threads: 4, ..Way::default() }, restored, evicted, saved] {
            let found = judge_changed(&before, &changes, &lines, &options, &way).expect("the rules compile").alerts;
            let found: Vec<String> = found
                .iter()
                .map(|a| format!("{} v{}", shown(a, with_fields, |e| e["offset"].clone()), a["version"]))
                .collect();
            expect(format!("{order:?}, {way:?}"), &case.alerts, &found);
        }
        // It knows nothing of versions.
        let without = |text: &String| text.rsplit_once(' ').map_or_else(String::new, |(head, _)| head.to_owned());
        let wanted: Vec<String> = case.alerts.iter().map(without).collect();
        let found = naive_alerts(order == Order::Arrival, 0, &before, &[], &changes, &events).0;
        let found: Vec<String> = found.iter().map(|a| shown(a, with_fields, Json::clone)).collect();
        expect(format!("{order:?}, naive"), &wanted, &found);
    }
    failed
}

fn types(fields: &str) -> String {
    TYPES.map(|ty| format!("event {ty} {{ at timestamp  {fields} }}\n")).concat()
}

fn rules(clauses: &[String], fields: &str) -> String {
    let by = if clauses.iter().any(|c| c.starts_with("by ")) { "" } else { "by user\n  " };
    format!("{}rule r {{\n  {by}{}\n}}\n", types(fields), clauses.join("\n  "))
}

fn event(text: &str) -> Json {
    let mut words = text.split(' ');
    let at: i64 = words.next().and_then(|w| w.parse().ok()).expect("an event begins with its time");
    let mut event = json!({"at": 1_000_000 + at, "type": words.next(), "user": "ann", "ok": true, "n": 0});
    for word in words {
        let (field, value) = word.split_once('=').expect("a field has a value");
        event[field] = serde_json::from_str(value).expect("a value is JSON");
    }
    event
}

/// An alert in short, with what it emits where that is asked for.
fn shown(alert: &Json, with_fields: bool, line: impl Fn(&Json) -> Json) -> String {
    let status = alert["status"].as_str().unwrap_or_default();
    let steps = alert["evidence"].as_object().expect("evidence is an object").iter().map(|(step, events)| {
        let lines: Vec<String> =
            events.as_array().expect("a step's evidence is a list").iter().map(|e| line(e).to_string()).collect();
        format!(" {step}[{}]", lines.join(", "))
    });
    let fields = alert["fields"].as_object().filter(|_| with_fields);
    let fields = fields.map_or_else(String::new, |fields| format!(" {}", json!(fields)));
    format!("{status}{}{}{}", alert["revision"], steps.collect::<String>(), fields)
}
