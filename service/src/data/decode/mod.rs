//! Decoding: bytes of an outside format to rows of a batch.

pub mod field;
pub mod json;
pub mod plan;
