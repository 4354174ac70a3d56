//! A case: a rule set, a stream and how it is read, all from one seed.

use serde_json::Value as Json;

use super::clause::{RuleText, rule};
use super::construct::Used;
use super::derive::chain;
use super::rng::Rng;
use super::stream::{EVENTS, events, shuffled};

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
        let length = rng.between(6, 22) as usize;
        let sorted = events(&mut rng, length);
        let lateness = rng.weighted(&[(2, 0), (1, 2), (1, 5)]);
        let times = times(&sorted);
        // Some arrive later than the lateness allows.
        let disorder = if rng.percent(40) { rng.between(0, 6) } else { 0 };
        let order = shuffled(&mut rng, &times, disorder);
        let events = order.into_iter().map(|i| sorted[i].clone()).collect();
        let arrival = rng.percent(40);
        let data = super::data::at_the_start(&mut rng);
        Case { seed, rules, used, data, events, arrival, lateness }
    }

    /// The whole rule text.
    pub fn text(&self) -> String {
        self.text_of(|_| true)
    }

    /// The text of some of the rules, by their numbers.
    pub fn text_of(&self, keep: impl Fn(usize) -> bool) -> String {
        text_of(self.rules.iter().enumerate().filter(|(i, _)| keep(*i)).map(|(_, rule)| rule))
    }

    /// The events as lines.
    pub fn lines(&self) -> Vec<String> {
        self.events.iter().map(Json::to_string).collect()
    }
}

/// The declarations and some rules.
pub fn text_of<'r>(rules: impl Iterator<Item = &'r RuleText>) -> String {
    rules.fold(EVENTS.to_owned(), |text, rule| text + &rule.text())
}

/// The times of events.
pub fn times(events: &[Json]) -> Vec<i64> {
    events.iter().map(|e| e["at"].as_i64().expect("every event has a time")).collect()
}
