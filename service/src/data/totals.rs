//! What a pipeline counts, and what it says of itself.

use lapwing_engine::Millis;
use lapwing_engine::shard::Counters;
use serde::Serialize;

/// What a pipeline has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Lines read, empty ones left out.
    pub lines: u64,
    /// Events taken.
    pub events: u64,
    /// Lines that could not be read.
    pub rejected: u64,
    /// Events late or too far ahead.
    pub aside: u64,
    /// Objects that are no declared event.
    pub unknown: u64,
    /// Events that no rule could use, whatever came before: they only moved time.
    pub unused: u64,
    /// Optional fields that were unreadable.
    pub unreadable_fields: u64,
    /// Alerts that left.
    pub alerts: u64,
    /// Alerts held back by `suppress`.
    pub suppressed: u64,
}

/// All that a pipeline has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// By itself.
    pub totals: Totals,
    /// By its shards.
    pub counters: Counters,
}

/// How the events of a log stand in time, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Everything before is judged.
    pub watermark: Option<Millis>,
    /// The latest that was seen.
    pub newest: Option<Millis>,
    /// How many wait for their place.
    pub waiting: usize,
}

/// How much is in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// So many keys.
    pub keys: usize,
    /// About so many bytes.
    pub bytes: usize,
}

/// Seconds spent in each stage by the calling thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Stages {
    /// Decode and index.
    pub decode: f64,
    /// Putting in order.
    pub order: f64,
    /// Matching.
    pub step: f64,
    /// Merging, suppressing and writing alerts.
    pub alert: f64,
}
