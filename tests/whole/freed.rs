//! State goes when windows end: a stream of keys that never come again, over ten lengths of the longest window.

use std::sync::Arc;

use lapwing::data::pipeline::{Lines, Options, Pipeline};
use lapwing_tests::engine::{Collected, compile};

/// In milliseconds; the rules' windows are as long.
const WINDOW: i64 = 60_000;
/// Keys that come in one window.
const KEYS: i64 = 6_000;

const RULES: &str = "event e { at timestamp  k string  n int }
event f { at timestamp  k string  n int }
rule pair {
  by k
  match a: e then b: f where n > a.n
  within 60s
}
rule many {
  by k
  match a: e{3}
  within 60s
}
rule absent {
  by k
  match a: e where n == 1 then not b: f within 30s
}
rule counted {
  by k
  match a: e
  when count(e) over 60s > 2
}
rule summed {
  by k
  match a: e
  when sum(e.n) over 60s > 1000
}
rule seen {
  by k
  match a: e where n == 2 and first_seen(n) over 60s
}
";

#[test]
fn keys_that_never_come_again_cost_nothing_once_their_windows_have_ended() {
    let rules = compile(RULES).expect("the rules compile").rule_set(1).expect("there are few keys");
    let mut pipeline = Pipeline::new(Arc::new(rules), Options::default(), 1);
    let mut sink = Collected::default();
    let (mut most, mut saved) = (Vec::new(), Vec::new());
    for window in 0..10 {
        let line = |i: i64| {
            let (number, at) = (window * KEYS + i, (window * KEYS + i) * (WINDOW / KEYS));
            format!("{{\"type\":\"e\",\"at\":{at},\"k\":\"key {number}\",\"n\":{}}}\n", number % 3)
        };
        let mut keys = 0;
        for batch in 0..10 {
            let lines: String = (batch * KEYS / 10..(batch + 1) * KEYS / 10).map(line).collect();
            let first = (window * KEYS + batch * KEYS / 10) as u64;
            pipeline.take(&Lines { bytes: lines.as_bytes(), first }, &mut sink);
            keys = keys.max(pipeline.keys());
        }
        most.push(keys);
        saved.push(pipeline.save().len());
    }
    // A window's keys, and what waits for the next look.
    assert!(most.iter().all(|keys| *keys <= KEYS as usize * 3 / 2), "{most:?}");
    let (second, last) = (saved[1], saved[9]);
    assert!(last <= second * 5 / 4, "the state grows: {saved:?} bytes");
    // A third of the keys is seen first, and a third misses its `f`, but for those of the last half window.
    let expected = 10 * KEYS / 3 * 2 - KEYS / 6;
    assert!((sink.alerts.len() as i64 - expected).abs() <= 2, "{} alerts", sink.alerts.len());
}
