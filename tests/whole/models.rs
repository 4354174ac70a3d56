//! A thousand changes of a model, a thousand of a list and a thousand of a table by `lapwing run --control` over one stream, through onnxruntime:
//! every score is that of the version which the alert names, and that is the one which was live. What is refused never takes effect.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use lapwing::data::pipeline::{Lines, Options, Pipeline};
use lapwing::models::versions::RETIRED_MAX;
use lapwing_dsl::value::Value;
use lapwing_engine::data::Data;
use lapwing_engine::data::model::{Model, Row, Version};
use lapwing_tests::engine::{Collected, compile};
use lapwing_tests::onnx::Linear;
use lapwing_tests::random::rng::Rng;
use serde_json::{Value as Json, json};

const CHANGES: usize = 1_000;
const EVENTS: usize = 1_500;

const RULES: &str = "\
event e { at timestamp  k string  n int  q float }

list watched of string

table top key k { most int }

model near(n int, q float) -> float

rule one {
  by       k
  match    a: e where near(n: n, q: q) > 0.5
  emit     { score: near(n: a.n, q: a.q) }
}

rule two {
  by       k
  match    a: e{2} where near(n: n, q: q) > 0.0
  within   1d
}

rule listed {
  by       k
  match    a: e where k in watched and near(n: n, q: q) > 0.25
  emit     { most: top[a.k].most }
}
";

/// What is known at some line.
#[derive(Clone, Debug, Default)]
struct World {
    versions: BTreeMap<u64, (&'static str, Linear)>,
    last: u64,
    watched: BTreeSet<String>,
    top: BTreeMap<String, i64>,
}

impl World {
    fn put(&mut self, stage: &'static str, linear: Linear) {
        self.last += 1;
        self.versions.insert(self.last, (stage, linear));
        self.set(self.last, stage);
    }

    fn set(&mut self, number: u64, stage: &'static str) {
        if stage == "live" {
            self.versions.values_mut().filter(|v| v.0 == "live").for_each(|v| v.0 = "retired");
        }
        if let Some(version) = self.versions.get_mut(&number) {
            version.0 = stage;
        }
        let retired: Vec<u64> = self.of("retired").map(|(n, _)| n).collect();
        retired.iter().rev().skip(RETIRED_MAX).for_each(|n| drop(self.versions.remove(n)));
    }

    fn of<'a>(&'a self, stage: &'a str) -> impl Iterator<Item = (u64, &'a Linear)> {
        self.versions.iter().filter(move |(_, v)| v.0 == stage).map(|(n, v)| (*n, &v.1))
    }

    /// What the live version answers to an event, and how an alert names it.
    fn score(&self, event: &Json) -> Option<(f64, Json)> {
        let inputs = [event["n"].as_f64().expect("a number"), event["q"].as_f64().expect("a number")];
        let (version, live) = self.of("live").next()?;
        let score = live.score(&inputs);
        let mut named = json!({"model": "near", "version": version, "score": score});
        let shadow: Vec<Json> =
            self.of("shadow").map(|(n, l)| json!({"version": n, "score": l.score(&inputs)})).collect();
        if !shadow.is_empty() {
            named["shadow"] = shadow.into();
        }
        Some((score, named))
    }
}

/// Messages with their lines, and what is known at each line.
struct Plan {
    messages: Vec<Json>,
    refused: Vec<bool>,
    at_line: Vec<World>,
    events: Vec<Json>,
}

fn linear(rng: &mut Rng) -> Linear {
    let mut quarter = || rng.between(-6, 6) as f32 / 4.0;
    Linear { weights: vec![quarter(), quarter()], bias: quarter() }
}

