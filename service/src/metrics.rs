//! What a service counts and times, for Prometheus: <https://prometheus.io/docs/practices/naming/>.
//!
//! Everything is counted where it happens, by who has it at hand: the matcher its batches, epochs and saves ([`Matching`]), the HTTP side its requests
//! ([`Http`]). Names of rules are labels, bounded in number.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::data::totals::{Counted, Size, Times, Totals};

/// So many rules have a name of their own in labels; all others share [`OTHER`].
pub const RULES_MAX: usize = 1_000;

/// The label of the rules that have none of their own.
pub const OTHER: &str = "(other)";

/// What begins every name.
const NAMESPACE: &str = "lapwing";

/// All that is counted.
pub struct Metrics {
    registry: Registry,
    names: Vec<String>,
    /// By the matcher.
    pub matching: Matching,
    /// By the HTTP side.
    pub http: Http,
}

/// What the matcher counts.
pub struct Matching {
    lines: IntCounter,
    events: IntCounter,
    unknown: IntCounter,
    unused: IntCounter,
    unreadable_fields: IntCounter,
    rejected: IntCounterVec,
    alerts: IntCounterVec,
    suppressed: IntCounter,
    expression_errors: IntCounter,
    missing_keys: IntCounter,
    runs_capped: IntCounter,
    watermark: Gauge,
    newest: Gauge,
    waiting: IntGauge,
    batch: Histogram,
    end_to_end: Histogram,
    epochs: IntCounter,
    epoch: Histogram,
    saves: IntCounterVec,
    save: Histogram,
    state_bytes: IntGauge,
    keys: IntGauge,
    runs: IntGaugeVec,
    generation: IntGauge,
    changes: IntCounter,
    active: IntGauge,
}

/// What the HTTP side counts.
pub struct Http {
    requests: IntCounterVec,
    seconds: HistogramVec,
}

/// Makes metrics and makes them known.
#[derive(Default)]
struct Maker {
    registry: Registry,
    names: RefCell<Vec<String>>,
}

