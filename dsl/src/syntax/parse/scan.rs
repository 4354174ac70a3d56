//! One cheap pass over a file before the grammar: tokens, comments, brackets and their partners.
//!
//! It knows no grammar. Its tokens cover every character that is neither blank nor comment, so they also say
//! where a piece of text really ends. The splitter finds declarations and clauses with it, the limits are
//! checked on it, and a missing quote or bracket is found here, where the place is still known.

use crate::diagnostics::{Code, Diagnostic};
use crate::syntax::ast::Comment;
use crate::syntax::{FileId, Span};

/// What a token is, as far as splitting needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A name or keyword.
    Word,
    /// Digits with what is glued to them: `10m`, `4625`.
    Number,
    /// A text literal.
    Text,
    /// A text literal without its closing quote.
    OpenText,
    /// `( [ {`
    Open(u8),
    /// `) ] }`
    Close(u8),
    /// Any other character.
    Sign(u8),
}

/// One token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub kind: TokenKind,
    pub start: usize,
    pub end: usize,
    /// Nothing but blanks stands before it on its line.
    pub first_on_line: bool,
    /// Of a bracket: the index of its partner.
    pub partner: Option<usize>,
}

/// The tokens and comments of a file.
pub(super) struct Scan<'a> {
    pub text: &'a str,
    pub file: FileId,
    pub tokens: Vec<Token>,
    pub comments: Vec<Comment>,
}

impl<'a> Scan<'a> {
    /// Scans a file.
    pub fn new(file: FileId, text: &'a str) -> Scan<'a> {
        let mut scan = Scan { text, file, tokens: Vec::new(), comments: Vec::new() };
        scan.read();
        scan.pair();
        scan
    }

    /// The token's text.
    pub fn word(&self, index: usize) -> &'a str {
        let token = self.tokens[index];
        &self.text[token.start..token.end]
    }

    /// The token's place.
    pub fn span(&self, index: usize) -> Span {
        let token = self.tokens[index];
        Span::new(self.file, token.start, token.end)
    }

    /// Whether the token is this sign.
    pub fn is_sign(&self, index: usize, sign: u8) -> bool {
        self.tokens.get(index).is_some_and(|t| t.kind == TokenKind::Sign(sign))
    }

    /// Whether the token is a word.
    pub fn is_word(&self, index: usize) -> bool {
        self.tokens.get(index).is_some_and(|t| t.kind == TokenKind::Word)
    }

    /// The first token that ends after `offset`.
    pub fn at(&self, offset: usize) -> usize {
        self.tokens.partition_point(|t| t.end <= offset)
    }

    /// `end`, less the blanks and comments before it.
    pub fn trim(&self, end: usize) -> usize {
        let next = self.tokens.partition_point(|t| t.start < end);
        next.checked_sub(1).map_or(end, |last| self.tokens[last].end.min(end))
    }

    /// What is wrong with quotes.
    pub fn open_texts(&self) -> Vec<Diagnostic> {
        let open = self.tokens.iter().filter(|t| t.kind == TokenKind::OpenText);
        open.map(|t| {
            let span = Span::new(self.file, t.start, t.end);
            Diagnostic::new(Code::UnclosedText, span, "this text has no closing `\"` on its line")
                .label("the text begins here")
                .help("write a `\"` where the text ends; a line break inside it is `\\n`")
        })
        .collect()
    }

    fn read(&mut self) {
        let bytes = self.text.as_bytes();
        let (mut at, mut fresh) = (0, true);
        while at < bytes.len() {
            let byte = bytes[at];
            if byte == b'\n' {
                fresh = true;
                at += 1;
            } else if byte.is_ascii_whitespace() || self.text[at..].starts_with('\u{feff}') {
                at += if byte < 128 { 1 } else { 3 };
            } else if bytes[at..].starts_with(b"//") {
                at = self.comment(at, !fresh);
            } else {
                let (kind, end) = self.token(at);
                self.tokens.push(Token { kind, start: at, end, first_on_line: fresh, partner: None });
                fresh = false;
                at = end;
            }
        }
    }

    fn comment(&mut self, start: usize, trailing: bool) -> usize {
        let rest = &self.text[start..];
        let raw = rest[..rest.find('\n').unwrap_or(rest.len())].trim_end();
        let text = raw[2..].trim().to_owned();
        let span = Span::new(self.file, start, start + raw.len());
        self.comments.push(Comment { text, span, trailing });
        start + raw.len()
    }

    fn token(&self, start: usize) -> (TokenKind, usize) {
        let bytes = self.text.as_bytes();
        let in_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
        let word_end = || start + bytes[start..].iter().take_while(|b| in_word(b)).count();
        match bytes[start] {
            b'"' => self.text_literal(start),
            b @ (b'(' | b'[' | b'{') => (TokenKind::Open(b), start + 1),
            b @ (b')' | b']' | b'}') => (TokenKind::Close(b), start + 1),
            b if b.is_ascii_digit() => (TokenKind::Number, word_end()),
            b if in_word(&b) => (TokenKind::Word, word_end()),
            b => {
                let width = self.text[start..].chars().next().map_or(1, char::len_utf8);
                (TokenKind::Sign(b), start + width)
            }
        }
    }

    fn text_literal(&self, start: usize) -> (TokenKind, usize) {
        let bytes = self.text.as_bytes();
        let mut at = start + 1;
        while at < bytes.len() && bytes[at] != b'\n' {
            match bytes[at] {
                b'"' => return (TokenKind::Text, at + 1),
                b'\\' if bytes.get(at + 1).is_some_and(|b| *b != b'\n') => at += 2,
                _ => at += 1,
            }
        }
        // An escaped character may be wider than a byte; the end of the line or text is a boundary again.
        let end = start + self.text[start..at.min(bytes.len())].trim_end().len();
        (TokenKind::OpenText, end)
    }

    /// Pairs brackets. A `}` closes the nearest `{` and leaves what stands open inside it without a partner.
    fn pair(&mut self) {
        let mut open: Vec<usize> = Vec::new();
        for index in 0..self.tokens.len() {
            match self.tokens[index].kind {
                TokenKind::Open(_) => open.push(index),
                TokenKind::Close(close) => {
                    let wanted = TokenKind::Open(opening(close));
                    let found = open.iter().rposition(|&o| self.tokens[o].kind == wanted);
                    let brace = open.iter().rposition(|&o| self.tokens[o].kind == TokenKind::Open(b'{'));
                    // INVARIANT: `)` and `]` never reach out of the braces they stand in.
                    if let Some(depth) = found.filter(|d| close == b'}' || brace.is_none_or(|b| *d > b)) {
                        let partner = open[depth];
                        open.truncate(depth);
                        self.tokens[index].partner = Some(partner);
                        self.tokens[partner].partner = Some(index);
                    }
                }
                _ => {}
            }
        }
    }
}

fn opening(close: u8) -> u8 {
    match close {
        b')' => b'(',
        b']' => b'[',
        _ => b'{',
    }
}