fn plan(seed: u64) -> Plan {
    let mut rng = Rng::new(seed);
    let event = |(i, rng): (usize, &mut Rng)| {
        let k = format!("k{}", rng.below(12));
        json!({"type": "e", "at": 1_000_000 + 3 * i as i64, "k": k, "n": rng.between(0, 3), "q": rng.between(0, 6) as f64 / 4.0})
    };
    let events: Vec<Json> = (0..EVENTS).map(|i| event((i, &mut rng))).collect();
    let mut world = World::default();
    let mut plan = Plan { messages: Vec::new(), refused: Vec::new(), at_line: Vec::new(), events };
    let mut left = [CHANGES; 3];
    for line in 0..EVENTS {
        let open: usize = left.iter().sum();
        for _ in 0..open.div_ceil(EVENTS - line) {
            let kind = loop {
                let kind = rng.below(3);
                if left[kind] > 0 {
                    break kind;
                }
            };
            left[kind] -= 1;
            let message = match kind {
                0 => of_model(&mut world, &mut rng),
                1 => of_list(&mut world, &mut rng),
                _ => of_table(&mut world, &mut rng),
            };
            plan.add(message, line, false);
            if rng.percent(10) {
                plan.add(broken(&world, &mut rng), line, true);
            }
        }
        plan.at_line.push(world.clone());
    }
    plan
}

impl Plan {
    fn add(&mut self, mut message: Json, line: usize, refused: bool) {
        message["at_line"] = line.into();
        self.messages.push(message);
        self.refused.push(refused);
    }
}

fn of_model(world: &mut World, rng: &mut Rng) -> Json {
    let live = world.of("live").next().map(|(n, _)| n);
    let others: Vec<u64> = world.versions.keys().copied().filter(|n| Some(*n) != live).collect();
    if !others.is_empty() && rng.percent(20) {
        let number = *rng.pick(&others);
        let crowded = world.of("shadow").count() > 3;
        let stage = if crowded { "retired" } else { rng.word(&["live", "shadow", "retired"]) };
        let number = if crowded { world.of("shadow").next().map_or(number, |(n, _)| n) } else { number };
        world.set(number, stage);
        return json!({"op": "stage", "kind": "model", "name": "near", "version": number, "stage": stage});
    }
    let linear = linear(rng);
    let mut message = json!({"op": "put", "kind": "model", "name": "near", "onnx": linear.base64()});
    if rng.percent(50) {
        message["version"] = (world.last + 1).into();
    }
    if rng.percent(30) {
        message["golden"] = json!([{"inputs": {"n": 2, "q": 0.5}, "output": linear.score(&[2.0, 0.5])}]);
    }
    let shadow = live.is_some() && world.of("shadow").count() < 3 && rng.percent(20);
    if shadow {
        message["stage"] = json!("shadow");
    }
    world.put(if shadow { "shadow" } else { "live" }, linear);
    message
}

fn of_list(world: &mut World, rng: &mut Rng) -> Json {
    let k = format!("k{}", rng.below(12));
    let add = rng.percent(55);
    let member = if add { "add" } else { "remove" };
    let mut message = json!({"op": "put", "kind": "list", "name": "watched"});
    message[member] = json!([k]);
    if add {
        world.watched.insert(k)
    } else {
        world.watched.remove(&k)
    };
    message
}

fn of_table(world: &mut World, rng: &mut Rng) -> Json {
    let k = format!("k{}", rng.below(12));
    let most = rng.between(0, 1_000_000);
    let message = json!({"op": "put", "kind": "table", "name": "top", "upsert": [{"k": k, "most": most}]});
    world.top.insert(k, most);
    message
}

/// A message that must change nothing.
fn broken(world: &World, rng: &mut Rng) -> Json {
    let good = linear(rng);
    let put = |onnx: String| json!({"op": "put", "kind": "model", "name": "near", "onnx": onnx});
    match rng.below(7) {
        0 => put(Linear { weights: vec![1.0, 2.0, 3.0], bias: 0.0 }.base64()),
        1 => {
            let mut message = put(good.base64());
            let wrong = good.score(&[1.0, 1.0]) + 0.125;
            message["golden"] = json!([{"inputs": {"n": 1, "q": 1.0}, "output": wrong}]);
            message
        }
        2 => put("no base64".to_owned()),
        3 => {
            // Cut to whole groups of four letters.
            let mut text = good.base64();
            text.truncate(text.len() / 8 * 4);
            put(text)
        }
        4 => {
            let mut message = put(good.base64());
            message["version"] = world.last.into();
            message
        }
        5 => json!({"op": "stage", "kind": "model", "name": "near", "version": world.last + 7, "stage": "live"}),
        _ => json!({"op": "delete", "kind": "model", "name": "near"}),
    }
}

