//! Holds the engine against the naive matcher, and the engine's ways of running against each other.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lapwing::data::pipeline::{Options, Reason};
use lapwing_dsl::syntax::ast::File;
use lapwing_engine::limits::Limits;
use lapwing_engine::order::Order;
use serde_json::{Value as Json, json};

use super::case::{Case, PROCESSING, text_of, times};
use super::change::changed;
use super::clause::{RuleText, rule};
use super::data;
use super::rng::Rng;
use super::stream::shuffled;
use crate::engine::{Change, Collected, Way, compiled, judge_changed, judge_in};

/// How a case ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The rules were refused.
    Refused(String),
    /// All agree.
    Agree(Agreed),
    /// Not all agree.
    Differ(String),
}

/// What came out where all agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreed {
    /// Alerts without a change of the rules.
    pub alerts: usize,
    /// Alerts with changes.
    pub alerts_changed: usize,
    /// Of those, alerts of runs that a change of their rule left alive.
    pub lived_on: usize,
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
    let engine = match judge_in(&text, &lines, &options, &Way { data: case.data.clone(), ..Way::default() }) {
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
    match with_changes(case) {
        Err(difference) => Verdict::Differ(difference),
        Ok((alerts_changed, lived_on)) => Verdict::Agree(Agreed { alerts: alerts.len(), alerts_changed, lived_on }),
    }
}

/// Rules change, go, come and come back, lists and tables change while events flow: the lines before which that happens.
pub fn changes(case: &Case) -> Vec<(usize, Change)> {
    let mut rng = Rng::new(case.seed ^ 0x54a9);
    let mut lines: Vec<usize> = (0..rng.between(1, 4)).map(|_| rng.below(case.events.len() + 1)).collect();
    lines.sort_unstable();
    let mut live: Vec<Option<RuleText>> = case.rules.iter().cloned().map(Some).collect();
    let mut made = Vec::new();
    for line in lines {
        if rng.percent(50)
            && let Some(message) = data::message_for(&text_of(live.iter().flatten(), &case.times), &mut rng)
        {
            made.push((line, Change::Data(message)));
            continue;
        }
        let i = rng.below(live.len());
        let mut next = live.clone();
        let of_processing = live.iter().flatten().any(|rule| rule.clauses.iter().any(|c| c == PROCESSING));
        if of_processing && rng.percent(30) {
            other_time(&mut next[i]);
            let text = text_of(next.iter().flatten(), &case.times);
            if compiled(&text, 0).is_ok() {
                live = next;
                made.push((line, Change::Rules(text)));
            }
            continue;
        }
        match (rng.below(10), &live[i]) {
            (0, _) => next.push(Some(rule("re", &mut rng).0)),
            (1 | 2, Some(_)) => next[i] = None,
            (3, Some(_)) | (_, None) => next[i] = case.rules.get(i).cloned(),
            (_, Some(now)) => {
                let mut one = || Some(changed(now, &mut rng));
                next[i] = one();
                // Some changes make no rule: then another.
                for _ in 0..5 {
                    if compiled(&text_of(next.iter().flatten(), &case.times), 0).is_ok() {
                        break;
                    }
                    next[i] = one();
                }
            }
        }
        let text = text_of(next.iter().flatten(), &case.times);
        if compiled(&text, 0).is_ok() {
            live = next;
            made.push((line, Change::Rules(text)));
        }
    }
    made
}

/// The rule goes by the other time.
fn other_time(rule: &mut Option<RuleText>) {
    let Some(rule) = rule else { return };
    let before = rule.clauses.len();
    rule.clauses.retain(|c| c != PROCESSING);
    if rule.clauses.len() == before {
        rule.clauses.push(PROCESSING.to_owned());
    }
}

