//! Random rule sets and streams, judged by the naive matcher and by the engine.
//!
//! `rng` gives the numbers, `pattern`, `condition` and `clause` write a rule, `stream` its events, `case` puts them together from one
//! seed; `data` fills lists and tables, `construct` names what must occur, `change` changes rules
//! on the way, `control` writes whole control files, `times` sets some cases about the moments at which clocks are changed. `judge` holds the matchers against each other, `shrink` makes a case that
//! differs small, and `campaign` runs many.

pub mod campaign;
pub mod case;
pub mod change;
mod clause;
mod condition;
pub mod construct;
pub mod control;
pub mod data;
mod derive;
pub mod judge;
mod pattern;
pub mod rng;
mod shrink;
mod stream;
mod times;
