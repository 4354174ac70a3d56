//! The data path: lines in, alerts out.
//!
//! `decode` makes rows of a line and `lines` batches of many, `pipeline` takes them through order and shards, `alert` writes what comes out (`alert_schema` describes that), `state` gives all of
//! it as bytes, and `store` keeps those on disk.
//!
//! Of a service `log` keeps what comes and what that gave, and `matcher` judges it. `followed` is what was committed, for those who hand alerts on: `alert_file`
//! and `webhook`. `dead_letters` are the events that were not taken, and
//! `topic_letters` those over Kafka. `file_source` takes lines of files in beside those that come by HTTP. All of a service is in one `folder`, which `archive` makes one file of.

pub mod alert;
pub mod alert_file;
pub mod alert_schema;
pub mod archive;
pub mod cards;
pub mod checkpoint;
pub mod dead_letters;
pub mod decode;
pub mod event_log;
pub mod file_source;
pub mod folder;
pub mod followed;
pub mod generate;
pub mod kafka;
pub mod kafka_log;
mod lines;
pub mod log;
pub mod matcher;
pub mod pipeline;
mod processing;
pub mod replace;
pub mod state;
pub mod store;
pub mod topic_letters;
pub mod totals;
pub mod webhook;
