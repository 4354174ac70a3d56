//! The data path: lines in, alerts out.
//!
//! `decode` makes rows of a line and `lines` batches of many, `pipeline` takes them through order and shards, `alert` writes what comes out, `state` gives all of
//! it as bytes, and `store` keeps those on disk.

pub mod alert;
pub mod alert_file;
pub mod cards;
pub mod checkpoint;
pub mod decode;
pub mod generate;
pub mod kafka;
mod lines;
pub mod log;
pub mod matcher;
pub mod pipeline;
mod processing;
pub mod replace;
pub mod state;
pub mod store;
