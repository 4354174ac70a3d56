//! Models: ONNX files that rules ask for scores, run by the library `onnxruntime`.
//!
//! `proto` reads of a file what is asked of it before anything runs it, `signature` holds that against the declaration, `session` runs it behind
//! the engine's trait, `golden` holds its answers against those that came with it, `deploy` does all of this in order. `library` finds the
//! library, `versions` are those of a model with their stages, `folder` reads the
//! files of `--data`, `change` what a control message says.

pub mod change;
pub mod deploy;
pub mod folder;
pub mod golden;
pub mod library;
mod proto;
pub mod session;
mod signature;
pub mod versions;
