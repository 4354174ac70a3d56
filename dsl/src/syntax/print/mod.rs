//! The tree as text, in the one canonical layout.
//!
//! `parse(print(x))` is the same tree but for its spans, and printing twice changes nothing. The source text is
//! read for what the tree does not hold: comments as they were written, single blank lines, and the unit a
//! duration was written in. Parentheses stand only where they are needed.

mod decl;
mod expr;
mod pattern;
mod rule;

use super::Span;
use super::ast::File;

/// A line longer than this is wrapped where the layout allows.
const WIDTH: usize = 100;

/// Writes a file in the canonical layout. `text` is what it was parsed from; where the tree comes from
/// elsewhere, an empty text will do.
pub fn print(file: &File, text: &str) -> String {
    let mut printer = Printer { file, text, next: 0, out: String::new(), last: None };
    for decl in &file.decls {
        printer.decl(decl);
    }
    printer.comments_before(u32::MAX, 0);
    printer.out
}

/// The text so far, and how far the source's comments are written.
struct Printer<'a> {
    file: &'a File,
    text: &'a str,
    /// The first comment that is not written yet.
    next: usize,
    out: String,
    /// Where in the source the last written thing of this block ends; none at a block's beginning.
    last: Option<u32>,
}

impl Printer<'_> {
    /// Begins an item: comments before it, a blank line where there was one, the indentation. Comments that
    /// stand inside an item which is written in one go (`until` its end) go above it.
    fn begin(&mut self, span: Span, until: u32, indent: usize) {
        self.comments_before(until, indent);
        self.gap(span.start);
        self.indent(indent);
    }

    /// Ends an item's line, with the comment behind it.
    fn end(&mut self, end: u32) {
        self.last = Some(end);
        if let Some(comment) = self.file.comments.get(self.next) {
            let between = self.slice(end, comment.span.start);
            if comment.trailing && comment.span.start >= end && between.is_some_and(|b| !b.contains('\n')) {
                let text = self.comment_text(self.next);
                self.out.push_str("  ");
                self.out.push_str(&text);
                self.last = Some(comment.span.end);
                self.next += 1;
            }
        }
        self.out.push('\n');
    }

    /// Opens a block: the rest of its line is written, its items begin.
    fn open(&mut self, head_end: u32) {
        self.out.push('{');
        self.end(head_end);
        self.last = None;
    }

    /// Closes a block that ends at `end`.
    fn close(&mut self, end: u32, indent: usize) {
        self.comments_before(end, indent + 2);
        self.indent(indent);
        self.out.push('}');
    }

    /// Writes the comments that begin before `until`, each on its own line.
    fn comments_before(&mut self, until: u32, indent: usize) {
        while let Some(comment) = self.file.comments.get(self.next).filter(|c| c.span.start < until) {
            let span = comment.span;
            self.gap(span.start);
            self.indent(indent);
            let text = self.comment_text(self.next);
            self.out.push_str(&text);
            self.out.push('\n');
            self.last = Some(span.end);
            self.next += 1;
        }
    }

    /// Whether a comment that is not written yet begins before `end`.
    fn comment_inside(&self, end: u32) -> bool {
        self.file.comments.get(self.next).is_some_and(|c| c.span.start < end)
    }

    fn comment_text(&self, index: usize) -> String {
        let comment = &self.file.comments[index];
        let raw = self.slice(comment.span.start, comment.span.end).filter(|raw| raw.starts_with("//"));
        raw.map_or_else(|| format!("// {}", comment.text).trim_end().to_owned(), str::to_owned)
    }

    /// A blank line, where the source has one or more. Without a source, declarations keep apart.
    fn gap(&mut self, start: u32) {
        let Some(last) = self.last else { return };
        let blank = match self.slice(last, start) {
            Some(between) => between.matches('\n').count() > 1,
            None => self.text.is_empty() && self.out.ends_with("}\n"),
        };
        if blank {
            self.out.push('\n');
        }
    }

    fn indent(&mut self, columns: usize) {
        self.out.extend(std::iter::repeat_n(' ', columns));
    }

    fn slice(&self, start: u32, end: u32) -> Option<&str> {
        self.text.get(start as usize..end as usize)
    }
}

/// A text literal with JSON's escapes.
fn quoted(value: &str) -> String {
    format!("\"{}\"", escaped(value))
}

fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

/// Whether a text can stand as a bare name.
fn is_name(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.chars().all(word) && text.starts_with(|c: char| !c.is_ascii_digit())
}
