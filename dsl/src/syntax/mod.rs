//! Syntax: text to a tree and back.
//!
//! `parse` reads one file into an [`ast::File`] or diagnostics, `print` writes the tree in the one
//! canonical layout. Nothing here knows what a name means; that is `check`.

pub mod ast;
mod span;

pub use span::{FileId, Span};
