//! Swaps the rule set under live state and keeps what can be kept.
//!
//! `same` finds what an old and a new rule set have in common: events, windows, rules, the steps and terms of two rules of one name.
//! `replay` leads the events that a run has bound through the new automaton. `swap` does it for all that a shard holds,
//! and `outlook` tells beforehand what it will do.
//!
//! Fields are told apart by their names: `renumber` gives those of the old rule set the numbers that they have now.
//!
//! - A rule whose meaning is the same keeps everything.
//! - Of a rule that changed or went, what waits to be reported leaves under the old one: complete matches (`report final`) are reported,
//!   open alerts (`report updates`) are closed. The runs that stood behind these go with them.
//! - Every other run of a changed rule lives on where its events still begin the new pattern: each is bound to the step of its name,
//!   within the limits, and meets the terms of that step's condition that are new, as far as the fields that are known of it tell; and then
//!   the steps awaited are those of the same names as before.
//! - A window lives on where the new rule set has the same one.
//!
//! The matcher in `tests/naive` decides the same by itself.

pub mod outlook;
mod renumber;
mod replay;
mod same;
mod swap;

pub(crate) use same::Fate;
pub use same::suppresses_on;
pub use swap::Swapped;
