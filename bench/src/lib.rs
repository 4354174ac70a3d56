//! The path of an event in parts that are measured apart.
//!
//! Each part works on a small seeded stream of the project's own generator, held in memory, and does the same work each time: one
//! thread, fixed hash secrets, no clock and no files. `benches/parts.rs` times the parts; `bin/part.rs` runs one of
//! them once, under a tool that counts its instructions; `guard` compares such counts with those that were accepted. `window` holds a window of a
//! million entries, whose events `benches/windows.rs` times; `trees` makes models.

pub mod guard;
mod part;
pub mod trees;
pub mod window;

pub use part::{Part, Prepared};