#[test]
fn a_thousand_changes_of_models_lists_and_tables() {
    for (seed, order) in [(1, "arrival"), (2, "event-time")] {
        let plan = plan(seed);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("models-{order}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for the test can be made");
        let lines = |all: &[Json]| all.iter().map(|m| format!("{m}\n")).collect::<String>();
        let write = |name: &str, text: String| fs::write(folder.join(name), text).expect("the folder can be written");
        write("rules.lap", RULES.to_owned());
        write("events.jsonl", lines(&plan.events));
        write("control.jsonl", lines(&plan.messages));
        let one = run(&folder, "one", order, "1");
        let four = run(&folder, "four", order, "4");
        assert!(one == four, "one thread and four differ");
        check(
            &plan,
            &json_lines(&one),
            &json_lines(&fs::read_to_string(folder.join("one.status")).expect("it is there")),
        );
        fs::remove_dir_all(&folder).expect("the test's folder can be removed");
    }
}

fn check(plan: &Plan, alerts: &[Json], status: &[Json]) {
    assert_eq!(status.len(), plan.messages.len());
    for ((message, status), refused) in plan.messages.iter().zip(status).zip(&plan.refused) {
        assert_eq!(status.get("refused").is_some(), *refused, "{message}\n{status}");
    }
    let refused = plan.refused.iter().filter(|refused| **refused).count();
    assert!(refused >= 200 && plan.messages.len() - refused == 3 * CHANGES);
    let named = |line: usize| plan.at_line[line].score(&plan.events[line]);
    let lines = |alert: &Json| -> Vec<usize> {
        let events = alert["evidence"]["a"].as_array().expect("evidence of the step");
        events.iter().map(|e| e["offset"].as_u64().expect("a line") as usize).collect()
    };
    let of = |rule: &str| alerts.iter().filter(|a| a["rule"] == rule).collect::<Vec<_>>();
    // Each event that the live version finds is found, with the version and its score; no other is.
    let wanted: Vec<(usize, Json)> = (0..EVENTS)
        .filter_map(|line| named(line).filter(|(score, _)| *score > 0.5).map(|(_, named)| (line, named)))
        .collect();
    let found: Vec<(usize, Json)> = of("one").iter().map(|a| (lines(a)[0], a["models"][0].clone())).collect();
    assert_eq!(found, wanted);
    assert!(found.len() > 200, "{}", found.len());
    let versions: BTreeSet<u64> = found.iter().filter_map(|(_, named)| named["version"].as_u64()).collect();
    assert!(versions.len() > 150, "{} versions have answered", versions.len());
    assert!(found.iter().filter(|(_, named)| named.get("shadow").is_some()).count() > 100);
    assert!(of("one").iter().all(|a| a["models"].as_array().is_some_and(|m| m.len() == 1)));
    assert!(of("one").iter().all(|a| a["fields"]["score"] == a["models"][0]["score"]));
    // Of two events each has the answer of its own time, also where the version has changed in between.
    let mut changed = 0;
    for alert in of("two") {
        let mut wanted: Vec<Json> = lines(alert).iter().filter_map(|line| Some(named(*line)?.1)).collect();
        assert!(wanted.len() == 2 && lines(alert).iter().all(|l| named(*l).is_some_and(|(s, _)| s > 0.0)), "{alert}");
        changed += usize::from(wanted[0]["version"] != wanted[1]["version"]);
        let mut found: Vec<Json> = alert["models"].as_array().expect("models").clone();
        let order = |a: &Json, b: &Json| {
            let of = |j: &Json| (j["version"].as_u64(), j["score"].as_f64().unwrap_or_default());
            of(a).partial_cmp(&of(b)).expect("numbers")
        };
        wanted.sort_by(order);
        wanted.dedup();
        found.sort_by(order);
        assert_eq!(found, wanted, "{alert}");
    }
    assert!(changed > 50, "{changed} matches of two versions");
    let wanted: Vec<(usize, Option<i64>)> = (0..EVENTS)
        .filter(|line| {
            let k = plan.events[*line]["k"].as_str().expect("a key");
            plan.at_line[*line].watched.contains(k) && named(*line).is_some_and(|(score, _)| score > 0.25)
        })
        .map(|line| (line, plan.at_line[line].top.get(plan.events[line]["k"].as_str().unwrap_or_default()).copied()))
        .collect();
    let found: Vec<(usize, Option<i64>)> =
        of("listed").iter().map(|a| (lines(a)[0], a["fields"]["most"].as_i64())).collect();
    assert_eq!(found, wanted);
    assert!(found.len() > 100);
}

