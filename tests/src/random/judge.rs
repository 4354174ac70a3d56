//! Holds the engine against the naive matcher, and the engine's ways of running against each other.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lapwing::data::pipeline::{Options, Reason};
use lapwing_dsl::syntax::ast::File;
use lapwing_engine::limits::Limits;
use lapwing_engine::order::Order;
use lapwing_naive::Change;
use serde_json::{Value as Json, json};

use super::case::{Case, times};
use super::rng::Rng;
use super::stream::shuffled;
use crate::engine::{Collected, Way, judge_changed, judge_in};

/// How a case ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The rules were refused.
    Refused(String),
    /// All agree; so many alerts.
    Agree(usize),
    /// Not all agree.
    Differ(String),
}

/// Judges a case in every way.
pub fn judge(case: &Case) -> Verdict {
    let judged = catch_unwind(AssertUnwindSafe(|| compare(case)));
    judged.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Verdict::Differ(format!("a panic: {}", text.unwrap_or_default()))
    })
}

fn compare(case: &Case) -> Verdict {
    let text = case.text();
    let lines = case.lines();
    let options = options(case);
    let engine = match judge_in(&text, &lines, &options, &Way { threads: 1, ..Way::default() }) {
        Ok(engine) => engine,
        Err(refused) => return Verdict::Refused(refused),
    };
    let naive = naive(case, &text, &[]);
    let alerts: Vec<Json> = engine.alerts.iter().map(plain).collect();
    if let Some(difference) = difference("naive", &naive.0, "engine", &alerts) {
        return Verdict::Differ(difference);
    }
    let late = late(&engine);
    if naive.1 != late {
        return Verdict::Differ(format!("late: naive {:?}, engine {late:?}", naive.1));
    }
    for (name, way) in ways(case) {
        let other = match judge_in(&text, &lines, &options, &way) {
            Ok(other) => other,
            Err(why) => return Verdict::Differ(format!("{name}: {why}")),
        };
        if let Some(difference) = difference("at once", &engine.alerts, &name, &other.alerts) {
            return Verdict::Differ(difference);
        }
        if other.rejected != engine.rejected {
            return Verdict::Differ(format!("{name}: other lines are put aside: {:?}", other.rejected));
        }
    }
    if !case.arrival
        && let Some(difference) = in_another_order(case, &text, &engine)
    {
        return Verdict::Differ(difference);
    }
    if let Some(difference) = changed(case) {
        return Verdict::Differ(difference);
    }
    Verdict::Agree(alerts.len())
}

/// Rules go, and come back, while events flow.
fn changed(case: &Case) -> Option<String> {
    let mut rng = Rng::new(case.seed ^ 0x54a9);
    if case.rules.len() < 2 || case.events.len() < 3 {
        return None;
    }
    let gone = rng.below(case.rules.len());
    // A window that begins anew knows nothing of the past; the naive matcher's knows all of it.
    let text = case.rules[gone].text();
    let comes_back = ![" over ", "lag(", "first_seen("].iter().any(|window| text.contains(window));
    let first = rng.below(case.events.len() - 1);
    let second = first + 1 + rng.below(case.events.len() - first - 1);
    let mut changes = vec![(first, case.text_of(|i| i != gone))];
    if comes_back {
        changes.push((second, case.text()));
    }
    let (wanted, late_lines) = naive(case, &case.text(), &changes);
    for restore in [false, true] {
        let found = match judge_changed(&case.text(), &changes, &case.lines(), &options(case), restore) {
            Ok(found) => found,
            Err(why) => return Some(format!("rules changed at {first} and {second}: {why}")),
        };
        let alerts: Vec<Json> = found.alerts.iter().map(plain).collect();
        let at: Vec<usize> = changes.iter().map(|c| c.0).collect();
        let name = format!("engine, rule {gone} changed before lines {at:?}, restored: {restore}");
        if let Some(difference) = difference("naive", &wanted, &name, &alerts) {
            return Some(difference);
        }
        if late(&found) != late_lines {
            return Some(format!("{name}: late {:?}, naive {late_lines:?}", late(&found)));
        }
    }
    None
}

fn options(case: &Case) -> Options {
    let order = if case.arrival { Order::Arrival } else { Order::EventTime };
    // The naive matcher has no caps. Runs are gathered from few on, so that many cases gather some.
    let gathered_from = 1 + case.seed as usize % 4;
    let limits = Limits { runs_per_key_max: 1_000_000, gathered_from, ..Limits::default() };
    Options { order, lateness: case.lateness, limits, ..Options::default() }
}

/// Four threads, random batches, a restore after every batch, and no index.
fn ways(case: &Case) -> Vec<(String, Way)> {
    let mut rng = Rng::new(case.seed ^ 0x5eed);
    let mut batches = || {
        let mut left = case.events.len();
        let mut all = Vec::new();
        while left > 0 {
            let count = (rng.between(1, 6) as usize).min(left);
            all.push(count);
            left -= count;
        }
        all
    };
    vec![
        ("four threads".to_owned(), Way { threads: 4, ..Way::default() }),
        ("batches".to_owned(), Way { threads: 1, batches: batches(), ..Way::default() }),
        ("restored".to_owned(), Way { threads: 1, batches: batches(), restored: true, ..Way::default() }),
        ("without the index".to_owned(), Way { all_asked: true, ..Way::default() }),
    ]
}

