//! The five parts, each with what it works on.

use std::cell::Cell;
use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;

use lapwing::control::files::Rules;
use lapwing::data::alert::Alert;
use lapwing::data::decode::plan::Plan;
use lapwing::data::decode::shape::Decoder;
use lapwing::data::generate::{Settings, generate};
use lapwing::data::pipeline::{Lines, Options, Pipeline, Rejected, Sink};
use lapwing_dsl::load;
use lapwing_dsl::syntax::Sources;
use lapwing_engine::Millis;
use lapwing_engine::batch::{Batch, Origin};
use lapwing_engine::limits::Limits;
use lapwing_engine::order::{Order, Ordered, Part as Rows, Sequencer};
use lapwing_engine::rule_set::RuleSet;
use lapwing_engine::shard::Shard;
use lapwing_engine::slot::KeyHasher;

/// Events of the stream.
const EVENTS: u64 = 10_000;

/// Rules of the set that the index is asked about.
const RULES: u64 = 500;

/// The seed rules, as they stand in `rules/`.
const SEED_RULES: [(&str, &str); 5] = [
    ("rules/events.lap", include_str!("../../rules/events.lap")),
    ("rules/seed/failed_logins.lap", include_str!("../../rules/seed/failed_logins.lap")),
    ("rules/seed/impossible_travel.lap", include_str!("../../rules/seed/impossible_travel.lap")),
    ("rules/seed/mass_sharing.lap", include_str!("../../rules/seed/mass_sharing.lap")),
    ("rules/seed/rising_withdrawals.lap", include_str!("../../rules/seed/rising_withdrawals.lap")),
];

/// A part of an event's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// JSON lines to rows, by the seed rules.
    Decode,
    /// Which of 500 rules each row may begin.
    Index,
    /// Runs and windows moved by rows, by the seed rules.
    Step,
    /// State saved and loaded.
    Snapshot,
    /// All of it: lines to alerts, by the seed rules.
    Whole,
}

/// A part with what it works on. It can be run once.
pub struct Prepared(Box<dyn FnOnce() -> u64>);

impl Prepared {
    /// Does the work; gives a number that depends on all of it.
    pub fn run(self) -> u64 {
        (self.0)()
    }
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 5] = [Part::Decode, Part::Index, Part::Step, Part::Snapshot, Part::Whole];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Part::Decode => "decode",
            Part::Index => "index",
            Part::Step => "step",
            Part::Snapshot => "snapshot",
            Part::Whole => "whole",
        }
    }

    /// The part of a name.
    pub fn named(name: &str) -> Option<Part> {
        Part::ALL.into_iter().find(|p| p.name() == name)
    }

    /// Makes all that the part works on, so that running it is the part alone.
    pub fn prepare(self) -> Prepared {
        match self {
            Part::Decode => decode(),
            Part::Index => index(),
            Part::Step => step(),
            Part::Snapshot => snapshot(),
            Part::Whole => whole(),
        }
    }
}

fn decode() -> Prepared {
    let (lines, plan) = (stream(), Arc::new(Plan::new(&seed_rules())));
    let mut batch = Batch::new(plan.layout.clone());
    let mut decoder = Decoder::new(plan);
    Prepared(Box::new(move || {
        decode_all(&lines, &mut decoder, &mut batch);
        let read: i64 = black_box(&batch).rows.iter().fold(0, |sum, row| sum ^ row.at);
        batch.rows.len() as u64 + (read & 1) as u64
    }))
}

fn index() -> Prepared {
    let rules = many_rules();
    let mut batch = decoded(&rules);
    Prepared(Box::new(move || {
        look_up_all(&rules, &mut batch);
        batch.hits.len() as u64
    }))
}

fn step() -> Prepared {
    let rules = seed_rules();
    let mut batch = decoded(&rules);
    look_up_all(&rules, &mut batch);
    let mut sequencer = Sequencer::new(Order::Arrival, 0);
    sequencer.add_partition((0, 0));
    let mut ready = Ordered::default();
    sequencer.take(vec![Rows::whole(Arc::new(batch))], Millis::MAX, &mut ready, &mut Vec::new());
    let options = Options::default();
    let hasher = KeyHasher::new(options.secret);
    let mut shard = Shard::new(rules, Limits::default(), hasher, Arc::new(options.sources), 0, 1);
    Prepared(Box::new(move || {
        let mut out = Vec::new();
        shard.step(&ready, &mut out);
        (shard.keys() + shard.runs() + out.len()) as u64
    }))
}

fn snapshot() -> Prepared {
    let rules = seed_rules();
    let mut pipeline = Pipeline::new(rules.clone(), options(), 1);
    pipeline.take(&Lines { bytes: &stream(), first: 0 }, &mut Alerts::default());
    Prepared(Box::new(move || {
        let bytes = pipeline.save();
        let loaded = Pipeline::load(vec![rules], options(), 1, &bytes).expect("what was saved loads");
        (bytes.len() + loaded.keys()) as u64
    }))
}

