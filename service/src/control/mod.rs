//! The way of a rule: files and control messages to rule sets.
//!
//! `files` reads rule files, `message` is a change as JSON, `catalog` holds all rules and makes the next rule set, `story` is how
//! it came to be.

pub mod catalog;
pub mod files;
pub mod message;
pub mod story;