/// What a run with changes gives, from the naive matcher and from the engine in several ways: how many alerts, and how many of runs that
/// a change of their rule left alive.
fn with_changes(case: &Case) -> Result<(usize, usize), String> {
    let changes = changes(case);
    let mut lived_on = 0;
    let (wanted, late_lines) = naive(case, &case.text(), &changes);
    let ways = [
        ("at once", Way::default()),
        ("four threads", Way { threads: 4, ..Way::default() }),
        ("restored", Way { restored: true, ..Way::default() }),
        ("evicted", Way { evicted: true, ..Way::default() }),
        ("saved", Way { saved: true, ..Way::default() }),
    ];
    for (name, mut way) in ways {
        way.data.clone_from(&case.data);
        let shown = || {
            changes.iter().map(|(line, change)| match change {
                Change::Rules(text) => {
                    format!("before line {line}: {}", text.split_once("rule ").map_or("", |(_, rules)| rules))
                }
                Change::Data(message) => format!("before line {line}: {message}\n"),
            })
        };
        let differs = |what: String| Err(format!("{}\nwith these changes: {what}", shown().collect::<String>()));
        let found = match judge_changed(&case.text(), &changes, &case.lines(), &options(case), &way) {
            Ok(found) => found,
            Err(why) => return differs(why),
        };
        let alerts: Vec<Json> = found.alerts.iter().map(plain).collect();
        if let Some(difference) = difference("naive", &wanted, &format!("engine, {name}"), &alerts) {
            return differs(difference);
        }
        if late(&found) != late_lines {
            return differs(format!("{name}: late {:?}, naive {late_lines:?}", late(&found)));
        }
        // A run names the version it began under, and versions are generations here.
        let last_change = |a: &Json| {
            let generation = a["ruleset"].as_u64().unwrap_or(0) as usize;
            let rule = format!("rule {} {{", a["rule"].as_str().unwrap_or_default());
            let text = |g: usize| {
                let texts = changes[..g - 1].iter().rev().filter_map(|(_, change)| match change {
                    Change::Rules(text) => Some(text.clone()),
                    Change::Data(_) => None,
                });
                let text = texts.into_iter().next().unwrap_or_else(|| case.text());
                text.split_once(&rule).map(|(_, rest)| rest.split("\nrule ").next().unwrap_or_default().to_owned())
            };
            (2..=generation).rev().find(|g| text(*g) != text(*g - 1)).unwrap_or(1)
        };
        let old = |a: &&Json| a["version"].as_u64() < Some(last_change(a) as u64);
        lived_on = found.alerts.iter().filter(old).count();
    }
    Ok((wanted.len(), lived_on))
}

fn options(case: &Case) -> Options {
    let order = if case.arrival { Order::Arrival } else { Order::EventTime };
    // The naive matcher has no caps. Runs are gathered from few on, so that many cases gather some.
    let gathered_from = 1 + case.seed as usize % 4;
    let limits = Limits { runs_per_key_max: 1_000_000, gathered_from, ..Limits::default() };
    Options { order, lateness: case.lateness, limits, ..Options::default() }
}

/// Four threads, random batches, a restore after every batch, keys out of memory after every batch, both, saves of what has changed, and no index.
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
    let mut ways = vec![
        ("four threads".to_owned(), Way { threads: 4, ..Way::default() }),
        ("batches".to_owned(), Way { threads: 1, batches: batches(), ..Way::default() }),
        ("restored".to_owned(), Way { threads: 1, batches: batches(), restored: true, ..Way::default() }),
        ("evicted".to_owned(), Way { threads: 1, batches: batches(), evicted: true, ..Way::default() }),
        (
            "evicted and restored, two threads".to_owned(),
            Way { threads: 2, batches: batches(), evicted: true, restored: true, ..Way::default() },
        ),
        ("saved".to_owned(), Way { threads: 1, batches: batches(), saved: true, ..Way::default() }),
        ("saved, two threads".to_owned(), Way { threads: 2, batches: batches(), saved: true, ..Way::default() }),
        ("without the index".to_owned(), Way { all_asked: true, ..Way::default() }),
    ];
    ways.iter_mut().for_each(|(_, way)| way.data.clone_from(&case.data));
    ways
}

/// Alerts and late lines of the naive matcher.
pub fn naive(case: &Case, text: &str, changes: &[(usize, Change)]) -> (Vec<Json>, Vec<u64>) {
    naive_alerts(case.arrival, case.lateness, text, &case.data, changes, &case.events)
}

