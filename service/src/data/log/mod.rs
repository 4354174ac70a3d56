//! Logs: where events come from in the one order that makes the result, and where the result is committed.
//!
//! `embedded` is the log on this machine's disk: `frame` are its records as bytes, `segments` its files, `numbered` finds lines in them, and
//! `events` is the log as a matcher reads it, `reached` how far that has come.

pub mod embedded;
pub mod events;
pub mod frame;
pub mod numbered;
pub mod reached;
pub mod segments;
