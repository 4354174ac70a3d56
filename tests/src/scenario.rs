//! Scenarios as data: several partitions, idleness, time, caps, late and far-off events, driven through the engine itself.
//!
//! A file holds rules, options and steps. Steps read events into a partition, let time pass, declare a partition idle, save and load
//! everything, and say what has come out since the last time they said so: each expected alert names what it must have.

use std::cell::Cell;
use std::sync::Arc;

use lapwing::data::alert::Alert;
use lapwing::data::decode::json::decode;
use lapwing::data::decode::plan::Plan;
use lapwing_engine::batch::{Batch, Origin};
use lapwing_engine::limits::Limits;
use lapwing_engine::order::{Aside, Order, Ordered, Part, PutAside, Sequencer};
use lapwing_engine::output::Output;
use lapwing_engine::rule_set::RuleSet;
use lapwing_engine::shard::Shard;
use lapwing_engine::slot::{GROUPS, KeyHasher};
use lapwing_engine::store::rest::{Judge, load_sequencer, load_suppressor, save_sequencer, save_suppressor};
use lapwing_engine::strata::Strata;
use lapwing_engine::suppress::{Suppressor, Verdict};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::engine::compile;
use crate::schema::hold_alert;

/// A scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows.
    pub about: String,
    /// The rules, a line each.
    pub rules: Vec<String>,
    /// Whether events are processed as they come.
    #[serde(default)]
    pub arrival: bool,
    /// In milliseconds.
    #[serde(default)]
    pub lateness: i64,
    /// Events later than this are put aside.
    pub ahead_of: Option<i64>,
    /// Live runs of a rule for a key.
    pub runs_per_key_max: Option<usize>,
    /// Live runs of a rule in a key group.
    pub runs_per_rule_max: Option<usize>,
    /// Live runs of all rules in a key group.
    pub runs_max: Option<usize>,
    /// From how many on the runs of a rule for a key are gathered.
    pub gathered_from: Option<usize>,
    /// Gathered runs of a rule for a key.
    pub gathered_per_key_max: Option<usize>,
    /// Entries of a window for a key.
    pub window_entries_max: Option<usize>,
    /// The partitions known from the start.
    #[serde(default)]
    pub partitions: Vec<u16>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// One thing that happens, or what must have come of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Events arrive in partition 0.
    Read(Vec<Json>),
    /// Events arrive in a partition.
    ReadIn(u16, Vec<Json>),
    /// A partition is idle.
    Idle(u16),
    /// Time passes without events.
    Time(i64),
    /// Everything is saved and loaded.
    Restore,
    /// The end of time.
    End,
    /// The alerts since the step like this before; each has at least what is written.
    Expect(Vec<Json>),
    /// The events put aside since the step like this before: partition, offset, why.
    ExpectAside(Vec<(u16, u64, String)>),
}

/// The engine with all that a scenario needs around it.
struct Bench {
    rules: Arc<RuleSet>,
    plan: Plan,
    sources: Arc<Vec<String>>,
    limits: Limits,
    limit: i64,
    order: Order,
    lateness: i64,
    sequencer: Sequencer,
    shard: Shard,
    suppressor: Suppressor,
    strata: Strata,
    offsets: Vec<u64>,
    alerts: Vec<Json>,
    aside: Vec<PutAside>,
}

/// Runs a scenario; what is wrong where it does not come out as expected.
pub fn run(scenario: &Scenario) -> Result<(), String> {
    let mut bench = Bench::new(scenario)?;
    for (i, step) in scenario.steps.iter().enumerate() {
        bench.step(step).map_err(|why| format!("step {i}: {why}"))?;
    }
    Ok(())
}

impl Bench {
    fn new(scenario: &Scenario) -> Result<Bench, String> {
        let rules = compile(&scenario.rules.join("\n"))?.rule_set(1).map_err(|e| format!("{e:?}"))?;
        let rules = Arc::new(rules);
        let defaults = Limits::default();
        let limits = Limits {
            runs_per_key_max: scenario.runs_per_key_max.unwrap_or(defaults.runs_per_key_max),
            window_entries_max: scenario.window_entries_max.unwrap_or(defaults.window_entries_max),
            runs_per_rule_max: scenario.runs_per_rule_max.unwrap_or(defaults.runs_per_rule_max),
            runs_max: scenario.runs_max.unwrap_or(defaults.runs_max),
            gathered_from: scenario.gathered_from.unwrap_or(defaults.gathered_from),
            gathered_per_key_max: scenario.gathered_per_key_max.unwrap_or(defaults.gathered_per_key_max),
        };
        let order = if scenario.arrival { Order::Arrival } else { Order::EventTime };
        let sources = Arc::new(vec!["log".to_owned()]);
        let mut sequencer = Sequencer::new(order, scenario.lateness);
        sequencer.revise(rules.revises());
        scenario.partitions.iter().for_each(|p| sequencer.add_partition((0, *p)));
        Ok(Bench {
            plan: Plan::new(&rules),
            shard: Shard::new(rules.clone(), limits, KeyHasher::new(7), sources.clone(), 0, 1),
            rules,
            sources,
            limits,
            limit: scenario.ahead_of.unwrap_or(i64::MAX),
            order,
            lateness: scenario.lateness,
            sequencer,
            suppressor: Suppressor::default(),
            strata: Strata::default(),
            offsets: vec![0; 8],
            alerts: Vec::new(),
            aside: Vec::new(),
        })
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let mut ready = Ordered::default();
        match step {
            Step::Read(events) => self.read(0, events, &mut ready)?,
            Step::ReadIn(partition, events) => self.read(*partition, events, &mut ready)?,
            Step::Idle(partition) => self.sequencer.set_idle((0, *partition)),
            Step::Time(time) => self.sequencer.advance_to(*time, &mut ready),
            Step::End => self.sequencer.finish(&mut ready),
            Step::Restore => return self.restore().map_err(|e| e.to_string()),
            Step::Expect(wanted) => return same_alerts(wanted, &std::mem::take(&mut self.alerts)),
            Step::ExpectAside(wanted) => return same_aside(wanted, &std::mem::take(&mut self.aside)),
        }
        // A partition that no longer holds the others back lets time pass with what is read next.
        if !matches!(step, Step::Idle(_)) {
            self.process(&ready);
        }
        Ok(())
    }

