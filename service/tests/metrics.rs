//! What `/metrics` says of a service that judges.

mod service;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use lapwing::metrics::Metrics;
use serde_json::Value;

use self::service::{DEADLINE, Service, command, folder, stream};

const RULES: [&str; 2] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/events.lap"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/seed"),
];

/// The value of a series, as it is written.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().expect("a number"))
}

fn scraped(service: &Service) -> String {
    let answer = service.ask("GET", "/metrics", &[], b"").expect("it answers");
    assert_eq!(answer.status, 200, "{answer:?}");
    match answer.body {
        Value::String(text) => text,
        other => panic!("no text: {other}"),
    }
}

/// All names of ours in a text: `lapwing_…`.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("lapwing_")).map(str::to_owned).collect()
}

#[test]
fn every_name_on_a_page_and_in_a_dashboard_is_one_of_ours() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let metrics = Metrics::default();
    let mut known: BTreeSet<String> = metrics.names().iter().cloned().collect();
    let page = std::fs::read_to_string(root.join("docs/operations.md")).expect("the page is part of the project");
    let lines = page.lines().filter_map(|line| line.strip_prefix("| `lapwing_")?.split_once('`'));
    let listed: BTreeSet<String> = lines.map(|(name, _)| format!("lapwing_{name}")).collect();
    assert_eq!(listed, known, "docs/operations.md lists what there is");
    known.extend(metrics.names().iter().flat_map(|name| ["bucket", "count", "sum"].map(|end| format!("{name}_{end}"))));
    let mut files = vec![root.join("grafana/prometheus/alerts.yml")];
    let boards = std::fs::read_dir(root.join("grafana/dashboards")).expect("they are part of the project");
    files.extend(boards.map(|entry| entry.expect("a readable entry").path()));
    assert!(files.len() > 4, "{files:?}");
    let mut used = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("it is text");
        if file.extension().is_some_and(|ending| ending == "json") {
            let board: Value = serde_json::from_str(&text).expect("a dashboard is JSON");
            for panel in board["panels"].as_array().expect("panels") {
                let targets = panel["targets"].as_array().expect("targets");
                let queries = targets.iter().map(|target| target["expr"].as_str().expect("a query"));
                assert!(queries.clone().count() > 0 && queries.clone().all(|query| !query.is_empty()), "{panel}");
                used.extend(queries.flat_map(named));
            }
        } else {
            used.extend(named(&text));
        }
    }
    let unknown: Vec<_> = used.difference(&known).collect();
    assert!(unknown.is_empty(), "no metric is called so: {unknown:?}");
    let shown = |name: &&String| !used.iter().any(|used| used.starts_with(name.as_str()));
    let hidden: Vec<_> = metrics.names().iter().filter(shown).collect();
    assert!(hidden.is_empty(), "on no dashboard: {hidden:?}");
}

#[test]
fn what_was_done_is_counted() {
    let dir = folder("metrics");
    let lines = stream(&dir.join("events"), 20_000);
    let sets = ["save.every=200ms", "engine.lateness=2s"];
    let service = Service::start(&mut command(&dir.join("data"), &RULES, &sets)).expect("it is ready");
    let posted = service.post(&lines.concat(), None).expect("it answers");
    assert_eq!(posted.status, 200, "{posted:?}");
    assert_eq!(service.post(b"{\"type\":\"login\"}\n", None).expect("it answers").status, 422);
    let change = r#"{"op":"stage","kind":"rule","name":"failed_logins","stage":"paused"}"#;
    assert_eq!(service.change(change).expect("it answers").status, 200);
    // What comes behind the change leads it to its end, and a save follows.
    let last = br#"{"type":"login","at":"2099-01-01T00:00:01Z","user":"last","success":true}"#;
    assert_eq!(service.post(last, None).expect("it answers").status, 200);
    let begun = Instant::now();
    let text = loop {
        let text = scraped(&service);
        let saved = value(&text, "lapwing_saves_total{outcome=\"ok\"}") >= Some(2.0);
        // Those behind their watermark are no events to the rules.
        let late = value(&text, "lapwing_rejected_total{reason=\"late\"}").unwrap_or_default();
        let judged = value(&text, "lapwing_events_total").map(|events| events + late);
        if judged == Some(lines.len() as f64 + 1.0) && saved {
            break text;
        }
        assert!(begun.elapsed() < DEADLINE, "{text}");
        std::thread::sleep(Duration::from_millis(50));
    };
    let of = |series: &str| value(&text, series).unwrap_or_else(|| panic!("no {series} in\n{text}"));
    assert_eq!(of("lapwing_lines_total"), lines.len() as f64 + 1.0);
    assert_eq!((of("lapwing_changes_total"), of("lapwing_generation")), (1.0, 2.0));
    assert!(of("lapwing_watermark_timestamp_seconds") >= 4_070_908_799.0);
    assert_eq!(of("lapwing_active"), 1.0);
    assert_eq!(of("lapwing_http_requests_total{method=\"POST\",route=\"/v1/events\",status=\"422\"}"), 1.0);
    let alerts = text.lines().filter(|line| line.starts_with("lapwing_alerts_total{"));
    let alerts: f64 =
        alerts.map(|line| line.rsplit(' ').next().expect("a value").parse::<f64>().expect("a number")).sum();
    let told = service.alerts("earliest", |all| all.len() as f64 >= alerts).len();
    assert!(alerts > 100.0 && told as f64 == alerts, "{alerts} counted, {told} told");
    for series in [
        "lapwing_batch_duration_seconds_count",
        "lapwing_epochs_total",
        "lapwing_epoch_commit_duration_seconds_count",
        "lapwing_end_to_end_duration_seconds_count",
        "lapwing_save_duration_seconds_count",
        "lapwing_keys",
        "lapwing_state_bytes",
        "process_resident_memory_bytes",
    ] {
        assert!(of(series) > 0.0, "{series} in\n{text}");
    }
    assert_eq!(service.terminate().0, Some(0));
}
