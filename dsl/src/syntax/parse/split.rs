//! Cuts a file into declarations and a rule into clauses, whatever is wrong inside them.
//!
//! Recovery rests on layout. A declaration begins with its keyword and ends at the partner of its brace; where
//! braces do not pair, every line that looks like the beginning of a declaration is one. A clause begins where
//! the first word of a line, directly between the rule's braces, is a clause's name; inside further brackets
//! (`emit { title: … }`) and before a colon such a word is a name like any other.

use super::scan::{Scan, Token, TokenKind};
use crate::diagnostics::{Code, Diagnostic, nearest};

/// The names of clauses, in the order in which a rule usually has them.
pub(super) const CLAUSES: [&str; 17] = [
    "title", "severity", "risk", "tags", "by", "match", "window", "within", "when", "emit", "message", "suppress",
    "skip", "report", "stop", "lateness", "time",
];

/// The keywords of declarations.
pub(super) const DECLARATIONS: [&str; 7] = ["event", "list", "table", "model", "feature", "rule", "test"];

/// A declaration's tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// The keyword as it should be written.
    pub keyword: &'static str,
    /// The keyword's token.
    pub from: usize,
    /// One past the last token.
    pub to: usize,
    /// Whether its keyword or its brackets are already complained of.
    pub broken: bool,
}

/// Cuts a file into declarations and complains of what is none.
pub(super) fn declarations(scan: &Scan, diagnostics: &mut Vec<Diagnostic>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < scan.tokens.len() {
        match declaration(scan, at, diagnostics) {
            Some(piece) => {
                at = piece.to;
                pieces.push(piece);
            }
            None => at = boundary(scan, at + 1, scan.tokens.len()),
        }
    }
    pieces
}

fn declaration(scan: &Scan, at: usize, diagnostics: &mut Vec<Diagnostic>) -> Option<Piece> {
    let word = scan.word(at);
    let (keyword, known) = match DECLARATIONS.iter().find(|k| **k == word) {
        Some(keyword) => (*keyword, true),
        None => {
            let guess = nearest(word, DECLARATIONS).filter(|_| scan.is_word(at));
            diagnostics.push(unknown(scan, at, guess));
            (DECLARATIONS.into_iter().find(|k| Some(*k) == guess)?, false)
        }
    };
    let braced = matches!(keyword, "event" | "table" | "rule" | "test");
    let (to, closed) = if braced { braced_end(scan, at) } else { (open_end(scan, at, keyword), true) };
    if !closed {
        unclosed(scan, at, to, keyword, diagnostics);
    }
    Some(Piece { keyword, from: at, to, broken: !closed || !known })
}

fn unknown(scan: &Scan, at: usize, guess: Option<&str>) -> Diagnostic {
    let span = scan.span(at);
    if let TokenKind::Close(_) = scan.tokens[at].kind {
        let message = format!("this `{}` closes nothing", scan.word(at));
        return Diagnostic::new(Code::StrayClose, span, message).help("take it away, or write the bracket that opens");
    }
    if CLAUSES.contains(&scan.word(at)) {
        let message = format!("the clause `{}` stands outside of a rule", scan.word(at));
        return Diagnostic::new(Code::UnknownDeclaration, span, message)
            .help("clauses stand between the braces of `rule NAME { … }`");
    }
    let found = Diagnostic::new(Code::UnknownDeclaration, span, format!("`{}` begins no declaration", scan.word(at)));
    match guess {
        Some(guess) => found.help(format!("did you mean `{guess}`?")).fix(span, guess),
        None => found.help("a file holds `event`, `list`, `table`, `model`, `feature`, `rule` and `test`"),
    }
}

/// Where a declaration with braces ends, and whether it is closed there.
fn braced_end(scan: &Scan, at: usize) -> (usize, bool) {
    let limit = boundary(scan, at + 1, scan.tokens.len());
    let is_open = |t: &Token| t.kind == TokenKind::Open(b'{');
    // In `event X from … {` and `table X key … {` the first brace is the declaration's.
    let head = if scan.is_word(at + 1) { at + 2 } else { at + 1 };
    let Some(open) = (head..limit).find(|i| is_open(&scan.tokens[*i])) else { return (limit, true) };
    match scan.tokens[open].partner {
        // Braces that pair but swallow the next declaration are this declaration's fault.
        Some(close) if close < limit || !swallows(scan, open, close) => (close + 1, true),
        _ => (limit, false),
    }
}

