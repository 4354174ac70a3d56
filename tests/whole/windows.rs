//! Each aggregate over each kind of window, against the naive matcher, over streams whose events come out of their order, many of them at
//! one time, some far behind.

use std::fmt::Write;

use lapwing::data::pipeline::Options;
use lapwing_engine::order::Order;
use lapwing_tests::engine::{Change, Way, judge_changed, judge_in};
use lapwing_tests::random::judge::naive_alerts;
use lapwing_tests::random::rng::Rng;
use serde_json::{Value as Json, json};

const EVENT: &str = "event e { at timestamp  k string  n int  x int?  q float?  d decimal?  s string? }\n";

const AGGREGATES: [&str; 26] = [
    "count(e)",
    "count(e.x)",
    "sum(e.x)",
    "sum(e.q)",
    "sum(e.d)",
    "avg(e.x)",
    "avg(e.q)",
    "avg(e.d)",
    "min(e.q)",
    "min(e.s)",
    "max(e.x)",
    "stddev(e.x)",
    "stddev(e.q)",
    "distinct(e.x)",
    "distinct(e.s, e.n)",
    "first(e.x)",
    "last(e.s)",
    "list(e.q, 3)",
    "median(e.d)",
    "quantile(e.q, 0.9)",
    "approx_distinct(e.s)",
    "ema(e.q, 0.3)",
    "rate(e)",
    "topk(e.s, 2)",
    "topk(e.q, 3)",
    "corr(e.x, e.q)",
];

const WINDOWS: [&str; 10] = [
    "20ms",
    "20ms offset 7ms",
    "20ms tumbling",
    "20ms tumbling offset 15ms",
    "20ms every 6ms",
    "20ms every 6ms offset 9ms",
    "session 4ms",
    "last 7",
    "delta(n, 50%)",
    "delta(q, 12.5%)",
];

/// A rule for each window that gives all aggregates over it.
fn rules() -> String {
    let mut text = EVENT.to_owned();
    for (i, window) in WINDOWS.iter().enumerate() {
        let _ = writeln!(text, "rule r{i} {{\n  by k\n  match a: e\n  emit {{");
        for (j, aggregate) in AGGREGATES.iter().enumerate() {
            let _ = writeln!(text, "    v{j}: {aggregate} over {window},");
        }
        text.push_str("  }\n}\n");
    }
    text
}

