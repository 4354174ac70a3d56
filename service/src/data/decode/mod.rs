//! Decoding: bytes of an outside format to rows of a batch.
//!
//! `plan` says what is wanted, `json` is the full parser, `shape` the fast way for lines like those before, `field` reads one value.

pub mod field;
pub mod json;
pub mod plan;
pub mod shape;
