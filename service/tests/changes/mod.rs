//! Changes of a rule, a list and a model, good and bad, with what holds behind each; for tests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::service::random;

const DECLARED: &str = "\
event e { at timestamp  k string  n int  row int  amount float  age float  count float  speed float  share float }
event last { at timestamp }
list watched of string
model near(amount float, age float, count float, speed float, share float) -> float
";

const SCORED: &str = "\
rule scored {
  by     k
  match  a: e where near(amount: amount, age: age, count: count, speed: speed, share: share) > 0.5
  emit   { row: a.row }
}
";

const LISTED: &str = "\
rule listed {
  by     k
  match  a: e where k in watched
  emit   { n: a.n }
}
";

fn counted(most: i64) -> String {
    format!("rule counted {{\n  by     k\n  match  a: e where n > {most}\n  emit   {{ most: {most} }}\n}}\n")
}

/// A model, and what it is known to answer.
pub struct Model {
    base64: String,
    rows: Vec<Value>,
}

impl Model {
    fn read(name: &str) -> Model {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models");
        let file =
            |ending: &str| std::fs::read(folder.join(format!("{name}.{ending}"))).expect("it is part of the project");
        let known: Value = serde_json::from_slice(&file("json")).expect("JSON");
        let rows = known["rows"].as_array().expect("rows").clone();
        Model { base64: BASE64_STANDARD.encode(file("onnx")), rows }
    }
}

/// What holds at some time.
#[derive(Clone, Debug)]
pub struct World {
    pub generation: u64,
    /// Version and bound of the rule, and whether it is live.
    version: u64,
    most: i64,
    live: bool,
    watched: BTreeSet<String>,
    /// Which model each version is, and the live one.
    models: Vec<usize>,
    near: usize,
}

/// What has to become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Taken,
    Unchanged,
    Refused,
}

/// A message of the control topic.
pub struct Change {
    /// None for a tombstone.
    pub text: Option<String>,
    pub outcome: Outcome,
    /// What holds behind it.
    pub world: World,
}

/// Changes in their order.
pub struct Changes {
    pub begins: World,
    pub all: Vec<Change>,
    models: [Model; 2],
}

const KEYS: u64 = 12;
const ROWS: u64 = 40;

impl Changes {
    /// So many of each kind, and bad ones among them.
    pub fn new(each: usize, seed: &mut u64) -> Changes {
        let models = ["scaled", "network"].map(Model::read);
        let begins = World {
            generation: 1,
            version: 1,
            most: 90,
            live: true,
            watched: BTreeSet::new(),
            models: Vec::new(),
            near: 0,
        };
        let mut changes = Changes { begins: begins.clone(), all: Vec::new(), models };
        let mut world = begins;
        let mut left = [each; 3];
        while left.iter().any(|left| *left > 0) {
            let kind = random(seed) as usize % 3;
            if left[kind] == 0 {
                continue;
            }
            left[kind] -= 1;
            let message = match kind {
                0 => world.rule(seed),
                1 => world.list(seed),
                _ => world.model(&changes.models, seed),
            };
            world.generation += 1;
            changes.add(Some(message.to_string()), Outcome::Taken, &world);
            if random(seed).is_multiple_of(5) {
                let (text, outcome) = world.in_vain(&changes.models, seed);
                changes.add(text, outcome, &world);
            }
        }
        changes
    }

    fn add(&mut self, text: Option<String>, outcome: Outcome, world: &World) {
        self.all.push(Change { text, outcome, world: world.clone() });
    }

    /// Those that are taken.
    pub fn taken(&self) -> impl Iterator<Item = &Change> {
        self.all.iter().filter(|change| change.outcome == Outcome::Taken)
    }

    /// The file with the rules that the service begins with.
    pub fn rules(&self, folder: &Path) -> PathBuf {
        let path = folder.join("rules.lap");
        std::fs::write(&path, self.begins.text()).expect("it can be written");
        path
    }

    /// An event, as a line.
    pub fn event(&self, number: u64, seed: &mut u64) -> Vec<u8> {
        let row = random(seed) % ROWS;
        let mut event = json!({"type": "e", "at": 1_800_000_000_000 + 3 * number, "row": row});
        event["k"] = json!(format!("k{}", random(seed) % KEYS));
        event["n"] = json!(random(seed) % 100);
        let inputs = self.models[0].rows[row as usize]["inputs"].as_object().expect("inputs").clone();
        event.as_object_mut().expect("an object").extend(inputs);
        format!("{event}\n").into_bytes()
    }

