//! Text to tree.
//!
//! 1. `scan` finds tokens, comments and bracket partners, `limits` refuses what is too large or too deep.
//! 2. `split` cuts the file into declarations and rules into clauses.
//! 3. Each piece is read by an entry rule of `grammar.pest`; `explain` turns a failure into a sentence.
//! 4. `decl`, `rule`, `pattern`, `expr`, `literal`, `message` and `test` build the tree.
//!
//! A mistake costs the piece it is in, never the rest of the file: all of them are reported at once.

mod build;
mod decl;
mod explain;
mod expr;
mod limits;
mod literal;
mod message;
mod pattern;
mod rule;
mod scan;
mod split;
mod test;

use super::{FileId, Span, ast};
use crate::diagnostics::Diagnostic;
use scan::Scan;

pub(super) use expr::{CHAIN_MAX, term_count};

pub use limits::{FILE_BYTES_MAX, NESTING_MAX, RULE_BYTES_MAX};

/// What reading a file gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// What could be read; none if the file is too large to be looked at. Where there are errors, the pieces
    /// they are in are left out or guessed.
    pub file: Option<ast::File>,
    /// What is wrong, in the order of the text. Empty: the file follows the grammar.
    pub diagnostics: Vec<Diagnostic>,
}

/// The generated parser.
#[derive(pest_derive::Parser)]
#[grammar = "syntax/grammar.pest"]
struct Grammar;

/// Reads one file.
pub fn parse(file: FileId, text: &str) -> Parsed {
    if let Some(refused) = limits::file_size(file, text) {
        return Parsed { file: None, diagnostics: vec![refused] };
    }
    let scan = Scan::new(file, text);
    let mut diagnostics = scan.open_texts();
    let mut decls = Vec::new();
    for piece in split::declarations(&scan, &mut diagnostics) {
        let span = piece_span(&scan, piece);
        let refused = limits::nesting(&scan, piece.from, piece.to)
            .or_else(|| limits::rule_size(span).filter(|_| piece.keyword == "rule"));
        if let Some(refused) = refused {
            diagnostics.push(refused);
            continue;
        }
        let decl = match piece.keyword {
            "rule" => rule::read(&scan, piece, &mut diagnostics),
            _ => decl::read(&scan, piece, &mut diagnostics),
        };
        decls.extend(decl);
    }
    diagnostics.sort_by_key(|d| (d.primary.span.start, d.code));
    diagnostics.dedup_by_key(|d| (d.primary.span.start, d.code));
    Parsed { file: Some(ast::File { decls, comments: scan.comments }), diagnostics }
}

fn piece_span(scan: &Scan, piece: split::Piece) -> Span {
    scan.span(piece.from).to(scan.span(piece.to - 1))
}
