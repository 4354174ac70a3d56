//! Control messages at random: rules are changed, added, paused, removed and put back over one stream, lists and tables change, and some
//! messages are broken.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::case::{Case, text_of};
use super::change::changed;
use super::clause::{RuleText, rule};
use super::data;
use super::rng::Rng;
use super::stream::{EVENTS, events, shuffled};
use super::times::Times;
use crate::engine::{Change, compile};
use crate::onnx::Linear;

/// Rules that no message is about: each keeps something that a careless change would lose.
const UNTOUCHED: [(&str, &[&str]); 5] = [
    (
        "a_streak",
        &["by k", "match f: e{4,} apart 5ms where n > 0", "within 30ms", "report updates", "emit { n: count(f) }"],
    ),
    ("m_pair", &["by k", "match last a: e where ok then b: f where n > a.n", "within 25ms", "emit { a: a.n, b: b.n }"]),
    (
        "p_busy",
        &[
            "by j",
            "match e where n == 3",
            "when count(e) over 20ms > 2",
            "suppress 8ms",
            "emit { n: count(e) over 20ms }",
        ],
    ),
    (
        "q_new",
        &[
            "by k",
            "match a: f where first_seen(s) over 40ms then not n1: g within 6ms",
            "within 20ms",
            "emit { s: a.s }",
        ],
    ),
    ("z_best", &["by k", "match a: e{2,3} then b: f?", "within 12ms", "report final", "emit { n: count(a), s: b.s }"]),
];

/// A stream, rules, and messages that change some of them.
pub struct Plan {
    /// The stream, and the rules at the start.
    pub case: Case,
    /// The names of rules that no message is about.
    pub untouched: Vec<&'static str>,
    /// The messages, ascending by line.
    pub messages: Vec<Message>,
}

/// A message with what has to become of it.
pub struct Message {
    /// As it stands in the control file.
    pub json: Json,
    /// The input line before which it takes over.
    pub at_line: usize,
    /// What it changes; none where it has to be refused.
    pub then: Option<Change>,
    /// What sort of change it is.
    pub sort: &'static str,
}

/// The rules as messages leave them.
#[derive(Clone)]
struct Rules {
    rules: BTreeMap<String, (RuleText, bool)>,
    /// Declarations that came with rules.
    declared: String,
}

impl Rules {
    fn text(&self) -> String {
        text_of(self.rules.values().filter(|(_, live)| *live).map(|(rule, _)| rule), &Times::default()) + &self.declared
    }

    fn compiles(&self) -> bool {
        // Also a rule that is paused has to compile.
        compile(&(text_of(self.rules.values().map(|(rule, _)| rule), &Times::default()) + &self.declared)).is_ok()
    }
}

/// A plan of so many messages over so many events.
pub fn plan(seed: u64, arrival: bool, messages: usize, length: usize) -> Plan {
    let mut rng = Rng::new(seed);
    let untouched: Vec<RuleText> = UNTOUCHED
        .iter()
        .map(|(name, clauses)| RuleText {
            name: (*name).to_owned(),
            clauses: clauses.iter().map(|c| (*c).to_owned()).collect(),
        })
        .collect();
    let mut rules = Rules { rules: BTreeMap::new(), declared: String::new() };
    for rule in &untouched {
        rules.rules.insert(rule.name.clone(), (rule.clone(), true));
    }
    for name in ["b", "n", "t", "y"] {
        // Nobody has filled the folder of data with models.
        let text = loop {
            let made = compiling(&rules, &mut rng, |rng| rule(name, rng).0);
            if !["near(", "far("].iter().any(|model| made.text(&Times::default()).contains(model)) {
                break made;
            }
        };
        rules.rules.insert(name.to_owned(), (text, true));
    }
    let start: Vec<RuleText> = rules.rules.values().map(|(rule, _)| rule.clone()).collect();
    let sorted = events(&mut rng, length);
    let times = super::case::times(&sorted);
    let order = shuffled(&mut rng, &times, 4);
    let case = Case {
        seed,
        times: Times::default(),
        used: Vec::new(),
        data: data::all(&mut rng).into_iter().chain(data::real_models(&mut rng)).collect(),
        rules: start,
        events: order.into_iter().map(|i| sorted[i].clone()).collect(),
        arrival,
        lateness: 3,
    };
    let mut lines: Vec<usize> = (0..messages).map(|_| rng.below(length + 1)).collect();
    lines.sort_unstable();
    let mut planned = Vec::new();
    for line in lines {
        if rng.percent(30) {
            planned.push(of_data(data::real_message(&mut rng), line));
            continue;
        }
        let (mut json, sort, next) = message(&rules, &mut rng);
        json["at_line"] = json!(line);
        let then = next.as_ref().map(|next| Change::Rules(next.text()));
        planned.push(Message { json, at_line: line, then, sort });
        rules = next.unwrap_or(rules);
    }
    Plan { case, untouched: UNTOUCHED.iter().map(|(name, _)| *name).collect(), messages: planned }
}

/// A plan of so many changes of lists, and as many of tables, over so many events.
pub fn plan_of_data(seed: u64, arrival: bool, each: usize, length: usize) -> Plan {
    let mut plan = plan(seed, arrival, 0, length);
    let mut rng = Rng::new(seed ^ 0xda7a);
    let mut lines: Vec<usize> = (0..2 * each).map(|_| rng.below(length + 1)).collect();
    lines.sort_unstable();
    let mut left = [("list", each), ("table", each)];
    for line in lines {
        let i = if left[0].1 > 0 && (left[1].1 == 0 || rng.percent(50)) { 0 } else { 1 };
        left[i].1 -= 1;
        plan.messages.push(of_data(data::message_of(left[i].0, &mut rng), line));
    }
    plan
}

