//! Rules by processing time where the clock's readings are given, as a service's log holds them.

use std::sync::Arc;

use lapwing::data::pipeline::{Lines, Options, Pipeline};
use lapwing_engine::order::Order;
use lapwing_tests::engine::{Collected, compile, restored};
use serde_json::{Value as Json, json};

const RULES: &str = "event login { at timestamp  user string  success bool }
rule quick {
  by       user
  match    a: login where not success then b: login where success
  within   10s
  emit     { apart: b.at - a.at }
  time processing
}
rule alone {
  by       user
  match    a: login where success then not login within 5s
  within   1h
  emit     { user: a.user }
  time processing
}
rule each {
  by       user
  match    a: login
  emit     { user: a.user }
}
";

/// What happens, in seconds.
enum Happens {
    /// Logins come at a reading: by whom, at which time of their own, and whether they succeed.
    Come(i64, &'static [(&'static str, i64, bool)]),
    /// Nothing comes, and the clock reads this.
    Passes(i64),
}

/// Rule, key and time of the alerts, with the number of what let them happen.
fn alerts(order: Order, threads: usize, saved: bool, happens: &[Happens]) -> Vec<Json> {
    let rules = Arc::new(compile(RULES).expect("the rules compile").rule_set(1).expect("there are few keys"));
    let options = Options { order, lateness: 1_000, ..Options::default() };
    let mut pipeline = Pipeline::new(rules, options.clone(), threads);
    let mut told = Vec::new();
    let mut first = 0;
    for (number, happens) in happens.iter().enumerate() {
        let mut found = Collected::default();
        match happens {
            Happens::Come(reading, logins) => {
                let line = |(user, at, success): &(&str, i64, bool)| {
                    json!({"type": "login", "at": at * 1_000, "user": user, "success": success}).to_string()
                };
                let lines: Vec<String> = logins.iter().map(line).collect();
                pipeline.set_reading(reading * 1_000);
                pipeline.take(&Lines { bytes: lines.join("\n").as_bytes(), first }, &mut found);
                first += lines.len() as u64;
            }
            Happens::Passes(reading) => {
                let time = pipeline.greatest().unwrap_or_default();
                pipeline.set_reading(reading * 1_000);
                pipeline.advance_to(pipeline.clock_at(time), &mut found);
            }
        }
        if saved {
            pipeline = restored(pipeline, &options, threads).expect("what was saved loads");
        }
        let short = |a: &Json| json!([number, a["rule"], a["key"]["user"], a["at"].as_str().map(|at| &at[17..])]);
        told.extend(found.alerts.iter().map(short));
    }
    told
}

fn check(happens: &[Happens], expected: &Json) {
    for order in [Order::EventTime, Order::Arrival] {
        for (threads, saved) in [(1, false), (3, false), (1, true), (2, true)] {
            let told = alerts(order, threads, saved, happens);
            let own: Json = told.into_iter().filter(|a| a[1] != "each").collect();
            assert_eq!(&own, expected, "{order:?}, {threads} threads, saved: {saved}");
        }
    }
}

#[test]
fn the_readings_decide_and_not_the_times_of_events() {
    let happens = [
        Happens::Come(100, &[("ann", 10, false), ("bob", 10, false)]),
        // A minute apart by their own times, nine seconds by the clock; the other way round.
        Happens::Come(109, &[("ann", 70, true)]),
        Happens::Come(111, &[("bob", 12, true)]),
    ];
    check(&happens, &json!([[1, "quick", "ann", "49Z"]]));
}

#[test]
fn a_clock_that_goes_back_stands() {
    let happens = [
        Happens::Come(100, &[("ann", 10, false)]),
        Happens::Come(90, &[("bob", 11, false)]),
        Happens::Come(110, &[("ann", 12, true), ("bob", 13, true)]),
    ];
    check(&happens, &json!([[2, "quick", "ann", "50Z"], [2, "quick", "bob", "50Z"]]));
}

#[test]
fn what_waits_for_time_is_due_by_the_clock() {
    let happens = [
        Happens::Come(100, &[("ann", 10, true), ("bob", 10, true)]),
        Happens::Passes(105),
        Happens::Come(105, &[("bob", 11, false)]),
        Happens::Passes(106),
        Happens::Passes(200),
    ];
    check(&happens, &json!([[3, "alone", "ann", "45Z"]]));
}

#[test]
fn they_wait_for_no_watermark() {
    let happens =
        [Happens::Come(100, &[("ann", 10, false), ("ann", 10, true)]), Happens::Come(101, &[("eve", 12, false)])];
    let told = alerts(Order::EventTime, 1, false, &happens);
    let expected = json!([[0, "quick", "ann", "40Z"], [1, "each", "ann", "10Z"], [1, "each", "ann", "10Z"]]);
    assert_eq!(Json::from(told), expected);
}

#[test]
fn time_goes_on_in_order_of_arrival_too() {
    let rules = Arc::new(compile(RULES).expect("the rules compile").rule_set(1).expect("there are few keys"));
    let mut pipeline = Pipeline::new(rules, Options { order: Order::Arrival, ..Options::default() }, 1);
    assert_eq!(pipeline.greatest(), None);
    let line = json!({"type": "login", "at": 7_000, "user": "ann", "success": true}).to_string();
    pipeline.take(&Lines { bytes: line.as_bytes(), first: 0 }, &mut Collected::default());
    assert_eq!(pipeline.greatest(), Some(7_000));
}
