//! The published schema of an alert: it is that of the code, alerts of every shape are valid against it, and it names nothing that no alert has. What the
//! cases of conformance and random rules give is held to it where it is collected (`tests/src/engine.rs`).

use std::fs;
use std::path::{Path, PathBuf};

use lapwing::cli::{Exit, run_with};
use lapwing::data::alert_schema::schema;
use lapwing::data::pipeline::Options;
use lapwing_tests::engine::{Way, judge_in};
use lapwing_tests::scenario::{Scenario, run};
use lapwing_tests::schema::{hold_alert, met};
use serde_json::{Value as Json, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_published_schema_is_that_of_the_code() {
    let (path, expected) = (root().join("docs/alert.schema.json"), format!("{:#}\n", schema()));
    if std::env::var_os("LAPWING_REWRITE").is_some() {
        fs::write(&path, &expected).expect("the file can be written");
    }
    let published = fs::read_to_string(path).unwrap_or_default();
    assert!(
        published == expected,
        "docs/alert.schema.json is not what the code says: LAPWING_REWRITE=1 writes it anew"
    );
}

const RULES: &str = r#"
event e {
  at  timestamp
  k   string
  n   int
  d   decimal
  t   duration
  p   geo        from lat, lon
  i   ip
}

model near(n int) -> float

rule all_values {
  risk     a.n / 0.3
  tags     [attack.t1110]
  by       k
  match    a: e where near(n: n) > 0.5
  emit     { d: a.d, t: a.t, p: a.p, i: a.i, at: a.at, n: a.n, yes: a.n > 0 }
}

rule each {
  by       k
  match    a: e{3}
  within   1d
  emit     { all: list(a.n) }
}
"#;

fn alerts_of_values() -> Vec<Json> {
    let event = |n: i64| {
        json!({"type": "e", "at": 1_000 * n, "k": "x", "n": n, "d": "1.50", "t": 90_000, "lat": 48.1, "lon": 11.5, "i": "192.0.2.1"})
            .to_string()
    };
    let lines: Vec<String> = (1..5).map(event).collect();
    let model = |stage: &str, weight: f64| json!({"kind": "model", "name": "near", "stage": stage, "weights": [weight], "bias": 0.0});
    let way = Way { data: vec![model("live", 1.0), model("shadow", 0.25)], ..Way::default() };
    judge_in(RULES, &lines, &Options::default(), &way).unwrap_or_else(|why| panic!("{why}")).alerts
}

#[test]
fn alerts_of_every_shape_are_valid_and_the_schema_names_no_other() {
    let alerts = alerts_of_values();
    assert!(alerts.iter().any(|alert| alert["models"][0]["shadow"][0]["version"] == 2), "{alerts:?}");
    assert!(alerts.iter().any(|alert| alert["fields"]["all"].is_array()), "{alerts:?}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    for entry in fs::read_dir(folder).expect("the scenarios are part of the project") {
        let text = fs::read_to_string(entry.expect("the folder can be read").path()).expect("a scenario is text");
        let scenario: Scenario = serde_json::from_str(&text).expect("a scenario is JSON");
        run(&scenario).unwrap_or_else(|why| panic!("{why}"));
    }
    // Only Kafka has a most for a message.
    let mut cut = alerts[0].clone();
    (cut["evidence"], cut["truncated"]) = (json!({}), json!(["evidence"]));
    hold_alert(&cut);
    let (schema, met) = (schema(), met());
    let never: Vec<&String> =
        schema["properties"].as_object().expect("it has members").keys().filter(|name| !met.contains(*name)).collect();
    assert!(never.is_empty(), "no alert has {never:?}");
    // The schema is not one that takes anything.
    for (member, value) in
        [("status", json!("new")), ("at", json!("yesterday")), ("exact", json!(1)), ("id", json!("x"))]
    {
        let mut wrong = alerts[0].clone();
        wrong[member] = value;
        assert!(lapwing_tests::schema::Schema::new(schema.clone()).check(&wrong).is_err(), "{member}");
    }
}

#[test]
fn alerts_of_the_demos_stream_are_valid() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("alerts-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder can be made");
    let path = |path: PathBuf| path.display().to_string();
    let (stream, alerts) = (path(folder.join("stream.jsonl")), path(folder.join("alerts.jsonl")));
    let lapwing = |arguments: &[&str]| run_with([&["lapwing"], arguments].concat());
    let generate =
        ["generate", "--events", "40000", "--users", "2000", "--attacks", "0.01", "--seed", "3", "--output", &stream];
    assert_eq!(lapwing(&generate), Exit::Well);
    let (events, seed) = (path(root().join("rules/events.lap")), path(root().join("rules/seed")));
    let run = ["run", "--quiet", "--rules", &events, &seed, "--input", &stream, "--output", &alerts];
    assert_eq!(lapwing(&run), Exit::Well);
    let text = fs::read_to_string(&alerts).expect("there are alerts");
    assert!(text.lines().count() > 100, "only {} alerts", text.lines().count());
    text.lines().for_each(|line| hold_alert(&serde_json::from_str(line).expect("an alert is JSON")));
    fs::remove_dir_all(folder).expect("it can be removed");
}