/// Runs the command in this process; what it writes.
fn run(folder: &Path, name: &str, order: &str, threads: &str) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut arguments: Vec<String> =
        ["lapwing", "run", "--quiet", "--order", order, "--threads", threads].map(str::to_owned).to_vec();
    for (flag, file) in [
        ("--rules", "rules.lap"),
        ("--input", "events.jsonl"),
        ("--output", name),
        ("--control", "control.jsonl"),
        ("--status", &format!("{name}.status")),
    ] {
        arguments.extend([flag.to_owned(), path(file)]);
    }
    assert_eq!(lapwing::cli::run_with(arguments), lapwing::cli::Exit::Well);
    fs::read_to_string(folder.join(name)).expect("the run wrote it")
}

fn json_lines(text: &str) -> Vec<Json> {
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

/// A model that writes down how many rows it is asked at once.
#[derive(Debug, Default)]
struct Counting(Mutex<Vec<usize>>);

impl Model for Counting {
    fn score(&self, rows: &[Row<'_>]) -> Vec<Option<f64>> {
        self.0.lock().expect("nobody panics with it").push(rows.len());
        rows.iter().map(|row| if let Value::Int(n) = row[0] { Some(n as f64) } else { None }).collect()
    }
}

/// How many rows a model is asked at once by rules over a stream of which two thirds are `ok`.
fn asked(rules: &str, events: usize) -> Vec<usize> {
    let text = format!("event e {{ at timestamp  k string  n int  ok bool }}\nmodel near(n int) -> float\n{rules}");
    let rules = compile(&text).expect("the rules compile").rule_set(1).expect("few keys");
    let counting = Arc::new(Counting::default());
    let mut data = Data::empty(&rules.schema);
    data.models[0].live = Some(Arc::new(Version::new(1, 1, counting.clone())));
    let rules = rules.with_data(1, Arc::new(data));
    let mut pipeline = Pipeline::new(Arc::new(rules), Options::default(), 1);
    let line = |i: usize| {
        let event = json!({"type": "e", "at": 1_000_000 + i, "k": format!("k{}", i % 7), "n": i, "ok": i % 3 != 0});
        format!("{event}\n")
    };
    let stream: String = (0..events).map(line).collect();
    let mut collected = Collected::default();
    pipeline.take(&Lines { bytes: stream.as_bytes(), first: 0 }, &mut collected);
    pipeline.finish(&mut collected);
    assert!(collected.alerts.len() > events / 10, "{} alerts", collected.alerts.len());
    assert!(collected.alerts.iter().all(|alert| alert["models"].is_array() == rules_name(&text)));
    counting.0.lock().expect("nobody panics with it").clone()
}

/// Whether alerts name scores: what windows asked is not named.
fn rules_name(text: &str) -> bool {
    !text.contains("over")
}

/// Rules ask together and once an event, of those events alone that meet what else they ask.
#[test]
fn events_are_asked_in_batches() {
    let rules = "\
rule a {\n  by k\n  match x: e where near(n: n) > 10 and ok\n  emit { score: near(n: x.n) }\n}\n\
rule b {\n  by k\n  match e{2} where ok and near(n: n) > 20\n  within 1h\n}\n";
    let asked = asked(rules, 3_000);
    assert_eq!(asked.iter().sum::<usize>(), 2_000, "each event that is ok is asked once");
    assert_eq!(asked.len(), 8, "256 at once: {asked:?}");
    // What a window counts is asked likewise.
    let rules = "rule w {\n  by k\n  match e\n  when count(e where near(n: n) > 10) over 1h > 3\n}\n";
    let asked = self::asked(rules, 3_000);
    assert_eq!((asked.iter().sum::<usize>(), asked.len()), (3_000, 12), "{asked:?}");
}
