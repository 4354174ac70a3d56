//! What the tests share: judging lines with the engine in this process, and random rules and streams.

pub mod engine;
pub mod onnx;
mod places;
pub mod random;
pub mod scenario;
pub mod schema;
