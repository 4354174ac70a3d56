//! The way of a rule: files and control messages to rule sets.
//!
//! `files` reads rule files, `message` is a change as JSON, `catalog` holds all rules and makes the next rule set, `story` is how
//! it came to be. Of a running service `history` keeps the changes, and `rollout` takes new ones, with Kafka from a
//! `topic`; `uploads` are files of models that come in chunks before; `plan` says before what they do.

pub mod catalog;
pub mod files;
pub mod history;
pub mod message;
pub mod plan;
pub mod rollout;
pub mod story;
pub mod topic;
pub mod uploads;
mod versions;
