//! State as bytes: a versioned format that refuses what it does not know.
//!
//! `codec` writes and reads plain values, `group` one key group, `key` one key of it, `rest` what is not by key (order, suppression), `seal` puts a
//! header before a whole state and a hash behind it. The bytes name rules, spaces and windows by their index in the rule set they were saved under; the caller saves that rule set's texts beside
//! them.

pub mod codec;
pub mod group;
pub mod key;
pub mod rest;
pub mod seal;

/// The version of the format that this engine writes. What an older one lacks is told apart by [`codec::Reader::version`].
///
/// - 8: the reading of the clock, and the state of rules by processing time, behind all else of a pipeline.
/// - 7: which events that wait came late, until when alerts that were held back may be revised, and when rules that close windows for rows last
///   counted an event.
/// - 6: from when to when events were taken, and from when on rules close windows for rows.
/// - 5: the numbers of the strata's events behind a pipeline's key groups; the rules' texts in the state of a run.
pub const FORMAT_VERSION: u16 = 8;

/// The oldest version that this engine reads; a state of each is kept with the tests.
pub const OLDEST_VERSION: u16 = 4;