/// Alerts and late lines of the naive matcher.
fn naive(case: &Case, text: &str, changes: &[(usize, String)]) -> (Vec<Json>, Vec<u64>) {
    let options = lapwing_naive::Options {
        order: if case.arrival { lapwing_naive::Order::Arrival } else { lapwing_naive::Order::EventTime },
        lateness_ms: case.lateness,
    };
    let files: Vec<(usize, [File; 1])> = changes.iter().map(|(line, text)| (*line, [parse(text)])).collect();
    let changes: Vec<Change<'_>> = files.iter().map(|(at_line, files)| Change { at_line: *at_line, files }).collect();
    let outcome = lapwing_naive::run_with_changes(&[parse(text)], &changes, &case.events, &options);
    // As text and back, as the engine's are: a float is then read by the same reader.
    let reread = |json: Json| serde_json::from_str(&json.to_string()).expect("what was written is read");
    let alerts = outcome.alerts.iter().map(|a| {
        let evidence: serde_json::Map<String, Json> =
            a.evidence.iter().map(|(step, lines)| (step.clone(), json!(lines))).collect();
        let key: serde_json::Map<String, Json> = a.key.iter().filter(|(_, v)| !v.is_null()).cloned().collect();
        json!({
            "rule": a.rule,
            "revision": a.revision,
            "status": a.status,
            "severity": a.severity.as_deref().unwrap_or("medium"),
            "key": key,
            "first_at": time_text(a.first_at),
            "at": time_text(a.at),
            "evidence": evidence,
            "fields": a.fields,
            "message": a.message,
            "suppressed": a.suppressed,
        })
    });
    (alerts.map(reread).collect(), outcome.late.iter().map(|l| *l as u64).collect())
}

fn time_text(at: i64) -> String {
    lapwing_dsl::functions::timestamp_text(at)
}

fn parse(text: &str) -> File {
    let parsed = lapwing_dsl::syntax::parse(lapwing_dsl::syntax::FileId(0), text);
    parsed.file.expect("a small file is read")
}

/// An engine's alert with just what the naive matcher gives.
fn plain(alert: &Json) -> Json {
    let mut plain = alert.clone();
    let object = plain.as_object_mut().expect("an alert is an object");
    for extra in ["id", "version", "ruleset", "tags", "title", "exact", "mode"] {
        object.remove(extra);
    }
    object.entry("suppressed").or_insert(json!(0));
    for events in object["evidence"].as_object_mut().expect("evidence is an object").values_mut() {
        let lines = events.as_array().expect("a step's evidence is a list").iter().map(|e| e["offset"].clone());
        *events = lines.collect();
    }
    plain
}

fn late(engine: &Collected) -> Vec<u64> {
    engine.rejected.iter().filter(|r| matches!(r.reason, Reason::Aside(_))).map(|r| r.line).collect()
}

/// In event-time order another order of arrival gives the same alerts. The lines that are late are left out first.
fn in_another_order(case: &Case, text: &str, engine: &Collected) -> Option<String> {
    let late = late(engine);
    let kept: Vec<usize> = (0..case.events.len()).filter(|i| !late.contains(&(*i as u64))).collect();
    let mut sorted = kept;
    let at = times(&case.events);
    sorted.sort_by_key(|i| (at[*i], *i));
    let sorted_times: Vec<i64> = sorted.iter().map(|i| at[*i]).collect();
    let mut rng = Rng::new(case.seed ^ 0x0bde);
    let order: Vec<usize> = shuffled(&mut rng, &sorted_times, case.lateness).into_iter().map(|i| sorted[i]).collect();
    let lines: Vec<String> = order.iter().map(|i| case.events[*i].to_string()).collect();
    let other = match judge_in(text, &lines, &options(case), &Way { threads: 1, ..Way::default() }) {
        Ok(other) => other,
        Err(why) => return Some(why),
    };
    let renumbered = |alert: &Json| {
        let mut alert = plain(alert);
        for lines in alert["evidence"].as_object_mut().expect("evidence is an object").values_mut() {
            let back = |line: &Json| json!(order[line.as_u64().expect("a line is a number") as usize]);
            *lines = lines.as_array().expect("a list").iter().map(back).collect();
        }
        alert
    };
    let one: Vec<Json> = engine.alerts.iter().map(plain).collect();
    let two: Vec<Json> = other.alerts.iter().map(renumbered).collect();
    difference("in this order", &one, &format!("in the order {order:?}"), &two)
}

fn difference(one: &str, a: &[Json], other: &str, b: &[Json]) -> Option<String> {
    if a == b {
        return None;
    }
    let list = |alerts: &[Json]| alerts.iter().map(|a| format!("  {a}\n")).collect::<String>();
    let first = a.iter().zip(b).position(|(x, y)| x != y).unwrap_or(a.len().min(b.len()));
    Some(format!("the first difference is at {first}\n{one}:\n{}{other}:\n{}", list(a), list(b)))
}