impl Maker {
    fn known<M: prometheus::core::Collector + Clone + 'static>(&self, made: prometheus::Result<M>) -> M {
        let made = made.expect("names and labels are well formed");
        self.names.borrow_mut().extend(made.desc().iter().map(|desc| desc.fq_name.clone()));
        self.registry.register(Box::new(made.clone())).expect("no name is given twice");
        made
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.known(IntCounter::with_opts(Opts::new(name, help).namespace(NAMESPACE)))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.known(IntCounterVec::new(Opts::new(name, help).namespace(NAMESPACE), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.known(IntGauge::with_opts(Opts::new(name, help).namespace(NAMESPACE)))
    }

    fn time(&self, name: &str, help: &str) -> Gauge {
        self.known(Gauge::with_opts(Opts::new(name, help).namespace(NAMESPACE)))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts::new(name, help).namespace(NAMESPACE).buckets(buckets.to_vec());
        self.known(Histogram::with_opts(opts))
    }
}

/// From a tenth of a millisecond to ten seconds, three a decade.
const SECONDS: [f64; 16] =
    [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

impl Default for Metrics {
    fn default() -> Metrics {
        let maker = Maker::default();
        #[cfg(target_os = "linux")]
        maker
            .registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .expect("its names are its own");
        let version = Opts::new("build_info", "Which version runs; always 1.").namespace(NAMESPACE);
        let version = version.const_label("version", env!("CARGO_PKG_VERSION"));
        maker.known(IntGauge::with_opts(version)).set(1);
        let matching = Matching::of(&maker);
        let http = Http {
            requests: maker.counters(
                "http_requests_total",
                "Requests that were answered.",
                &["method", "route", "status"],
            ),
            seconds: maker.known(HistogramVec::new(
                HistogramOpts::new(
                    "http_request_duration_seconds",
                    "Time from a request's head to the head of its answer.",
                )
                .namespace(NAMESPACE)
                .buckets(SECONDS.to_vec()),
                &["route"],
            )),
        };
        Metrics { registry: maker.registry, names: maker.names.into_inner(), matching, http }
    }
}

impl Matching {
    fn of(maker: &Maker) -> Matching {
        let made = Matching {
            lines: maker.counter("lines_total", "Lines or messages read, empty ones left out."),
            events: maker.counter("events_total", "Events taken."),
            unknown: maker.counter("unknown_objects_total", "Objects that are no declared event."),
            unused: maker.counter("unused_events_total", "Events that no rule could use, whatever came before."),
            unreadable_fields: maker
                .counter("unreadable_fields_total", "Optional fields that were there and could not be read."),
            rejected: maker.counters(
                "rejected_total",
                "Lines that gave no event: bad, late, or too far ahead of the clock.",
                &["reason"],
            ),
            alerts: maker.counters("alerts_total", "Alerts that left, with their revisions.", &["rule", "severity"]),
            suppressed: maker.counter("alerts_suppressed_total", "Alerts held back by `suppress`."),
            expression_errors: maker
                .counter("expression_errors_total", "Faults in expressions, read as missing values."),
            missing_keys: maker.counter("missing_keys_total", "Events that had no key for some rule."),
            runs_capped: maker.counter("runs_capped_total", "Runs that a cap took."),
            watermark: maker
                .time("watermark_timestamp_seconds", "Event time up to which everything is judged, since 1970."),
            newest: maker.time("newest_event_timestamp_seconds", "The latest event time seen, since 1970."),
            waiting: maker.gauge("waiting_events", "Events that wait for their place in time."),
            batch: maker.histogram("batch_duration_seconds", "Time that judging one batch took.", &SECONDS),
            end_to_end: maker.histogram(
                "end_to_end_duration_seconds",
                "Time from when the first event of an epoch was read until what it gave was committed.",
                &SECONDS,
            ),
            epochs: maker.counter("epochs_total", "Epochs committed."),
            epoch: maker.histogram("epoch_commit_duration_seconds", "Time that committing an epoch took.", &SECONDS),
            saves: maker.counters("saves_total", "Saves of the state, by how they ended.", &["outcome"]),
            save: maker.histogram("save_duration_seconds", "Time that a save took, beside the matcher.", &SECONDS),
            state_bytes: maker.gauge("state_bytes", "About how much memory the state took at the last save."),
            keys: maker.gauge("keys", "Keys in memory at the last save."),
            runs: maker.known(IntGaugeVec::new(
                Opts::new("runs", "Runs that lived at the last save, by rule.").namespace(NAMESPACE),
                &["rule"],
            )),
            generation: maker.gauge("generation", "The generation of the rule set that judges."),
            changes: maker.counter("changes_total", "Changes of the catalog that took over."),
            active: maker.gauge("active", "1 where this instance judges, 0 where it stands by."),
        };
        for reason in ["bad", "late", "ahead"] {
            made.rejected.with_label_values(&[reason]);
        }
        for outcome in ["ok", "failed"] {
            made.saves.with_label_values(&[outcome]);
        }
        made
    }

    /// Adds what was counted since the last time.
    pub fn add(&self, last: &Counted, now: &Counted) {
        let more = |last: u64, now: u64| now.saturating_sub(last);
        let (a, b): (&Totals, &Totals) = (&last.totals, &now.totals);
        for (counter, last, now) in [
            (&self.lines, a.lines, b.lines),
            (&self.events, a.events, b.events),
            (&self.unknown, a.unknown, b.unknown),
            (&self.unused, a.unused, b.unused),
            (&self.unreadable_fields, a.unreadable_fields, b.unreadable_fields),
            (&self.suppressed, a.suppressed, b.suppressed),
            (&self.expression_errors, last.counters.rule_errors, now.counters.rule_errors),
            (&self.missing_keys, last.counters.missing_keys, now.counters.missing_keys),
            (&self.runs_capped, last.counters.runs_capped, now.counters.runs_capped),
        ] {
            counter.inc_by(more(last, now));
        }
    }

    /// A batch was judged.
    pub fn batch(&self, took: Duration) {
        self.batch.observe(took.as_secs_f64());
    }

    /// How events stand in time.
    pub fn times(&self, times: Times) {
        let seconds = |ms: i64| ms as f64 / 1_000.0;
        times.watermark.into_iter().for_each(|at| self.watermark.set(seconds(at)));
        times.newest.into_iter().for_each(|at| self.newest.set(seconds(at)));
        self.waiting.set(times.waiting as i64);
    }

    /// A line gave no event.
    pub fn rejected(&self, reason: &str) {
        self.rejected.with_label_values(&[reason]).inc();
    }

    /// An alert of a rule left.
    pub fn alert(&self, labels: &mut Labels, rule: &str, severity: &str) {
        self.alerts.with_label_values(&[labels.of(rule), severity]).inc();
    }

    /// An epoch was committed; its first event was read so long ago.
    pub fn epoch(&self, took: Duration, since_read: Option<Duration>) {
        self.epochs.inc();
        self.epoch.observe(took.as_secs_f64());
        since_read.into_iter().for_each(|since| self.end_to_end.observe(since.as_secs_f64()));
    }

    /// A save has ended.
    pub fn saved(&self, well: bool, took: Duration) {
        self.saves.with_label_values(&[if well { "ok" } else { "failed" }]).inc();
        if well {
            self.save.observe(took.as_secs_f64());
        }
    }

    /// How much the state holds, and how many runs live by rule.
    pub fn state(&self, labels: &mut Labels, size: Size, runs: &BTreeMap<String, usize>) {
        self.keys.set(size.keys as i64);
        self.state_bytes.set(size.bytes as i64);
        self.runs.reset();
        for (rule, runs) in runs {
            self.runs.with_label_values(&[labels.of(rule)]).add(*runs as i64);
        }
    }

    /// A rule set judges from here on.
    pub fn generation(&self, generation: u64) {
        self.generation.set(generation as i64);
    }

    /// A change took over.
    pub fn changed(&self, generation: u64) {
        self.changes.inc();
        self.generation(generation);
    }

    /// Whether this instance judges.
    pub fn is_active(&self, active: bool) {
        self.active.set(active.into());
    }
}

impl Http {
    /// A request was answered.
    pub fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        self.requests.with_label_values(&[method, route, &status.to_string()]).inc();
        self.seconds.with_label_values(&[route]).observe(took.as_secs_f64());
    }
}

impl Metrics {
    /// All of them, in the text format of Prometheus.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// The names of all metrics that are Lapwing's own; a histogram's without its endings.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

/// Which rules have labels of their own: the first so many that have something to tell.
#[derive(Debug, Default)]
pub struct Labels(HashSet<String>);

impl Labels {
    /// The label of a rule.
    pub fn of<'r>(&mut self, rule: &'r str) -> &'r str {
        if self.0.contains(rule) {
            return rule;
        }
        if self.0.len() >= RULES_MAX {
            return OTHER;
        }
        self.0.insert(rule.to_owned());
        rule
    }
}
