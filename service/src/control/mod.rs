//! The way of a rule: files and control messages to rule sets.

pub mod files;