fn of_data(message: Json, line: usize) -> Message {
    let mut json = if message["kind"] == "model" { real(&message) } else { message.clone() };
    json["at_line"] = json!(line);
    Message { json, at_line: line, then: Some(Change::Data(message)), sort: "data" }
}

/// A message about a model with the model itself.
fn real(message: &Json) -> Json {
    let mut json = message.clone();
    let object = json.as_object_mut().expect("a message is an object");
    object.remove("weights");
    object.remove("bias");
    object.insert("onnx".to_owned(), Linear::of(message).base64().into());
    json
}

/// A rule that compiles beside the others.
fn compiling(rules: &Rules, rng: &mut Rng, mut make: impl FnMut(&mut Rng) -> RuleText) -> RuleText {
    loop {
        let made = make(rng);
        let mut with = rules.clone();
        with.rules.insert(made.name.clone(), (made.clone(), true));
        // Nobody has put a database of places.
        if with.compiles() && !with.text().contains("geoip(") {
            return made;
        }
    }
}

fn put(rule: &RuleText) -> Json {
    json!({"op": "put", "kind": "rule", "name": rule.name, "source": rule.text(&Times::default())})
}

/// A message, and the rules after it where it is carried out.
fn message(rules: &Rules, rng: &mut Rng) -> (Json, &'static str, Option<Rules>) {
    let touched: Vec<&String> =
        rules.rules.keys().filter(|name| !UNTOUCHED.iter().any(|(n, _)| n == &name.as_str())).collect();
    let mut next = rules.clone();
    let name = if touched.is_empty() { "b".to_owned() } else { (*rng.pick(&touched)).clone() };
    let known = rules.rules.get(&name).cloned();
    let (json, sort) = match (rng.below(100), known) {
        (0..=16, _) => return (broken(rules, &name, rng), "broken", None),
        (17..=26, _) if touched.len() < 7 => {
            let free = ["b", "c", "g", "n", "o", "t", "y"].into_iter().find(|n| !rules.rules.contains_key(*n));
            let new = compiling(rules, rng, |rng| rule(free.unwrap_or("x"), rng).0);
            next.rules.insert(new.name.clone(), (new.clone(), true));
            (put(&new), "new")
        }
        (27..=30, _) if !rules.rules.contains_key("h") => {
            // It brings a type that stands before the others.
            let event = format!("event a{} {{ at timestamp  k string }}\n", rules.declared.lines().count());
            let ty = event.split(' ').nth(1).unwrap_or_default().to_owned();
            let new = RuleText { name: "h".to_owned(), clauses: vec!["by k".to_owned(), format!("match {ty}")] };
            next.declared += &event;
            next.rules.insert(new.name.clone(), (new.clone(), true));
            let mut json = put(&new);
            json["source"] = json!(format!("{event}{}", new.text(&Times::default())));
            (json, "new type")
        }
        (31..=36, Some(_)) if touched.len() > 2 => {
            next.rules.remove(&name);
            (json!({"op": "delete", "kind": "rule", "name": name}), "removed")
        }
        (37..=44, Some((rule, live))) => {
            let stage = if live { "paused" } else { "live" };
            next.rules.insert(name.clone(), (rule, !live));
            (json!({"op": "stage", "kind": "rule", "name": name, "stage": stage}), "stage")
        }
        (45..=48, Some((rule, _))) => {
            next.rules.insert(name, (rule.clone(), true));
            (put(&rule), "put again")
        }
        (_, known) => {
            let before = known.map_or_else(|| rule(&name, rng).0, |(rule, _)| rule);
            let after = compiling(rules, rng, |rng| changed(&before, rng));
            next.rules.insert(name, (after.clone(), true));
            (put(&after), "changed")
        }
    };
    (json, sort, Some(next))
}

/// A message that has to be refused.
fn broken(rules: &Rules, name: &str, rng: &mut Rng) -> Json {
    let text = rules
        .rules
        .get(name)
        .map_or_else(|| rule(name, rng).0.text(&Times::default()), |(rule, _)| rule.text(&Times::default()));
    let put = |source: String| json!({"op": "put", "kind": "rule", "name": name, "source": source});
    match rng.below(11) {
        7 => json!({"op": "put", "kind": "list", "name": "nobody_declared_it", "entries": []}),
        8 => json!({"op": "put", "kind": "list", "name": "nets", "add": ["10.0.0.9", "10.0.0.0/33"]}),
        9 => json!({"op": "put", "kind": "table", "name": "base", "upsert": [{"j": "p", "word": "a"}, {"j": "q"}]}),
        10 => json!({"op": "put", "kind": "table", "name": "pairs", "remove": ["a"], "rows": []}),
        0 => put(text.replacen("  match", "  mach", 1).replacen("  window", "  windo", 1)),
        1 => put(text.trim_end().trim_end_matches('}').to_owned()),
        2 => put(format!("rule {name} {{\n  match e where nobody == 1\n}}\n")),
        3 => put(format!("rule {name} {{\n  match e where n == \"one\"\n}}\n")),
        4 => put(text.replacen(&format!("rule {name}"), "rule another", 1)),
        5 => json!({"op": "put", "kind": "rule", "name": "a_streak", "version": 1, "source": EVENTS}),
        6 => json!({"op": "delete", "kind": "rule", "name": "nobody_wrote_it"}),
        _ => json!({"op": "put", "kind": "list", "name": "blocked"}),
    }
}
