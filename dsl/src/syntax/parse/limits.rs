//! Limits on size and depth, checked before the grammar runs: text of any kind ends in a diagnostic, never in
//! an overflowing stack.

use super::scan::{Scan, TokenKind};
use crate::diagnostics::{Code, Diagnostic};
use crate::syntax::{FileId, Span};

/// A file may have this many bytes: some 100,000 rules, and far from the 4 GiB that spans can count.
pub const FILE_BYTES_MAX: usize = 8 << 20;

/// The text of a rule may have this many bytes.
pub const RULE_BYTES_MAX: usize = 64 << 10;

/// Brackets, `not` and unary minus may stand in each other this deep.
pub const NESTING_MAX: usize = 64;

/// Operators that lean on each other, brackets included: the depth of the tree they make. What walks a tree
/// recurses this deep at most. Chains of `and` and `or` are balanced, so they may be as long as they like.
const TREE_DEPTH_MAX: usize = 512;

/// A chain of `and` and `or` adds at most this to the depth.
const LOGIC_DEPTH_MAX: usize = 32;

/// Refuses a file that is too large.
pub(super) fn file_size(file: FileId, text: &str) -> Option<Diagnostic> {
    (text.len() > FILE_BYTES_MAX).then(|| too_large("the file", Span::new(file, 0, 0), text.len(), FILE_BYTES_MAX))
}

/// Refuses a rule that is too large.
pub(super) fn rule_size(span: Span) -> Option<Diagnostic> {
    let bytes = (span.end - span.start) as usize;
    let head = Span { end: span.start + 4, ..span };
    (bytes > RULE_BYTES_MAX).then(|| too_large("the rule", head, bytes, RULE_BYTES_MAX))
}

fn too_large(what: &str, span: Span, given: usize, limit: usize) -> Diagnostic {
    Diagnostic::new(Code::TooLarge, span, format!("{what} has {given} bytes, the limit is {limit}")).help(
        if what == "the file" {
            "split it: all files of a folder are one rule set"
        } else {
            "split it into several rules"
        },
    )
}

/// What is open at one bracket.
#[derive(Default)]
struct Level {
    /// Prefix operators just before the current operand.
    prefixes: usize,
    /// Operators of the current chain.
    operators: usize,
    /// `and` and `or` of the current chain.
    logic: usize,
    /// The deepest bracket in the current term of the chain.
    inner: usize,
    /// The deepest term before the current one.
    deepest: usize,
}

impl Level {
    fn depth(&self) -> usize {
        self.logic.min(LOGIC_DEPTH_MAX) + self.deepest.max(self.operators + self.inner)
    }

    /// A new chain begins: a comma, a clause, the next step of a pattern.
    fn restart(&mut self) {
        *self = Level { deepest: self.deepest.max(self.depth()), ..Level::default() };
    }

    /// `and` or `or` ends a term.
    fn end_term(&mut self) {
        self.deepest = self.deepest.max(self.operators + self.inner);
        (self.operators, self.inner, self.prefixes) = (0, 0, 0);
        self.logic += 1;
    }
}

/// The first place in tokens `from..to` that is nested too deep. `outer` brackets do not count: the braces of
/// the declaration itself.
pub(super) fn nesting(scan: &Scan, from: usize, to: usize) -> Option<Diagnostic> {
    let mut levels = vec![Level::default()];
    let mut open = 0usize;
    for index in from..to {
        let token = scan.tokens[index];
        let outermost = levels.len() == 1;
        let level = levels.last_mut().expect("the outermost level is never closed");
        match token.kind {
            TokenKind::Open(bracket) => {
                if bracket == b'[' {
                    level.operators += 1;
                }
                open += 1 + level.prefixes;
                levels.push(Level::default());
            }
            TokenKind::Close(_) if !outermost => {
                let closed = levels.pop().expect("checked above").depth() + 1;
                let level = levels.last_mut().expect("checked above");
                level.inner = level.inner.max(closed);
                open -= 1 + level.prefixes;
                level.prefixes = 0;
            }
            TokenKind::Sign(b',' | b'&' | b'|' | b':' | b';') => level.restart(),
            TokenKind::Sign(b'-') if !after_operand(scan, index) => {
                level.prefixes += 1;
                level.operators += 1;
            }
            TokenKind::Sign(_) => level.operators += 1,
            TokenKind::Word => word(scan.word(index), token.first_on_line, level),
            _ => level.prefixes = 0,
        }
        let level = levels.last().expect("the outermost level is never closed");
        // The declaration's own braces are one level that nobody counts.
        if open + level.prefixes > NESTING_MAX + 1 || level.depth() > TREE_DEPTH_MAX {
            return Some(too_deep(scan, index, open + level.prefixes > NESTING_MAX + 1));
        }
    }
    None
}

fn word(word: &str, first_on_line: bool, level: &mut Level) {
    match word {
        "then" | "where" | "until" => level.restart(),
        "and" | "or" => level.end_term(),
        "not" => {
            level.prefixes += 1;
            level.operators += 1;
        }
        "in" | "is" | "like" | "ilike" | "matches" => {
            level.prefixes = 0;
            level.operators += 1;
        }
        _ if first_on_line && super::split::CLAUSES.contains(&word) => level.restart(),
        _ => level.prefixes = 0,
    }
}

fn after_operand(scan: &Scan, index: usize) -> bool {
    let Some(before) = index.checked_sub(1) else { return false };
    match scan.tokens[before].kind {
        TokenKind::Number | TokenKind::Text | TokenKind::Close(_) => true,
        TokenKind::Word => {
            !matches!(scan.word(before), "and" | "or" | "not" | "in" | "like" | "where" | "until" | "when")
        }
        _ => false,
    }
}

fn too_deep(scan: &Scan, index: usize, brackets: bool) -> Diagnostic {
    let message = if brackets {
        format!("more than {NESTING_MAX} levels of nesting")
    } else {
        format!("more than {TREE_DEPTH_MAX} operators lean on each other here")
    };
    Diagnostic::new(Code::NestingTooDeep, scan.span(index), message)
        .help("name a part of it as a `feature`, or make two rules of one")
}
