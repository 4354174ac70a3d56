//! What the tests share: judging lines with the engine in this process.

pub mod engine;
