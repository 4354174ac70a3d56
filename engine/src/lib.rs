//! The Lapwing matching engine: events and rule sets in, matches out.
//!
//! The way of an event: `batch` (columns of the fields that rules read) → `index` (which rules may begin with it) → `order` (one
//! total order, late events) → `shard` (`slot` → `run`) → `output`. The engine does no IO, reads no clock, starts no
//! thread, uses no async and knows no JSON; time is an argument.

pub mod aggregate;
pub mod asking;
pub mod batch;
pub mod bound;
pub mod data;
pub mod eval;
pub mod exact;
pub mod index;
pub mod key;
pub mod limits;
pub mod migrate;
pub mod order;
pub mod output;
pub mod planted;
pub mod rule_set;
pub mod run;
pub mod shard;
pub mod slab;
pub mod slot;
pub mod state;
pub mod store;
pub mod strata;
pub mod suppress;
pub mod terms;
pub mod window;

/// A time or a length of time in milliseconds; times count from 1970.
pub type Millis = i64;