/// Alerts and late lines of the naive matcher, of no particular case.
pub fn naive_alerts(
    arrival: bool,
    lateness_ms: i64,
    text: &str,
    data: &[Json],
    changes: &[(usize, Change)],
    events: &[Json],
) -> (Vec<Json>, Vec<u64>) {
    let order = if arrival { lapwing_naive::Order::Arrival } else { lapwing_naive::Order::EventTime };
    let options = lapwing_naive::Options { order, lateness_ms };
    // Each change with the files from then on: the number of their text among those so far.
    let mut files: Vec<[File; 1]> = vec![[parse(text)]];
    let mut numbered: Vec<(usize, usize, &[Json])> = vec![(0, 0, data)];
    for (line, change) in changes {
        match change {
            Change::Rules(text) => {
                files.push([parse(text)]);
                numbered.push((*line, files.len() - 1, &[]));
            }
            Change::Data(message) => numbered.push((*line, files.len() - 1, std::slice::from_ref(message))),
        }
    }
    let change = |(at_line, number, messages): (usize, usize, _)| lapwing_naive::Change {
        at_line,
        files: &files[number],
        messages,
    };
    let changes: Vec<lapwing_naive::Change<'_>> = numbered.into_iter().map(change).collect();
    let outcome = lapwing_naive::run_with_changes(&files[0], &changes, events, &options);
    // As text and back, as the engine's are: a float is then read by the same reader.
    let reread = |json: Json| serde_json::from_str(&json.to_string()).expect("what was written is read");
    // Derived events are no lines.
    let line = |line: &usize| if *line < lapwing_naive::DERIVED { json!(line) } else { Json::Null };
    let with_models = |mut alert: Json, models: &[Json]| {
        if !models.is_empty() {
            alert["models"] = models.into();
        }
        alert
    };
    let alerts = outcome.alerts.iter().map(|a| {
        let evidence: serde_json::Map<String, Json> =
            a.evidence.iter().map(|(step, lines)| (step.clone(), lines.iter().map(line).collect())).collect();
        let key: serde_json::Map<String, Json> = a.key.iter().filter(|(_, v)| !v.is_null()).cloned().collect();
        let alert = json!({
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
        });
        with_models(alert, &a.models)
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
pub fn plain(alert: &Json) -> Json {
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
    engine.rejected.iter().filter(|r| matches!(r.reason, Reason::Aside(_))).map(|r| r.origin.offset).collect()
}

/// In event-time order another order of arrival gives the same alerts. The lines that are late are left out first; where a rule takes
/// them all the same, or goes by processing time, nothing is compared.
fn in_another_order(case: &Case, text: &str, engine: &Collected) -> Option<String> {
    let late = late(engine);
    if !late.is_empty() && text.contains("\n  lateness ") || text.contains(PROCESSING) {
        return None;
    }
    let kept: Vec<usize> = (0..case.events.len()).filter(|i| !late.contains(&(*i as u64))).collect();
    let mut sorted = kept;
    let at = times(&case.events);
    sorted.sort_by_key(|i| (at[*i], *i));
    let sorted_times: Vec<i64> = sorted.iter().map(|i| at[*i]).collect();
    let mut rng = Rng::new(case.seed ^ 0x0bde);
    let order: Vec<usize> = shuffled(&mut rng, &sorted_times, case.lateness).into_iter().map(|i| sorted[i]).collect();
    let lines: Vec<String> = order.iter().map(|i| case.events[*i].to_string()).collect();
    let other = match judge_in(text, &lines, &options(case), &Way { data: case.data.clone(), ..Way::default() }) {
        Ok(other) => other,
        Err(why) => return Some(why),
    };
    let renumbered = |alert: &Json| {
        let mut alert = plain(alert);
        for lines in alert["evidence"].as_object_mut().expect("evidence is an object").values_mut() {
            let back = |line: &Json| line.as_u64().map_or(Json::Null, |line| json!(order[line as usize]));
            *lines = lines.as_array().expect("a list").iter().map(back).collect();
        }
        alert
    };
    let one: Vec<Json> = engine.alerts.iter().map(plain).collect();
    let two: Vec<Json> = other.alerts.iter().map(renumbered).collect();
    difference("in this order", &one, &format!("in the order {order:?}"), &two)
}

/// Where two lists of alerts part.
pub fn difference(one: &str, a: &[Json], other: &str, b: &[Json]) -> Option<String> {
    if a == b {
        return None;
    }
    let list = |alerts: &[Json]| alerts.iter().map(|a| format!("  {a}\n")).collect::<String>();
    let first = a.iter().zip(b).position(|(x, y)| x != y).unwrap_or(a.len().min(b.len()));
    Some(format!("the first difference is at {first}\n{one}:\n{}{other}:\n{}", list(a), list(b)))
}