    fn read(&mut self, partition: u16, events: &[Json], ready: &mut Ordered) -> Result<(), String> {
        let mut batch = Batch::new(self.plan.layout.clone());
        let errors = Cell::new(0);
        let mut scratch = self.rules.index.scratch();
        for event in events {
            let offset = &mut self.offsets[partition as usize];
            let origin = Origin { source: 0, partition, offset: *offset };
            *offset += 1;
            let from = batch.rows.len();
            decode(&self.plan, event.to_string().as_bytes(), origin, &mut batch).map_err(|e| format!("{e:?}"))?;
            for row in from..batch.rows.len() {
                self.rules.index.look_up(&mut batch, row, &mut scratch, &self.rules.data, &errors);
            }
        }
        self.sequencer.take(vec![Part::whole(Arc::new(batch))], self.limit, ready, &mut self.aside);
        Ok(())
    }

    fn process(&mut self, ready: &Ordered) {
        let shard = &mut self.shard;
        let climbed = self.strata.lead(&self.rules, ready, &mut self.suppressor, |input| {
            let mut outputs: Vec<Output> = Vec::new();
            shard.step(input, &mut outputs);
            Some(outputs)
        });
        let mut outputs = climbed.outputs;
        outputs.sort_by(|a, b| a.place.cmp(&b.place));
        for output in &outputs {
            if let Verdict::Passes(suppressed) = self.suppressor.judge(&output.body, &self.rules) {
                let alert = Alert { body: &output.body, rules: &self.rules, sources: &self.sources, suppressed };
                let mut line = Vec::new();
                alert.write(&mut line);
                let alert = serde_json::from_slice(&line).expect("an alert is JSON");
                hold_alert(&alert);
                self.alerts.push(plain(alert));
            }
        }
    }

    fn restore(&mut self) -> Result<(), lapwing_engine::store::codec::Corrupt> {
        let judge = Judge { rules: self.rules.clone(), layout: self.plan.layout.clone(), above: i64::MIN };
        let mut sequencer = Sequencer::new(self.order, self.lateness);
        sequencer.revise(self.rules.revises());
        load_sequencer(&save_sequencer(&self.sequencer), &[judge], &mut sequencer)?;
        let hasher = KeyHasher::new(7);
        let mut shard = Shard::new(self.rules.clone(), self.limits, hasher, self.sources.clone(), 0, 1);
        for group in 0..=GROUPS {
            if let Some(bytes) = self.shard.save_group(group) {
                shard.load_group(group, &bytes)?;
            }
        }
        shard.resume(sequencer.clock());
        self.suppressor = load_suppressor(&save_suppressor(&self.suppressor))?;
        (self.sequencer, self.shard) = (sequencer, shard);
        Ok(())
    }
}

/// Evidence as `partition/offset` or `derived at …`, the rest as it is.
fn plain(mut alert: Json) -> Json {
    for events in alert["evidence"].as_object_mut().expect("evidence is an object").values_mut() {
        let place = |e: &Json| match &e["alert"] {
            Json::Null => json!(format!("{}/{}", e["partition"], e["offset"])),
            _ => json!(format!("derived at {}", e["at"].as_str().unwrap_or_default())),
        };
        *events = events.as_array().expect("a step's evidence is a list").iter().map(place).collect();
    }
    alert
}

fn same_alerts(wanted: &[Json], found: &[Json]) -> Result<(), String> {
    let has = |(wanted, found): (&Json, &Json)| {
        wanted
            .as_object()
            .is_some_and(|w| w.iter().all(|(name, value)| found.get(name).unwrap_or(&Json::Null) == value))
    };
    if wanted.len() == found.len() && wanted.iter().zip(found).all(has) {
        return Ok(());
    }
    let list = |alerts: &[Json]| alerts.iter().map(|a| format!("  {a}\n")).collect::<String>();
    Err(format!("expected\n{}found\n{}", list(wanted), list(found)))
}

fn same_aside(wanted: &[(u16, u64, String)], found: &[PutAside]) -> Result<(), String> {
    let why = |reason: Aside| match reason {
        Aside::Late { watermark } => format!("late, behind {watermark}"),
        Aside::Ahead { limit } => format!("ahead of {limit}"),
    };
    let found: Vec<(u16, u64, String)> =
        found.iter().map(|p| (p.origin.partition, p.origin.offset, why(p.reason))).collect();
    if wanted == found { Ok(()) } else { Err(format!("expected {wanted:?} aside, found {found:?}")) }
}