/// Whether a brace pair reaches over the beginning of another declaration, which only a lost `}` explains.
fn swallows(scan: &Scan, open: usize, close: usize) -> bool {
    boundary(scan, open + 1, close) < close
}

/// Where a declaration without braces ends: at the next line that begins one, be it misspelt.
fn open_end(scan: &Scan, at: usize, keyword: &str) -> usize {
    let mut index = at + 1;
    while index < scan.tokens.len() {
        let token = scan.tokens[index];
        if token.first_on_line && token.kind == TokenKind::Word {
            let word = scan.word(index);
            let next_is_name = scan.is_word(index + 1) && !scan.tokens[index + 1].first_on_line;
            let ends = looks_like_declaration(scan, index) || nearest(word, DECLARATIONS).is_some() && next_is_name;
            if ends || keyword == "list" {
                return index;
            }
        }
        index = token.partner.filter(|p| *p > index).unwrap_or(index) + 1;
    }
    scan.tokens.len()
}

/// The next token from `from` on, before `to`, that begins a line and looks like a declaration.
fn boundary(scan: &Scan, from: usize, to: usize) -> usize {
    (from..to).find(|i| looks_like_declaration(scan, *i)).unwrap_or(to)
}

/// `rule x {`, `event x from "…"`, `list x of`, `test x "…"`: more than a field or step could look like.
fn looks_like_declaration(scan: &Scan, index: usize) -> bool {
    let token = scan.tokens[index];
    if !token.first_on_line || token.kind != TokenKind::Word || !scan.is_word(index + 1) {
        return false;
    }
    let third = scan.tokens.get(index + 2).map(|t| t.kind);
    let opens = |bracket| third == Some(TokenKind::Open(bracket));
    let word_is = |word: &str| scan.is_word(index + 2) && scan.word(index + 2) == word;
    match scan.word(index) {
        "rule" => opens(b'{'),
        "event" => opens(b'{') || word_is("from") && source_follows(scan, index + 3),
        "list" => word_is("of"),
        "table" => word_is("key"),
        "model" => opens(b'('),
        "feature" => scan.is_sign(index + 2, b'='),
        "test" => matches!(third, Some(TokenKind::Text | TokenKind::OpenText)),
        _ => false,
    }
}

/// `"EventID" =`: a field called `event` may have a `from` too, but no `=`.
fn source_follows(scan: &Scan, index: usize) -> bool {
    scan.tokens.get(index).is_some_and(|t| t.kind == TokenKind::Text) && scan.is_sign(index + 1, b'=')
}

fn unclosed(scan: &Scan, from: usize, to: usize, keyword: &str, diagnostics: &mut Vec<Diagnostic>) {
    // A text that lost its quote has swallowed the brace; that is already said.
    if scan.tokens[from..to].iter().any(|t| t.kind == TokenKind::OpenText) {
        return;
    }
    let name = if scan.is_word(from + 1) { format!("{keyword} {}", scan.word(from + 1)) } else { keyword.to_owned() };
    let head = scan.span(from).to(scan.span((from + 1).min(to - 1)));
    let mut finding = Diagnostic::new(Code::Unclosed, head, format!("the `}}` of `{name}` is missing"))
        .label("this declaration is not closed")
        .help("write `}` where it ends");
    finding = finding.fix(crate::syntax::Span::new(scan.file, scan.tokens[to - 1].end, scan.tokens[to - 1].end), "\n}");
    if to < scan.tokens.len() {
        finding = finding.also(scan.span(to), "the next declaration begins here");
    }
    diagnostics.push(finding);
}

/// The tokens at which the clauses of a rule begin, between its braces `from..to`. What stands before the
/// first is none's.
pub(super) fn clauses(scan: &Scan, from: usize, to: usize) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut index = from;
    while index < to {
        let token = scan.tokens[index];
        if (token.first_on_line || index == from) && is_clause(scan, index) {
            starts.push(index);
        }
        // A closed bracket is passed over whole. One that is not closed hides nothing.
        index = token.partner.filter(|p| *p > index && *p < to).unwrap_or(index) + 1;
    }
    starts
}

/// Whether the token is a clause's name and not a name before a colon.
pub(super) fn is_clause(scan: &Scan, index: usize) -> bool {
    scan.is_word(index) && CLAUSES.contains(&scan.word(index)) && !scan.is_sign(index + 1, b':')
}
