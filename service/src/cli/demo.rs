//! `lapwing demo`: the seed rules on a generated stream, with the alerts drawn for a person.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lapwing_dsl::diagnostics::Code;
use lapwing_dsl::load;
use lapwing_dsl::syntax::Sources;

use super::{Exit, filled_rule_set, refuse};
use crate::control::files::{Rules, read};
use crate::data::alert::Alert;
use crate::data::generate::{Settings, generate};
use crate::data::pipeline::{Lines, Options, Pipeline, Rejected, Sink};

/// The rules that the demo runs, as they stand in `rules/`.
const RULES: [(&str, &str); 5] = [
    ("rules/events.lap", include_str!("../../../rules/events.lap")),
    ("rules/seed/failed_logins.lap", include_str!("../../../rules/seed/failed_logins.lap")),
    ("rules/seed/impossible_travel.lap", include_str!("../../../rules/seed/impossible_travel.lap")),
    ("rules/seed/mass_sharing.lap", include_str!("../../../rules/seed/mass_sharing.lap")),
    ("rules/seed/rising_withdrawals.lap", include_str!("../../../rules/seed/rising_withdrawals.lap")),
];

/// Arguments of `demo`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Rule files, or folders of them, to run beside the seed rules: they may use the events of those.
    #[arg(long, num_args = 1..)]
    rules: Vec<PathBuf>,
    /// A folder with the entries of lists and the rows of tables: NAME.txt, NAME.csv or NAME.json.
    #[arg(long)]
    data: Option<PathBuf>,
    /// How many events.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// How many alerts of each rule to show.
    #[arg(long, default_value_t = 3)]
    show: u64,
    /// Equal seeds give equal streams.
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Exit {
    let mut sources = Sources::default();
    for (name, text) in RULES {
        sources.add(name, text);
    }
    let own = match read(&arguments.rules) {
        Ok(own) => own,
        Err(error) => return refuse(error),
    };
    if own.loaded.diagnostics.iter().any(|d| d.code == Code::NotUtf8) {
        super::check::print_findings(&own, super::Format::Text);
        return Exit::DoesNotCompile;
    }
    for (_, source) in own.sources.iter() {
        sources.add(source.path.clone(), source.text.clone());
    }
    let rules = Rules { loaded: load(&sources), sources };
    if !rules.compiles() {
        super::check::print_findings(&rules, super::Format::Text);
        return Exit::DoesNotCompile;
    }
    let rule_set = match filled_rule_set(&rules, arguments.data.as_deref()) {
        Ok(rule_set) => rule_set,
        Err(exit) => return exit,
    };
    outln!("Rules:");
    for program in &rules.loaded.programs {
        outln!("  {:<20} {}", program.rule.name, program.rule.title);
    }
    let settings = Settings {
        events: arguments.events,
        users: 100_000,
        seed: arguments.seed,
        rate: 1000.0,
        attacks: 0.0005,
        skew: 1.0,
        disorder: 2_000,
        start: 1_760_000_000_000,
    };
    outln!("\n{} logins, shares and withdrawals of {} users, up to 2 s out of order:", settings.events, settings.users);
    let mut stream = Vec::new();
    if let Err(error) = generate(&settings, &mut stream) {
        return refuse(error);
    }
    let options =
        Options { lateness: settings.disorder as i64, sources: vec!["demo".to_owned()], ..Options::default() };
    let mut pipeline = Pipeline::new(rule_set, options, 1);
    let mut show = Show { most: arguments.show, seen: BTreeMap::new() };
    let started = std::time::Instant::now();
    let mut first = 0;
    let mut rest = &stream[..];
    while !rest.is_empty() {
        let cut = memchr::memchr(b'\n', rest.get(1 << 18..).unwrap_or(&[])).map_or(rest.len(), |i| (1 << 18) + i + 1);
        let (head, tail) = rest.split_at(cut);
        first += pipeline.take(&Lines { bytes: head, first }, &mut show);
        rest = tail;
    }
    pipeline.finish(&mut show);
    let seconds = started.elapsed().as_secs_f64();
    outln!("\nAlerts:");
    for program in &rules.loaded.programs {
        outln!("  {:>6} {}", show.seen.get(&program.rule.name).copied().unwrap_or(0), program.rule.name);
    }
    let events = pipeline.totals().events;
    outln!("{events} events judged in {seconds:.2} s on one thread, {:.0} a second", events as f64 / seconds);
    Exit::Well
}

/// Shows the first few alerts of each rule.
struct Show {
    most: u64,
    seen: BTreeMap<String, u64>,
}

impl Sink for Show {
    fn alert(&mut self, alert: &Alert<'_>) {
        let name = &alert.rules.rules[alert.body.rule as usize].program.rule.name;
        let seen = self.seen.entry(name.clone()).or_insert(0);
        *seen += 1;
        if *seen <= self.most {
            let mut line = Vec::new();
            alert.write(&mut line);
            let at = lapwing_dsl::functions::timestamp_text(alert.body.at);
            let message = alert.body.message.as_deref().unwrap_or(name);
            outln!("\n{at} {} {name}: {message}", alert.body.severity.to_uppercase());
            out!("  {}", String::from_utf8_lossy(&line));
        }
    }

    fn rejected(&mut self, _: Rejected) {}
}
