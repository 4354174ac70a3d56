//! What `/metrics` says of a service that judges.

mod service;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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

/// Where `scripts/prometheus.sh` has brought a program.
fn program(name: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let path = cache.unwrap_or_default().join("lapwing/prometheus/bin").join(name);
    assert!(path.exists(), "the tests of the metrics need {}: scripts/prometheus.sh brings it", path.display());
    path
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The queries of all panels, each with where it stands.
fn queries() -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for entry in std::fs::read_dir(root().join("grafana/dashboards")).expect("they are part of the project") {
        let path = entry.expect("a readable entry").path();
        let board: Value =
            serde_json::from_slice(&std::fs::read(&path).expect("it is text")).expect("a dashboard is JSON");
        for panel in board["panels"].as_array().expect("panels") {
            let targets = panel["targets"].as_array().expect("targets");
            assert!(!targets.is_empty(), "{panel}");
            let place = format!("{}: {}", board["title"], panel["title"]);
            queries.extend(targets.iter().map(|t| (place.clone(), t["expr"].as_str().expect("a query").to_owned())));
        }
    }
    queries
}

#[test]
fn alerts_of_prometheus_fire_when_they_are_to() {
    let folder = root().join("grafana/prometheus");
    for arguments in [["test", "rules", "alerts.test.yml"], ["check", "config", "--syntax-only"]] {
        let mut command = Command::new(program("promtool"));
        command.args(arguments).current_dir(&folder);
        if arguments[0] == "check" {
            command.arg("prometheus.yml");
        }
        let output = command.output().expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// A process that ends with the test.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn every_panel_has_data_from_a_real_prometheus() {
    let dir = folder("prometheus");
    let lines = stream(&dir.join("events"), 60_000);
    let sets = ["save.every=200ms", "engine.lateness=2s"];
    let service = Service::start(&mut command(&dir.join("data"), &RULES, &sets)).expect("it is ready");
    let made = service.ask(
        "POST",
        "/v1/tokens",
        &[("content-type", "application/json")],
        br#"{"name":"prometheus","role":"viewer"}"#,
    );
    let token = made.expect("it answers").body["token"].as_str().expect("a token").to_owned();
    // The configuration that the project has, with the places of this test.
    let config = std::fs::read_to_string(root().join("grafana/prometheus/prometheus.yml")).expect("it is there");
    std::fs::write(dir.join("lapwing.token"), token).expect("it can be written");
    let address = service.url.strip_prefix("http://").expect("an address");
    let rules = root().join("grafana/prometheus/alerts.yml").canonicalize().expect("it is there").display().to_string();
    let token_file = dir.join("lapwing.token").display().to_string();
    let places = [
        ("lapwing:7878", address),
        ("alerts.yml", &rules),
        ("/etc/prometheus/lapwing.token", &token_file),
        ("10s", "1s"),
    ];
    let config = places.into_iter().fold(config, |config, (from, to)| {
        assert!(config.contains(from), "{from} in\n{config}");
        config.replace(from, to)
    });
    std::fs::write(dir.join("prometheus.yml"), config).expect("it can be written");
    let port = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address").port();
    let log = std::fs::File::create(dir.join("prometheus.log")).expect("it can be written");
    let mut prometheus = Command::new(program("prometheus"));
    prometheus.arg(format!("--config.file={}", dir.join("prometheus.yml").display()));
    prometheus.arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()));
    prometheus.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let _prometheus = Ending(prometheus.stdout(Stdio::null()).stderr(log).spawn().expect("it starts"));

    let ask = |query: &str| -> Option<Value> {
        let url = format!("http://127.0.0.1:{port}/api/v1/query");
        let text = ureq::get(url).query("query", query).call().ok()?.body_mut().read_to_string().ok()?;
        serde_json::from_str(&text).ok()
    };
    let mut without = queries();
    assert!(without.len() > 20, "{without:?}");
    let begun = Instant::now();
    let mut sent = 0;
    while !without.is_empty() {
        // Events flow as long as anything is looked for. The last one would end time.
        let next = (sent + 200).min(lines.len() - 1);
        if sent < next {
            assert_eq!(service.post(&lines[sent..next].concat(), None).expect("it answers").status, 200);
            sent = next;
        }
        without.retain(|(_, query)| {
            ask(query).is_none_or(|answer| answer["data"]["result"].as_array().is_none_or(Vec::is_empty))
        });
        assert!(begun.elapsed() < 2 * DEADLINE, "no data for {without:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(service.terminate().0, Some(0));
}

/// All names of ours in a text: `lapwing_…`.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("lapwing_")).map(str::to_owned).collect()
}

#[test]
fn every_name_on_a_page_and_in_a_dashboard_is_one_of_ours() {
    let root = root();
    let metrics = Metrics::default();
    let mut known: BTreeSet<String> = metrics.names().iter().cloned().collect();
    let page = std::fs::read_to_string(root.join("docs/operations.md")).expect("the page is part of the project");
    let lines = page.lines().filter_map(|line| line.strip_prefix("| `lapwing_")?.split_once('`'));
    let listed: BTreeSet<String> = lines.map(|(name, _)| format!("lapwing_{name}")).collect();
    assert_eq!(listed, known, "docs/operations.md lists what there is");
    known.extend(metrics.names().iter().flat_map(|name| ["bucket", "count", "sum"].map(|end| format!("{name}_{end}"))));
    let alerts = std::fs::read_to_string(root.join("grafana/prometheus/alerts.yml")).expect("it is there");
    let mut used = named(&alerts);
    used.extend(queries().iter().flat_map(|(_, query)| named(query)));
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
        "process_resident_memory_bytes",
    ] {
        assert!(of(series) > 0.0, "{series} in\n{text}");
    }
    // The last event has left little to remember.
    assert!(of("lapwing_keys") <= 1.0 && of("lapwing_state_bytes") < 10_000.0, "{text}");
    assert_eq!(service.terminate().0, Some(0));
}
