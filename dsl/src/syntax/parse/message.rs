//! Message templates: a text with `{expr}` holes; `{{` and `}}` are braces.

use pest::iterators::Pair;

use super::Rule;
use super::build::{Builder, Place, must, run};
use super::explain::expected;
use crate::diagnostics::Code;
use crate::syntax::ast::{MessageClause, MessagePart};

impl Builder<'_> {
    /// The text of a `message` clause.
    pub fn template(&mut self, pair: &Pair<Rule>) -> MessageClause {
        let whole = self.span(pair);
        let content = self.unescape(pair);
        // From the content's bytes to the file's.
        let map: Vec<u32> = content.map.iter().map(|at| self.place(*at as usize, *at as usize).start).collect();
        let text = content.text.as_str();
        let (mut parts, mut plain, mut at) = (Vec::new(), String::new(), 0);
        while let Some(c) = text[at..].chars().next() {
            let rest = &text[at..];
            if rest.starts_with("{{") || rest.starts_with("}}") {
                plain.push(c);
                at += 2;
            } else if c == '{' {
                let Some(end) = hole_end(text, at + 1) else {
                    self.bad_hole(
                        &map,
                        at,
                        text.len(),
                        "this hole has no closing `}`",
                        "a brace that is meant as one is written `{{`",
                    );
                    break;
                };
                if !plain.is_empty() {
                    parts.push(MessagePart::Text(std::mem::take(&mut plain)));
                }
                parts.extend(self.hole(&text[at + 1..end], &map[at + 1..=end]));
                at = end + 1;
            } else {
                if c == '}' {
                    self.bad_hole(
                        &map,
                        at,
                        at + 1,
                        "this `}` closes no hole",
                        "a brace that is meant as one is written `}}`",
                    );
                }
                plain.push(c);
                at += c.len_utf8();
            }
        }
        if !plain.is_empty() {
            parts.push(MessagePart::Text(plain));
        }
        MessageClause::Template(parts, whole)
    }

    fn hole(&mut self, text: &str, map: &[u32]) -> Option<MessagePart> {
        match run(Rule::expr_entry, text) {
            Ok(entry) => {
                let file = self.place(0, 0).file;
                let mut inner = Builder { place: Place::Mapped(file, map), diagnostics: Vec::new() };
                let expr = inner.expr(must(&entry, Rule::expr));
                self.diagnostics.append(&mut inner.diagnostics);
                Some(MessagePart::Hole(expr))
            }
            Err(failure) => {
                let at = failure.offset.min(text.len());
                let end = at + text[at..].chars().next().map_or(0, char::len_utf8);
                let message = match expected(&failure.expected) {
                    _ if text.trim().is_empty() => "this hole is empty".to_owned(),
                    Some(list) => format!("this hole is no expression: expected {list}"),
                    None => "this hole is no expression".to_owned(),
                };
                self.bad_hole(map, at, end, &message, "a hole holds an expression, as in `{count(f)}`");
                None
            }
        }
    }

    fn bad_hole(&mut self, map: &[u32], start: usize, end: usize, message: &str, help: &str) {
        let mut span = self.place(0, 0);
        (span.start, span.end) = (map[start], map[end]);
        self.complain(Code::BadHole, span, message).help = Some(help.to_owned());
    }
}

/// The `}` that ends a hole begun before `from`; texts and braces inside it are passed over.
fn hole_end(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut depth, mut at, mut quoted) = (0usize, from, false);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'{' if !quoted => depth += 1,
            b'}' if !quoted && depth == 0 => return Some(at),
            b'}' if !quoted => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}
