//! A case: a rule set, a stream and how it is read, all from one seed.

use serde_json::Value as Json;

use super::clause::{RuleText, rule};
use super::construct::Used;
use super::derive::chain;
use super::rng::Rng;
use super::stream::{EVENTS, events, shuffled};
use super::times::{Times, ZONE};

/// From this seed on every case is about a moment at which a clock is changed.
const ABOUT_CLOCKS: u64 = 1 << 40;

/// A rule set and a stream.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it was made from.
    pub seed: u64,
    /// The rules.
    pub rules: Vec<RuleText>,
    /// The constructs of each rule.
    pub used: Vec<Used>,
    /// What lists and tables hold at the start, as control messages.
    pub data: Vec<Json>,
    /// The events, in order of arrival.
    pub events: Vec<Json>,
    /// Whether they are processed as they arrive.
    pub arrival: bool,
    /// In milliseconds.
    pub lateness: i64,
    /// What a millisecond of the rules stands for.
    pub times: Times,
}

impl Case {
    /// The case of a seed.
    pub fn new(seed: u64) -> Case {
        let mut rng = Rng::new(seed);
        let count = rng.weighted(&[(6, 1), (2, 2), (1, 3), (1, 4)]);
        let mut names = ["ra", "rb", "rc", "rd"];
        if rng.percent(50) {
            names[..count].reverse();
        }
        let mut rules = Vec::new();
        let mut used = Vec::new();
        for name in &names[..count] {
            let (text, mut of_rule) = rule(name, &mut rng);
            if count > 1 {
                of_rule.mark("several rules");
            }
            rules.push(text);
            used.push(of_rule);
        }
        if count > 1 && rng.percent(30) {
            chain(&mut rules, &mut used, &mut rng);
        }
        by_processing_time(&mut rules, &mut used, &mut Rng::new(seed ^ 0x71e5));
        let percent = if seed >= ABOUT_CLOCKS { 100 } else { 12 };
        let clock = Times::new(&mut Rng::new(seed ^ 0xca1e), percent);
        for (rule, used) in rules.iter().zip(&mut used) {
            if clock.has_zone() && rule.clauses.iter().any(|c| c.contains(ZONE)) {
                used.mark("zone");
            }
        }
        let length = rng.between(6, 22) as usize;
        let mut sorted = events(&mut rng, length);
        let lateness = clock.length(rng.weighted(&[(2, 0), (1, 2), (1, 5)]));
        for event in &mut sorted {
            event["at"] = clock.at(event["at"].as_i64().expect("every event has a time")).into();
        }
        let times = times(&sorted);
        // Some arrive later than the lateness allows.
        let disorder = if rng.percent(40) { rng.between(0, 6) } else { 0 };
        let order = shuffled(&mut rng, &times, clock.length(disorder));
        let events = order.into_iter().map(|i| sorted[i].clone()).collect();
        let arrival = rng.percent(40);
        let data = super::data::at_the_start(&mut rng);
        Case { seed, rules, used, data, events, arrival, lateness, times: clock }
    }

    /// The whole rule text.
    pub fn text(&self) -> String {
        self.text_of(|_| true)
    }

    /// The text of some of the rules, by their numbers.
    pub fn text_of(&self, keep: impl Fn(usize) -> bool) -> String {
        text_of(self.rules.iter().enumerate().filter(|(i, _)| keep(*i)).map(|(_, rule)| rule), &self.times)
    }

    /// The events as lines.
    pub fn lines(&self) -> Vec<String> {
        self.events.iter().map(Json::to_string).collect()
    }
}

/// Lets rules of some cases go by processing time: all where some build on each other.
fn by_processing_time(rules: &mut [RuleText], used: &mut [Used], rng: &mut Rng) {
    if !rng.percent(20) {
        return;
    }
    let chained = rules.iter().any(|rule| rule.clauses.iter().any(|c| c.starts_with("emit into")));
    for (rule, used) in rules.iter_mut().zip(used) {
        if chained || rng.percent(65) {
            used.mark("time processing");
            rule.clauses.retain(|c| !c.starts_with("lateness"));
            rule.clauses.push(PROCESSING.to_owned());
        }
    }
}

/// The clause of rules that go by processing time.
pub const PROCESSING: &str = "time processing";

/// The declarations and some rules.
pub fn text_of<'r>(rules: impl Iterator<Item = &'r RuleText>, times: &Times) -> String {
    rules.fold(times.text(EVENTS), |text, rule| text + &rule.text(times))
}

/// The times of events.
pub fn times(events: &[Json]) -> Vec<i64> {
    events.iter().map(|e| e["at"].as_i64().expect("every event has a time")).collect()
}
