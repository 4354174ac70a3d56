//! `lapwing bench`: times decode → match → alert on a file held in memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::run::OrderArgument;
use super::{Exit, Format, compiled, duration, filled_rule_set, refuse};
use crate::data::alert::Alert;
use crate::data::pipeline::{Lines, Options, Pipeline, Rejected, Sink};
use crate::data::totals::Stages;

/// Bytes judged at once.
const CHUNK: usize = 1 << 19;

/// Arguments of `bench`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Rule files, or folders of them.
    #[arg(long, required = true, num_args = 1..)]
    rules: Vec<PathBuf>,
    /// JSON lines.
    #[arg(long)]
    input: PathBuf,
    /// A folder with the entries of lists and the rows of tables: NAME.txt, NAME.csv or NAME.json.
    #[arg(long)]
    data: Option<PathBuf>,
    /// How events are put in order.
    #[arg(long, value_enum, default_value = "event-time")]
    order: OrderArgument,
    /// How far behind the greatest time an event may come.
    #[arg(long, default_value = "0s", value_parser = duration)]
    lateness: i64,
    /// How many threads judge; 1 is one thread in all.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// How often to run; the fastest counts.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    passes: u16,
    /// For whom to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What one pass gave.
#[derive(Clone, Debug, Serialize)]
struct Report {
    events: u64,
    seconds: f64,
    cpu_seconds: f64,
    events_per_second: f64,
    alerts: u64,
    alerts_by_rule: BTreeMap<String, u64>,
    keys: usize,
    peak_rss_bytes: u64,
    rss_before_bytes: u64,
    rss_after_bytes: u64,
    input_bytes: usize,
    threads: u16,
    stages: Stages,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Exit {
    let rules = match compiled(&arguments.rules) {
        Ok(rules) => rules,
        Err(exit) => return exit,
    };
    let rule_set = match filled_rule_set(&rules, arguments.data.as_deref()) {
        Ok(rule_set) => rule_set,
        Err(exit) => return exit,
    };
    let input = match fs::read(&arguments.input) {
        Ok(input) => input,
        Err(error) => return refuse(format_args!("cannot read `{}`: {error}", arguments.input.display())),
    };
    let best = (0..arguments.passes)
        .map(|_| pass(arguments, &rule_set, &input))
        .min_by(|a, b| a.seconds.total_cmp(&b.seconds))
        .expect("there is at least one pass");
    match arguments.format {
        Format::Json => outln!("{}", serde_json::to_string(&best).expect("a report is plain data")),
        Format::Text => print(&best),
    }
    Exit::Well
}

fn pass(arguments: &Arguments, rules: &Arc<lapwing_engine::rule_set::RuleSet>, input: &[u8]) -> Report {
    let options = Options { order: arguments.order.into(), lateness: arguments.lateness, ..Options::default() };
    let mut pipeline = Pipeline::new(rules.clone(), options, arguments.threads as usize);
    let mut sink = Tally::default();
    let rss_before_bytes = memory("VmRSS:");
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let mut first = 0;
    let mut rest = input;
    while !rest.is_empty() {
        let size = CHUNK * arguments.threads as usize;
        let cut = if rest.len() <= size {
            rest.len()
        } else {
            memchr::memchr(b'\n', &rest[size..]).map_or(rest.len(), |i| size + i + 1)
        };
        let (head, tail) = rest.split_at(cut);
        first += pipeline.take_ahead(&Lines { bytes: head, first }, &mut sink);
        rest = tail;
    }
    pipeline.settle(&mut sink);
    let rss_after_bytes = memory("VmRSS:");
    let keys = pipeline.keys();
    pipeline.finish(&mut sink);
    let seconds = started.elapsed().as_secs_f64();
    let events = pipeline.totals().events;
    Report {
        events,
        seconds,
        cpu_seconds: cpu_seconds() - cpu,
        events_per_second: events as f64 / seconds,
        alerts: pipeline.totals().alerts,
        alerts_by_rule: sink.by_rule,
        keys,
        peak_rss_bytes: memory("VmHWM:"),
        rss_before_bytes,
        rss_after_bytes,
        input_bytes: input.len(),
        threads: arguments.threads,
        stages: pipeline.stages(),
    }
}

fn print(report: &Report) {
    outln!(
        "{} events in {:.3} s ({:.3} s of processor), {:.0} events/s, {} alerts, {} keys, peak {} MiB (input {} MiB)",
        report.events,
        report.seconds,
        report.cpu_seconds,
        report.events_per_second,
        report.alerts,
        report.keys,
        report.peak_rss_bytes >> 20,
        report.input_bytes >> 20
    );
    for (rule, alerts) in &report.alerts_by_rule {
        outln!("  {alerts:>8} {rule}");
    }
    let s = report.stages;
    let whole = (s.decode + s.order + s.step + s.alert).max(f64::MIN_POSITIVE);
    for (name, seconds) in [("decode and index", s.decode), ("order", s.order), ("step", s.step), ("alert", s.alert)] {
        outln!("  {:>5.1} % {name}", 100.0 * seconds / whole);
    }
}

/// Writes alerts into memory, as a service would, and counts them.
#[derive(Default)]
struct Tally {
    by_rule: BTreeMap<String, u64>,
    line: Vec<u8>,
}

impl Sink for Tally {
    fn alert(&mut self, alert: &Alert<'_>) {
        self.line.clear();
        alert.write(&mut self.line);
        let name = &alert.rules.rules[alert.body.rule as usize].program.rule.name;
        match self.by_rule.get_mut(name) {
            Some(count) => *count += 1,
            None => drop(self.by_rule.insert(name.clone(), 1)),
        }
    }

    fn rejected(&mut self, _: Rejected) {}
}

/// A line of `/proc/self/status`, in bytes; 0 where there is none.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(name));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Processor time of this process.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
