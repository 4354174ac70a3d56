//! What the conformance cases leave out: messages, severities, decimals, several rules, updates, late events.

use lapwing_dsl::syntax::ast::File;
use lapwing_dsl::syntax::{FileId, parse};
use lapwing_naive::{Alert, Change, Options, Order, Outcome, run, run_with_changes};
use serde_json::{Value, json};

const TYPES: &str = "
event login { at timestamp  user string  ip ip?  country string?  place geo? from lat, lon  success bool }
event withdrawal { at timestamp  card string  amount decimal }
event logout { at timestamp  user string }
";

fn file(rules: &str) -> File {
    let parsed = parse(FileId(0), &format!("{TYPES}{rules}"));
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    parsed.file.expect("a small file is read")
}

fn outcome(rules: &str, events: &[Value], options: Options) -> Outcome {
    run(&[file(rules)], events, &options)
}

fn alerts(rules: &str, events: &[Value]) -> Vec<Alert> {
    outcome(rules, events, Options { order: Order::Arrival, lateness_ms: 0 }).alerts
}

fn login(at: i64, user: &str, success: bool) -> Value {
    json!({ "type": "login", "at": at * 1000, "user": user, "success": success, "ip": format!("10.0.0.{}", at % 2) })
}

/// One line an alert: rule, status, lines of evidence, fields.
fn check(rules: &str, events: &[Value], expected: &[&str]) {
    let given: Vec<String> = alerts(rules, events)
        .iter()
        .map(|a| {
            let evidence: Vec<String> = a.evidence.iter().map(|(step, lines)| format!("{step}{lines:?}")).collect();
            let fields = Value::Object(a.fields.clone());
            format!("{} {}{} {} {fields}", a.rule, a.status, a.revision, evidence.join(" "))
        })
        .collect();
    assert_eq!(given, expected);
}

#[test]
fn the_eleventh_failure_fires_and_is_described() {
    let rule = r#"
rule failed_logins {
  severity if(count(f) > 10, critical, high)
  by       user
  match    f: login{11} where not success
  within   10m
  emit     { failures: count(f), ips: distinct(f.ip), since: first(f).at, from: first(f).country }
  message  "{user}: {count(f)} failed logins from {distinct(f.ip)} addresses"
}"#;
    let events: Vec<Value> = (0..11).map(|i| login(i, "ann", false)).collect();
    assert_eq!(alerts(rule, &events[..10]), []);
    let [alert] = &alerts(rule, &events)[..] else { panic!("one alert") };
    assert_eq!(alert.message.as_deref(), Some("ann: 11 failed logins from 2 addresses"));
    assert_eq!(alert.severity.as_deref(), Some("critical"));
    assert_eq!(alert.key, [("user".to_owned(), json!("ann"))]);
    assert_eq!(
        Value::Object(alert.fields.clone()),
        json!({ "failures": 11, "ips": 2, "since": "1970-01-01T00:00:00Z" })
    );
    assert_eq!((alert.first_at, alert.at), (0, 10_000));
}

