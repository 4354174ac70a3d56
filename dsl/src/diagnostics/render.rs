//! Draws a diagnostic for a terminal, and gives its JSON form with lines and columns in place of bytes.
//!
//! ```text
//! error[E0007]: `=` does not compare
//!   --> rules/logins.lap:5:29
//!    |
//!  5 |   match a: login where user = "ann"
//!    |                             ^
//!    = help: `==` compares two values
//!    = fix: write `==` in place of `=`
//! ```

use serde::Serialize;

use super::{Diagnostic, Label, Severity};
use crate::syntax::{Source, Sources, Span};

/// A tab is drawn as so many blanks.
const TAB: &str = "    ";

/// The diagnostic as lines of text, the last of which ends. `color` asks for ANSI colours.
pub fn render(diagnostic: &Diagnostic, sources: &Sources, color: bool) -> String {
    let (kind, code) = match diagnostic.severity {
        Severity::Error => ("error", "1;31"),
        Severity::Warning => ("warning", "1;33"),
    };
    let mut canvas = Canvas { color, width: gutter(diagnostic, sources), out: String::new() };
    let head = canvas.paint(code, &format!("{kind}[{}]", diagnostic.code.as_str()));
    let message = canvas.paint("1", &format!(": {}", diagnostic.message));
    canvas.out.push_str(&format!("{head}{message}\n"));
    if let Some(source) = sources.get(diagnostic.primary.span.file) {
        canvas.excerpt(source, &diagnostic.primary, "-->", '^', code);
    }
    for label in &diagnostic.secondary {
        if let Some(source) = sources.get(label.span.file) {
            canvas.excerpt(source, label, ":::", '-', "1;34");
        }
    }
    if let Some(help) = &diagnostic.help {
        canvas.note("help", help);
    }
    if let Some(fix) = &diagnostic.fix {
        let old = sources.slice(fix.span);
        let new = fix.replacement.trim();
        let text = match (old.is_empty(), new.is_empty()) {
            (true, _) => format!("insert `{new}`"),
            (false, true) => format!("take away `{old}`"),
            (false, false) => format!("write `{new}` in place of `{old}`"),
        };
        canvas.note("fix", &text);
    }
    canvas.out
}

/// The width of the greatest line number shown.
fn gutter(diagnostic: &Diagnostic, sources: &Sources) -> usize {
    let labels = std::iter::once(&diagnostic.primary).chain(&diagnostic.secondary);
    let lines = labels.filter_map(|l| sources.get(l.span.file).map(|s| s.position(l.span.start).line));
    lines.max().unwrap_or(1).to_string().len()
}

/// The drawing so far.
struct Canvas {
    color: bool,
    width: usize,
    out: String,
}

impl Canvas {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// A line with the gutter before it.
    fn row(&mut self, number: &str, text: &str) {
        let gutter = format!(" {number:>width$} |", width = self.width);
        let gutter = self.paint("1;34", &gutter);
        self.out.push_str(&format!("{gutter}{text}\n"));
    }

    /// Where, the line itself, and the marks under it.
    fn excerpt(&mut self, source: &Source, label: &Label, arrow: &str, mark: char, code: &str) {
        let start = source.position(label.span.start);
        let end = source.position(label.span.end.max(label.span.start));
        let line = source.line(start.line);
        let arrow = self.paint("1;34", &format!("{:width$}{arrow}", "", width = self.width + 1));
        self.out.push_str(&format!("{arrow} {}:{}:{}\n", source.path, start.line, start.column));
        self.row("", "");
        self.row(&start.line.to_string(), format!(" {}", line.replace('\t', TAB)).trim_end());
        let columns = line.chars().count();
        let last = if end.line == start.line { end.column } else { columns + 1 };
        let wide = |from: usize, to: usize| -> usize {
            line.chars()
                .skip(from - 1)
                .take(to.saturating_sub(from))
                .map(|c| if c == '\t' { TAB.len() } else { 1 })
                .sum()
        };
        let marks: String = std::iter::repeat_n(mark, wide(start.column, last).max(1)).collect();
        let more = if end.line > start.line { "…" } else { "" };
        let text = self.paint(code, &format!("{marks}{more} {}", label.text));
        let text = format!(" {}{text}", " ".repeat(wide(1, start.column)));
        self.row("", text.trim_end());
    }

    fn note(&mut self, kind: &str, text: &str) {
        let head = self.paint("1", &format!("= {kind}"));
        self.out.push_str(&format!("{:width$} {head}: {text}\n", "", width = self.width + 1));
    }
}

/// A place with a file name, lines and columns from 1, columns in characters, the end excluded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Place {
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub end_line: usize,
    pub end_column: usize,
}

/// The JSON form of a diagnostic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "as in `Diagnostic`")]
pub struct JsonDiagnostic {
    pub code: &'static str,
    pub severity: Severity,
    pub message: String,
    #[serde(flatten)]
    pub place: Place,
    pub label: String,
    pub related: Vec<JsonLabel>,
    pub help: Option<String>,
    pub fix: Option<JsonFix>,
}

/// The JSON form of a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "as in `Label`")]
pub struct JsonLabel {
    #[serde(flatten)]
    pub place: Place,
    pub label: String,
}

/// The JSON form of a fix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "as in `Fix`")]
pub struct JsonFix {
    #[serde(flatten)]
    pub place: Place,
    pub replacement: String,
}

/// The JSON form, with places as lines and columns.
pub fn to_json(diagnostic: &Diagnostic, sources: &Sources) -> JsonDiagnostic {
    let label = |l: &Label| JsonLabel { place: place(l.span, sources), label: l.text.clone() };
    JsonDiagnostic {
        code: diagnostic.code.as_str(),
        severity: diagnostic.severity,
        message: diagnostic.message.clone(),
        place: place(diagnostic.primary.span, sources),
        label: diagnostic.primary.text.clone(),
        related: diagnostic.secondary.iter().map(label).collect(),
        help: diagnostic.help.clone(),
        fix: diagnostic
            .fix
            .as_ref()
            .map(|f| JsonFix { place: place(f.span, sources), replacement: f.replacement.clone() }),
    }
}

fn place(span: Span, sources: &Sources) -> Place {
    let Some(source) = sources.get(span.file) else {
        return Place { file: String::new(), line: 1, column: 1, end_line: 1, end_column: 1 };
    };
    let (start, end) = (source.position(span.start), source.position(span.end));
    Place {
        file: source.path.clone(),
        line: start.line,
        column: start.column,
        end_line: end.line,
        end_column: end.column,
    }
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::syntax::{Sources, parse};

    #[test]
    fn draws_place_label_help_and_fix() {
        let text = "rule r {\n\tmatch a: login where user = \"ä\"\n}\n";
        let mut sources = Sources::new();
        let file = sources.add("rules/logins.lap", text);
        let found = parse(file, text).diagnostics;
        let expected = "error[E0007]: `=` does not compare\n  --> rules/logins.lap:2:28\n   |\n 2 |     match a: login where user = \"ä\"\n   |                               ^\n   = help: `==` compares two values\n   = fix: write `==` in place of `=`\n";
        assert_eq!(render(&found[0], &sources, false), expected);
    }
}
