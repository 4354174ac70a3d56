//! What `/metrics` says of a service that judges.

mod service;

use std::time::{Duration, Instant};

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
