//! What all tree builders share: running an entry rule over a piece of text and turning its places into spans.

use pest::Parser;
use pest::iterators::Pair;

use super::scan::Scan;
use super::{Grammar, Rule};
use crate::diagnostics::{Code, Diagnostic};
use crate::syntax::ast::Ident;
use crate::syntax::{FileId, Span};

/// A failure of the grammar: where, in the piece's own bytes, and what could have stood there.
pub(super) struct Failure {
    pub offset: usize,
    pub expected: Vec<Rule>,
}

/// Runs an entry rule over a piece and gives what it holds.
pub(super) fn run(entry: Rule, text: &str) -> Result<Pair<'_, Rule>, Failure> {
    match Grammar::parse(entry, text) {
        Ok(mut pairs) => Ok(pairs.next().expect("an entry rule gives one pair")),
        Err(error) => {
            let offset = match error.location {
                pest::error::InputLocation::Pos(at) => at,
                pest::error::InputLocation::Span((at, _)) => at,
            };
            let expected = match error.variant {
                pest::error::ErrorVariant::ParsingError { positives, .. } => positives,
                pest::error::ErrorVariant::CustomError { .. } => Vec::new(),
            };
            Err(Failure { offset, expected })
        }
    }
}

/// Where the bytes of a piece stand in the file.
pub(super) enum Place<'a> {
    /// The piece is a slice of the file that begins here. Its first word may have been mended, so the
    /// beginning may lie a few bytes off.
    Slice(&'a Scan<'a>, isize),
    /// Byte i of the piece comes from byte `map[i]` of the file: a text whose escapes are resolved.
    Mapped(FileId, &'a [u32]),
}

/// Builds nodes from pairs and collects what is wrong with them.
pub(super) struct Builder<'a> {
    pub place: Place<'a>,
    pub diagnostics: Vec<Diagnostic>,
}

impl<'a> Builder<'a> {
    /// For a slice of a file.
    pub fn slice(scan: &'a Scan<'a>, base: isize) -> Self {
        Builder { place: Place::Slice(scan, base), diagnostics: Vec::new() }
    }

    /// The place of `start..end` of the piece, without the blanks and comments that pest leaves at its end.
    pub fn place(&self, start: usize, end: usize) -> Span {
        match self.place {
            Place::Slice(scan, base) => {
                let at = |offset: usize| usize::try_from(offset as isize + base).unwrap_or(0);
                let (start, end) = (at(start), at(end));
                Span::new(scan.file, start, scan.trim(end).max(start))
            }
            Place::Mapped(file, map) => {
                let last = map.len() - 1;
                Span::new(file, map[start.min(last)] as usize, map[end.min(last)] as usize)
            }
        }
    }

    /// The place of a pair.
    pub fn span(&self, pair: &Pair<Rule>) -> Span {
        let span = pair.as_span();
        self.place(span.start(), span.end())
    }

    /// A name.
    pub fn ident(&self, pair: &Pair<Rule>) -> Ident {
        Ident { text: pair.as_str().to_owned(), span: self.span(pair) }
    }

    /// Complains.
    pub fn complain(&mut self, code: Code, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.diagnostics.push(Diagnostic::new(code, span, message));
        self.diagnostics.last_mut().expect("just pushed")
    }
}

/// The only pair inside.
pub(super) fn only<'i>(pair: Pair<'i, Rule>) -> Pair<'i, Rule> {
    pair.into_inner().next().expect("the grammar has something inside this rule")
}

/// The last pair inside: what follows a keyword.
pub(super) fn last<'i>(pair: Pair<'i, Rule>) -> Pair<'i, Rule> {
    pair.into_inner().last().expect("the grammar has something inside this rule")
}

/// The pair inside of this rule, if there is one.
pub(super) fn find<'i>(pair: &Pair<'i, Rule>, rule: Rule) -> Option<Pair<'i, Rule>> {
    pair.clone().into_inner().find(|p| p.as_rule() == rule)
}

/// The pair inside of this rule, which the grammar demands.
pub(super) fn must<'i>(pair: &Pair<'i, Rule>, rule: Rule) -> Pair<'i, Rule> {
    find(pair, rule).unwrap_or_else(|| panic!("the grammar demands {rule:?} in {:?}", pair.as_rule()))
}

/// All pairs inside of this rule.
pub(super) fn all<'i>(pair: &Pair<'i, Rule>, rule: Rule) -> impl Iterator<Item = Pair<'i, Rule>> {
    pair.clone().into_inner().filter(move |p| p.as_rule() == rule)
}