    /// What an event of some world has to give: rules with versions and what they say.
    pub fn alerts(&self, world: &World, event: &Value) -> Vec<Value> {
        let mut alerts = Vec::new();
        if world.live && event["n"].as_i64() > Some(world.most) {
            alerts.push(json!({"rule": "counted", "version": world.version, "fields": {"most": world.most}}));
        }
        if world.watched.contains(event["k"].as_str().expect("a key")) {
            alerts.push(json!({"rule": "listed", "version": 1, "fields": {"n": event["n"]}}));
        }
        if let Some(model) = world.near.checked_sub(1) {
            let row = event["row"].as_u64().expect("a row");
            let score = self.models[world.models[model]].rows[row as usize]["output"].as_f64().expect("a score");
            if score > 0.5 {
                let named = json!({"version": world.near, "score": rounded(score)});
                alerts.push(json!({"rule": "scored", "version": 1, "fields": {"row": row}, "model": named}));
            }
        }
        alerts.iter_mut().for_each(|alert| alert["ruleset"] = world.generation.into());
        alerts
    }

    /// An alert in the same form.
    pub fn said(alert: &Value) -> Value {
        let mut said = json!({});
        for name in ["rule", "version", "fields", "ruleset"] {
            said[name] = alert[name].clone();
        }
        if let Some(named) = alert["models"].get(0) {
            let score = named["score"].as_f64().expect("a score");
            said["model"] = json!({"version": named["version"], "score": rounded(score)});
        }
        said
    }
}

/// Scores were exported on another machine.
fn rounded(score: f64) -> i64 {
    (score * 1e4).round() as i64
}

impl World {
    fn text(&self) -> String {
        [DECLARED, SCORED, LISTED, &counted(self.most)].concat()
    }

    fn rule(&mut self, seed: &mut u64) -> Value {
        if random(seed).is_multiple_of(4) {
            self.live = !self.live;
            let stage = if self.live { "live" } else { "paused" };
            return json!({"op": "stage", "kind": "rule", "name": "counted", "stage": stage});
        }
        self.most = 50 + (random(seed) % 50) as i64;
        self.version += 1;
        self.live = true;
        json!({"op": "put", "kind": "rule", "name": "counted", "source": counted(self.most)})
    }

    fn list(&mut self, seed: &mut u64) -> Value {
        let k = format!("k{}", random(seed) % KEYS);
        let mut message = json!({"op": "put", "kind": "list", "name": "watched"});
        if random(seed).is_multiple_of(2) {
            message["add"] = json!([k]);
            self.watched.insert(k);
        } else {
            message["remove"] = json!([k]);
            self.watched.remove(&k);
        }
        message
    }

    fn model(&mut self, models: &[Model; 2], seed: &mut u64) -> Value {
        // Back to the one before, now and then.
        if self.near > 1 && random(seed).is_multiple_of(4) {
            self.near = if self.near == self.models.len() { self.near - 1 } else { self.models.len() };
            return json!({"op": "stage", "kind": "model", "name": "near", "version": self.near, "stage": "live"});
        }
        let which = random(seed) as usize % 2;
        self.models.push(which);
        self.near = self.models.len();
        json!({"op": "put", "kind": "model", "name": "near", "onnx": models[which].base64})
    }

    /// A message that changes nothing.
    fn in_vain(&self, models: &[Model; 2], seed: &mut u64) -> (Option<String>, Outcome) {
        let put = |source: &str| json!({"op": "put", "kind": "rule", "name": "counted", "source": source}).to_string();
        let text = match random(seed) % 9 {
            0 => "no JSON".to_owned(),
            1 => json!({"op": "stage", "kind": "rule", "name": "counte", "stage": "paused"}).to_string(),
            2 => put(&counted(1).replace("n > 1", "m > 1")),
            3 => return (None, Outcome::Refused),
            4 => json!({"op": "put", "kind": "list", "name": "watch", "add": ["k1"]}).to_string(),
            5 => {
                let onnx = &models[0].base64[..models[0].base64.len() / 8 * 4];
                json!({"op": "put", "kind": "model", "name": "near", "onnx": onnx}).to_string()
            }
            6 => json!({"op": "begin", "files": [["rules.lap", "rule"]], "secret": 7}).to_string(),
            7 => {
                let mut message: Value = serde_json::from_str(&put(&counted(1))).expect("JSON");
                message["at_line"] = json!(0);
                message.to_string()
            }
            _ => {
                let files = json!([{"path": "rules.lap", "text": self.text()}]);
                let apply = json!({"op": "apply", "kind": "rules", "name": "rules", "files": files});
                return (Some(apply.to_string()), Outcome::Unchanged);
            }
        };
        (Some(text), Outcome::Refused)
    }
}
