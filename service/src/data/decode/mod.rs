//! Decoding: bytes of an outside format to rows of a batch.
//!
//! `plan` says what is wanted, `json` is the full parser. `shape` is the fast way for lines like those before: `learn` makes the shapes, `scan`
//! finds where a line's quotes stand. `field` reads one value, `number` a short number.

pub mod field;
pub mod json;
mod learn;
mod number;
pub mod plan;
pub mod scan;
pub mod shape;