#[test]
fn decimals_are_exact_and_prev_of_the_first_holds() {
    let rule = "
rule rising {
  by     card
  match  w: withdrawal{3} where amount > prev.amount
  within 1d
  when   last(w).amount > 2.5 * first(w).amount
  emit   { total: sum(w.amount), rise: last(w).amount / first(w).amount, steps: list(w.amount - prev.amount) }
}";
    let event = |at: i64, amount: f64| json!({ "type": "withdrawal", "at": at, "card": "c", "amount": amount });
    check(
        rule,
        &[event(1, 0.1), event(2, 0.2), event(3, 0.3)],
        &[r#"rising open0 w[0, 1, 2] {"rise":3,"steps":[0.1,0.1],"total":0.6}"#],
    );
}

#[test]
fn rules_report_in_order_of_name_and_deadlines_in_order_of_time() {
    let rules = "
rule b { by user
  match login then not logout within 5s
  within 1h
}
rule a { by user
  match login then not logout within 7s
  within 1h
}";
    let events = [login(0, "ann", true), login(1, "bob", true), login(2, "ann", true), login(100, "cy", true)];
    check(
        rules,
        &events,
        &[
            "b open0 login[0] {}",
            "b open0 login[1] {}",
            "a open0 login[0] {}",
            "b open0 login[2] {}",
            "a open0 login[1] {}",
            "a open0 login[2] {}",
            "b open0 login[3] {}",
            "a open0 login[3] {}",
        ],
    );
}

#[test]
fn updates_revise_one_alert_and_close_it() {
    let rule = "
rule grows {
  by     user
  match  f: login{2,3} where not success
  within 1h
  report updates
  emit   { n: count(f) }
}";
    let events: Vec<Value> = (0..4).map(|i| login(i, "ann", false)).collect();
    check(
        rule,
        &events,
        &[
            r#"grows open0 f[0, 1] {"n":2}"#,
            r#"grows updated1 f[0, 1, 2] {"n":3}"#,
            r#"grows closed2 f[0, 1, 2] {"n":3}"#,
        ],
    );
}

#[test]
fn suppress_counts_what_it_holds_back() {
    let rule = "
rule each_login {
  by       user
  match    login
  suppress 2s by login.success
}";
    let events: Vec<Value> = [(0, true), (1, true), (1, false), (2, true)].map(|(at, ok)| login(at, "ann", ok)).into();
    let suppressed: Vec<(usize, u64)> =
        alerts(rule, &events).iter().map(|a| (a.evidence["login"][0], a.suppressed)).collect();
    assert_eq!(suppressed, [(0, 0), (2, 0), (3, 1)]);
}

#[test]
fn an_and_takes_one_event_for_one_side_and_a_choice_prefers_the_left() {
    let rules = "
rule both { match (a: login & b: login where success)
  within 1h
}
rule either { match (a: login where success | b: login)
}";
    check(
        rules,
        &[login(0, "ann", true), login(1, "bob", false), login(2, "ann", true)],
        &["either open0 a[0] {}", "either open0 b[1] {}", "both open0 a[0] b[2] {}", "either open0 a[2] {}"],
    );
}

#[test]
fn the_sides_of_an_and_may_interleave() {
    let rule = |pattern: &str| format!("rule r {{ match ({pattern})\n within 1h\n}}");
    let events = [true, false, true, false].map(|ok| login(0, "ann", ok));
    check(&rule("a: login{2} where success & b: login{2} where not success"), &events, &["r open0 a[0, 2] b[1, 3] {}"]);
    check(
        &rule("a: login? where success & b: login where not success"),
        &events,
        &["r open0 a[0] b[1] {}", "r open0 a[2] b[3] {}"],
    );
}

#[test]
fn late_and_rejected_lines_are_told() {
    let broken = json!({ "type": "login", "at": 1000, "success": true });
    let other = json!({ "type": "else" });
    let events = [login(10, "ann", true), login(8, "ann", true), login(9, "ann", true), broken, other];
    let outcome = outcome(
        "rule r { by user\n match a: login\n}",
        &events,
        Options { order: Order::EventTime, lateness_ms: 1000 },
    );
    let order: Vec<usize> = outcome.alerts.iter().map(|a| a.evidence["a"][0]).collect();
    assert_eq!((order, outcome.late, outcome.rejected), (vec![2, 0], vec![1], vec![3]));
}

#[test]
fn speed_between_two_places() {
    let rule = "
rule travel {
  by     user
  match last a: login where success then b: login where success and speed_kmh(a, b) > 900
  within 12h
  emit   { kmh: round(speed_kmh(a, b)) }
}";
    let at =
        |at: i64, lat: f64| json!({ "type": "login", "at": at, "user": "u", "success": true, "lat": lat, "lon": 0 });
    check(rule, &[at(0, 0.0), at(3_600_000, 10.0)], &[r#"travel open0 a[0] b[1] {"kmh":1112.0}"#]);
}

#[test]
fn a_changed_rule_keeps_the_runs_that_reach_the_same_place() {
    let rule =
        |condition: &str| file(&format!("rule r {{\n by user\n match f: login{{3}} where {condition}\n within 1h\n}}"));
    let (before, after) = (rule("not success"), rule("not success and user != \"bob\""));
    let events = [
        login(0, "ann", false),
        login(1, "bob", false),
        login(2, "ann", false),
        login(3, "bob", false),
        login(4, "ann", false),
        login(5, "bob", false),
    ];
    let lines = |order, lateness_ms, files: &File| {
        let change = Change { at_line: 3, files: std::slice::from_ref(files), messages: &[] };
        let options = Options { order, lateness_ms };
        let outcome = run_with_changes(std::slice::from_ref(&before), &[change], &events, &options);
        outcome.alerts.iter().map(|a| a.evidence["f"].clone()).collect::<Vec<_>>()
    };
    for order in [Order::Arrival, Order::EventTime] {
        assert_eq!(lines(order, 0, &after), [vec![0, 2, 4]]);
        assert_eq!(lines(order, 9000, &before), [vec![0, 2, 4], vec![1, 3, 5]]);
    }
}

#[test]
fn what_a_rule_samples_begins_anew_when_its_lateness_changes() {
    let rule = |clause: &str| {
        file(&format!(
            "
feature logins = count(login) by user over 1h
feature good = count(login where success) by user over 1h
rule r {{
  by user
  match l: login
  emit {{ c: corr(logins, good) over last 9 }}
  {clause}
}}"
        ))
    };
    let events: Vec<Value> = (0..4).map(|i| login(i, "ann", true)).collect();
    let options = Options { order: Order::Arrival, lateness_ms: 0 };
    let before = rule("lateness 1m");
    let known = |after: File| {
        let change = Change { at_line: 2, files: &[after], messages: &[] };
        let outcome = run_with_changes(std::slice::from_ref(&before), &[change], &events, &options);
        outcome.alerts.iter().map(|a| a.fields.contains_key("c")).collect::<Vec<_>>()
    };
    // A correlation needs two samples.
    assert_eq!(known(rule("lateness 1m")), [false, true, true, true]);
    assert_eq!(known(rule("lateness 2m")), [false, true, false, true]);
}
