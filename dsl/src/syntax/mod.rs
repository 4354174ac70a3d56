//! Syntax: text to a tree and back.
//!
//! `parse` reads one file into an [`ast::File`] or diagnostics, `print` writes the tree in the one
//! canonical layout. Nothing here knows what a name means; that is `check`.

pub mod ast;
mod parse;
mod print;
mod source;
mod span;

pub use parse::{FILE_BYTES_MAX, NESTING_MAX, Parsed, RULE_BYTES_MAX, parse};
pub use print::print;
pub use source::{Position, Source, Sources};
pub use span::{FileId, Span};
