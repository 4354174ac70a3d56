//! What `run` tells on the terminal.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use crate::data::pipeline::Pipeline;

/// Shows on a terminal how far it has come.
pub struct Progress {
    shown: bool,
    last: Instant,
    started: Instant,
}

impl Progress {
    /// Counts from now; silent where nobody looks.
    pub fn new(quiet: bool) -> Progress {
        let now = Instant::now();
        Progress { shown: !quiet && io::stderr().is_terminal(), last: now, started: now }
    }

    /// Says how far it is, a few times a second.
    pub fn show(&mut self, pipeline: &Pipeline) {
        if !self.shown || self.last.elapsed() < Duration::from_millis(200) {
            return;
        }
        self.last = Instant::now();
        let totals = pipeline.totals();
        let rate = totals.events as f64 / self.started.elapsed().as_secs_f64();
        err!("\r{} events, {} alerts, {rate:.0} events/s ", totals.events, totals.alerts);
    }
}

/// The closing summary.
pub fn summary(pipeline: &Pipeline, elapsed: Duration) {
    let totals = pipeline.totals();
    let counters = pipeline.counters();
    if io::stderr().is_terminal() {
        err!("\r");
    }
    let rate = totals.events as f64 / elapsed.as_secs_f64().max(1e-9);
    errln!(
        "{} events in {:.2} s ({rate:.0} a second), {} alerts ({} held back)",
        totals.events,
        elapsed.as_secs_f64(),
        totals.alerts,
        totals.suppressed
    );
    let notes = [
        (totals.rejected, "lines could not be read"),
        (totals.aside, "events were late or too far ahead"),
        (totals.unknown, "objects are no declared event"),
        (totals.unused, "events were of no use to any rule"),
        (totals.unreadable_fields, "optional fields were unreadable and count as missing"),
        (
            counters.rule_errors,
            "rule errors (overflow, division by zero, bad cast, a model that fails) count as missing",
        ),
        (counters.missing_keys, "times an event had no key for a rule"),
    ];
    for (count, what) in notes.iter().filter(|(count, _)| *count > 0) {
        errln!("{count} {what}");
    }
}