fn whole() -> Prepared {
    let lines = stream();
    let mut pipeline = Pipeline::new(seed_rules(), options(), 1);
    Prepared(Box::new(move || {
        let mut alerts = Alerts::default();
        let (mut rest, mut first) = (lines.as_slice(), 0);
        while !rest.is_empty() {
            // About as much at once as the service takes.
            let cut = rest.iter().skip(1 << 17).position(|b| *b == b'\n').map_or(rest.len(), |i| (1 << 17) + i + 1);
            let (head, tail) = rest.split_at(cut);
            first += pipeline.take(&Lines { bytes: head, first }, &mut alerts);
            rest = tail;
        }
        pipeline.finish(&mut alerts);
        alerts.bytes.len() as u64 + pipeline.totals().events
    }))
}

/// Alerts, written as they leave the service.
#[derive(Default)]
struct Alerts {
    bytes: Vec<u8>,
}

impl Sink for Alerts {
    fn alert(&mut self, alert: &Alert<'_>) {
        alert.write(&mut self.bytes);
    }

    fn rejected(&mut self, _: Rejected) {}
}

fn options() -> Options {
    Options { order: Order::Arrival, ..Options::default() }
}

/// The stream: few users, and attacks often, so that alerts are part of it.
fn stream() -> Vec<u8> {
    let settings = Settings {
        events: EVENTS,
        users: 1_000,
        seed: 7,
        rate: 20.0,
        attacks: 0.002,
        skew: 1.0,
        disorder: 0,
        start: 1_760_000_000_000,
    };
    let mut lines = Vec::new();
    generate(&settings, &mut lines).expect("memory takes all");
    lines
}

fn seed_rules() -> Arc<RuleSet> {
    let mut sources = Sources::default();
    for (name, text) in SEED_RULES {
        sources.add(name, text);
    }
    rule_set(sources)
}

/// Rules of which an event meets the first condition of some: prefixes, sets, ranges, and thresholds beside them.
fn many_rules() -> Arc<RuleSet> {
    let mut text = "event login { at timestamp  user string  country string  device string  success bool }\n\
                    event share { at timestamp  user string  external bool  size int }\n\
                    event withdrawal { at timestamp  card string  amount float  merchant string }\n"
        .to_owned();
    for i in 0..RULES {
        let (by, first) = match i % 5 {
            0 | 1 => ("user", format!("login where not success and device like \"d{:x}*\"", i / 5 % 16)),
            2 => ("user", format!("share where size > {} and not external", i * 30_000)),
            3 => ("card", format!("withdrawal where amount in {}..{}", i, i + 19)),
            _ => {
                let merchants: Vec<String> =
                    (0..60).map(|n| format!("\"m{:06}\"", (i * 977 + n * 331) % 20_000)).collect();
                ("card", format!("withdrawal where merchant in [{}] and amount > {}", merchants.join(", "), i))
            }
        };
        let _ = writeln!(text, "rule r{i} {{\n  by {by}\n  match {first}\n}}");
    }
    let mut sources = Sources::default();
    sources.add("many.lap", text);
    rule_set(sources)
}

fn rule_set(sources: Sources) -> Arc<RuleSet> {
    let rules = Rules { loaded: load(&sources), sources };
    assert!(rules.compiles(), "the rules compile");
    Arc::new(rules.rule_set(1).expect("their keys are few"))
}

fn decoded(rules: &RuleSet) -> Batch {
    let plan = Arc::new(Plan::new(rules));
    let mut batch = Batch::new(plan.layout.clone());
    decode_all(&stream(), &mut Decoder::new(plan), &mut batch);
    batch
}

fn decode_all(lines: &[u8], decoder: &mut Decoder, batch: &mut Batch) {
    let mut rest = lines;
    let mut origin = Origin::default();
    while !rest.is_empty() {
        let line = decoder.next(rest);
        decoder.decode_next(rest, line, origin, batch).expect("the generator writes events");
        origin.offset += 1;
        rest = rest.get(line.length + 1..).unwrap_or_default();
    }
}

fn look_up_all(rules: &RuleSet, batch: &mut Batch) {
    let (mut scratch, errors) = (rules.index.scratch(), Cell::new(0));
    for row in 0..batch.rows.len() {
        rules.index.look_up(batch, row, &mut scratch, &rules.data, &errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_does_the_same_work_each_time() {
        for part in Part::ALL {
            let (first, second) = (part.prepare().run(), part.prepare().run());
            assert_eq!(first, second, "{}", part.name());
            let least = if part == Part::Index { EVENTS } else { EVENTS / 20 };
            assert!(first >= least, "{} gave {first}", part.name());
            assert_eq!(Part::named(part.name()), Some(part));
        }
    }

    #[test]
    fn the_whole_raises_alerts() {
        assert!(Part::Whole.prepare().run() > EVENTS, "there are bytes of alerts beside the events");
    }
}
