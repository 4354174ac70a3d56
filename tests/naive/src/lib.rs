//! The slow, obvious matcher that the engine is held against.
//!
//! It interprets the syntax tree and shares nothing else with the compiler or the engine: values, conditions, runs and
//! windows are written a second time here, straight from the description of the language, with no regard to speed.
//! What it leaves out: events derived when a window closes.
//!
//! An input line goes `event` (decode) → `stream` (order, time) → `select` (which matches) → `run` (one run, one
//! event) → `way` (the pattern), `eval` (the conditions) and `over` (the windows). Before, `features` writes features out.

mod aggregates;
mod calendar;
mod closing;
mod data;
mod eval;
mod event;
mod features;
mod functions;
mod kept;
mod migrate;
mod over;
mod rule;
mod run;
mod select;
mod strata;
mod stream;
mod value;
mod way;
mod windows;

use std::collections::BTreeMap;

pub use event::DERIVED;
pub use stream::{run, run_with_changes};

/// How events are put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they come.
    Arrival,
    /// By their time.
    EventTime,
}

/// How the input is read.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The order of processing.
    pub order: Order,
    /// How far the watermark lags behind the greatest time seen.
    pub lateness_ms: i64,
}

/// A change of rules, lists or tables while events flow.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The input line before which it takes over.
    pub at_line: usize,
    /// The whole rule set from then on.
    pub files: &'a [lapwing_dsl::syntax::ast::File],
    /// What becomes of lists and tables, as control messages.
    pub messages: &'a [serde_json::Value],
}

/// What a run over an input gives.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Alerts in the order in which they are raised.
    pub alerts: Vec<Alert>,
    /// Lines that came behind the watermark.
    pub late: Vec<usize>,
    /// Lines with an event whose required field was missing or unreadable.
    pub rejected: Vec<usize>,
}

/// An alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// The rule's name.
    pub rule: String,
    /// Its number among the revisions of one alert.
    pub revision: u64,
    /// `open`, `updated` or `closed`.
    pub status: String,
    /// The severity, where the rule has one.
    pub severity: Option<String>,
    /// The key's fields and values, null where missing.
    pub key: Vec<(String, serde_json::Value)>,
    /// The time of the first event bound.
    pub first_at: i64,
    /// The time of the last event, or the deadline of the absence that completed the match.
    pub at: i64,
    /// The input lines bound to each step, in match order; numbers from [`DERIVED`] on for derived events.
    pub evidence: BTreeMap<String, Vec<usize>>,
    /// What `emit` gives; missing values are left out.
    pub fields: serde_json::Map<String, serde_json::Value>,
    /// The message, where the rule has one.
    pub message: Option<String>,
    /// What models answered to what it rests on and tells, as JSON.
    pub models: Vec<serde_json::Value>,
    /// How many alerts were held back since the one before.
    pub suppressed: u64,
}
