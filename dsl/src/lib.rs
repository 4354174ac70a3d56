//! The Lapwing rule language.
//!
//! Text becomes a tree (`syntax`), the tree becomes typed rules or diagnostics (`check`), typed rules
//! become programs (`compile`). This crate does no IO, reads no clock, starts no thread and never
//! lets hash order reach a result.

pub mod calendar;
pub mod check;
pub mod compile;
pub mod diagnostics;
pub mod explain;
pub mod functions;
pub mod ir;
mod load;
pub mod nfa;
pub mod program;
pub mod regex;
pub mod schema;
pub mod strata;
pub mod syntax;
pub mod value;

pub use load::{Loaded, load};