/// Events of two keys. Times go on, now and then by more than any window is long, and most events come a little behind.
fn stream(seed: u64, events: usize) -> Vec<String> {
    let mut rng = Rng::new(seed);
    let mut time = 1_000_000;
    let mut line = |_| {
        time += if rng.percent(3) { rng.between(15, 60) } else { rng.between(0, 3) };
        let behind = if rng.percent(5) { rng.between(10, 40) } else { rng.between(0, 4) };
        let mut event = format!(r#"{{"type":"e","at":{},"k":"{}""#, time - behind, rng.word(&["a", "b"]));
        let _ = write!(event, r#","n":{}"#, rng.between(-3, 9));
        if rng.percent(80) {
            let _ = write!(event, r#","x":{}"#, *rng.pick(&[0, 1, 2, 2, 3, -5, i64::MAX, i64::MIN]));
        }
        if rng.percent(80) {
            let _ =
                write!(event, r#","q":{}"#, rng.word(&["0.1", "0.2", "0.3", "-0.0", "0.0", "1e16", "-1e16", "3.5e-9"]));
        }
        if rng.percent(80) {
            let _ = write!(event, r#","d":"{}""#, rng.word(&["1.0", "1.00", "2.5", "-0.125", "10", "0.0"]));
        }
        if rng.percent(80) {
            let _ = write!(event, r#","s":"{}""#, rng.word(&["p", "q", "r", "a longer text"]));
        }
        event + "}"
    };
    (0..events).map(&mut line).collect()
}

#[test]
fn each_aggregate_over_each_window_is_what_the_naive_matcher_says() {
    let text = rules();
    for seed in 0..3 {
        let lines = stream(seed, 50);
        let parsed: Vec<Json> = lines.iter().map(|l| serde_json::from_str(l).expect("it is JSON")).collect();
        for (arrival, lateness) in [(true, 0), (true, 12), (false, 30)] {
            let (wanted, _) = naive_alerts(arrival, lateness, &text, &[], &[], &parsed);
            let order = if arrival { Order::Arrival } else { Order::EventTime };
            let options = Options { order, lateness, ..Options::default() };
            let batches = vec![7; 8];
            for way in [
                Way::default(),
                Way { batches: batches.clone(), restored: true, ..Way::default() },
                Way { batches: batches.clone(), evicted: true, ..Way::default() },
                Way { batches, saved: true, ..Way::default() },
            ] {
                let found = judge_in(&text, &lines, &options, &way).expect("the rules compile").alerts;
                assert_eq!(found.len(), wanted.len());
                for (found, wanted) in found.iter().zip(&wanted) {
                    let window = WINDOWS[wanted["rule"].as_str().and_then(|r| r[1..].parse().ok()).unwrap_or(0)];
                    for (j, aggregate) in AGGREGATES.iter().enumerate() {
                        let name = format!("v{j}");
                        let (found, wanted) = (found["fields"].get(&name), wanted["fields"].get(&name));
                        assert_eq!(found, wanted, "{aggregate} over {window}, seed {seed}, arrival {arrival}, {way:?}");
                    }
                }
            }
        }
    }
}

/// In order of arrival an event behind the clock opens a window that closed for a row without an alert, also for a row that came by a change.
#[test]
fn what_is_behind_the_clock_opens_windows_of_rows() {
    let rules = "event e { at timestamp  k string }
list watched of string
rule seen {
  by       k
  window   10ms tumbling for watched
  when     count(e) > 0
  emit     { n: count(e) }
  lateness 10ms
}
";
    let event = |at: i64, k: &str| json!({"type": "e", "at": at, "k": k});
    let events =
        [event(1, "a"), event(12, "a"), event(8, "b"), event(9, "b"), event(9, "c"), event(25, "a"), event(8, "b")];
    let data = vec![json!({"op": "put", "kind": "list", "name": "watched", "entries": ["a"]})];
    let joins = json!({"op": "put", "kind": "list", "name": "watched", "add": ["b"]});
    let changes = [(1, Change::Data(joins))];
    let lines: Vec<String> = events.iter().map(Json::to_string).collect();
    let options = Options { order: Order::Arrival, ..Options::default() };
    let expected = [
        ("a", "0", 1, "open"),
        ("b", "0", 1, "open"),
        ("b", "0", 2, "updated"),
        ("a", "0.01", 1, "open"),
        ("a", "0.02", 1, "open"),
    ];
    let alert =
        |(k, first, n, status): (&str, &str, i64, &str)| json!([k, format!("1970-01-01T00:00:0{first}Z"), n, status]);
    let expected: Vec<Json> = expected.into_iter().map(alert).collect();
    let short = |a: &Json| json!([a["key"]["k"], a["first_at"], a["fields"]["n"], a["status"]]);
    let (naive, _) = naive_alerts(true, 0, rules, &data, &changes, &events);
    assert_eq!(naive.iter().map(short).collect::<Vec<_>>(), expected);
    for way in [
        Way::default(),
        Way { threads: 4, ..Way::default() },
        Way { restored: true, ..Way::default() },
        Way { evicted: true, ..Way::default() },
        Way { saved: true, ..Way::default() },
    ] {
        let way = Way { data: data.clone(), ..way };
        let found = judge_changed(rules, &changes, &lines, &options, &way).expect("the rules compile");
        assert_eq!(found.alerts.iter().map(short).collect::<Vec<_>>(), expected, "{way:?}");
    }
}
