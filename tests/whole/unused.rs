//! What no rule can use is gone before it is put in order, and still moves time.

use std::sync::Arc;

use lapwing::data::pipeline::{Lines, Options, Pipeline};
use lapwing_tests::engine::{Collected, compile};

const TYPES: &str = "event login { at timestamp  user string  success bool }
event payment { at timestamp  user string  amount int }
";

/// How many of some events are of no use to a rule.
fn unused(rule: &str) -> (u64, usize) {
    let rules =
        compile(&format!("{TYPES}rule r {{\n by user\n within 1m\n match {rule}\n}}")).expect("the rule compiles");
    let options = Options { lateness: 1_000_000, ..Options::default() };
    let mut pipeline = Pipeline::new(Arc::new(rules.rule_set(1).expect("there are few keys")), options, 1);
    let lines = [
        r#"{"type":"login","at":1,"user":"ann","success":false}"#,
        r#"{"type":"login","at":2,"user":"ann","success":true}"#,
        r#"{"type":"payment","at":3,"user":"ann","amount":900}"#,
        r#"{"type":"payment","at":4,"user":"ann","amount":5}"#,
        r#"{"type":"login","at":5,"user":"ann","success":false}"#,
    ];
    let mut found = Collected::default();
    pipeline.take(&Lines { bytes: lines.join("\n").as_bytes(), first: 0 }, &mut found);
    pipeline.finish(&mut found);
    assert_eq!(pipeline.totals().events, 5);
    (pipeline.totals().unused, found.alerts.len())
}

#[test]
fn only_what_a_step_an_absence_a_window_or_a_stop_may_take_is_kept() {
    assert_eq!(unused("a: login where not success then b: payment where amount > 100"), (2, 1));
    assert_eq!(unused("a: login where not success then b: payment"), (1, 1));
    assert_eq!(unused("a: login where not success then not b: payment where amount > 100 within 9ms"), (2, 1));
    assert_eq!(unused("a: payment where amount > 100\n when count(login where success) over 1h > 0"), (3, 1));
    assert_eq!(unused("a: payment where amount > 100\n stop on login where success"), (3, 1));
    // A condition that also reads the run is asked of each.
    assert_eq!(unused("a: payment where amount > 100 then b: payment where amount < a.amount"), (3, 1));
}

#[test]
fn who_asks_for_the_very_next_event_sees_all() {
    assert_eq!(unused("a: login where not success then next b: payment where amount > 100"), (0, 0));
    assert_eq!(unused("a: payment where amount > 100 then next not b: login where success"), (0, 1));
    assert_eq!(unused("f: login+ where not success until success"), (2, 2));
    assert_eq!(unused("a: login where success != lag(success)"), (2, 2));
}
