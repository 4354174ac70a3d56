//! Rules: one clause a line, keywords padded to eight columns, long clauses wrapped under their content.

use super::expr::by_text;
use super::{Printer, WIDTH, is_name, quoted};
use crate::syntax::ast::{
    BinaryOp, Clause, ClauseKind, EmitClause, Expr, ExprKind, MatchClause, MatchMode, MessageClause, PatternKind,
    Report, RuleDecl, Skip, StopClause, StringLit, SuppressClause, WindowClause,
};

/// Where the content of a clause begins.
const CONTENT: usize = 11;

impl Printer<'_> {
    /// A rule.
    pub fn rule(&mut self, rule: &RuleDecl) {
        self.out.push_str(&format!("rule {} ", rule.name.text));
        self.open(rule.name.span.end);
        for clause in &rule.clauses {
            self.clause(clause);
        }
        self.close(rule.span.end, 0);
    }

    fn clause(&mut self, clause: &Clause) {
        match &clause.kind {
            ClauseKind::Match(inner) => self.match_clause(clause, inner),
            ClauseKind::Emit(inner) => self.emit(clause, inner),
            kind => {
                self.begin(clause.span, clause.span.end, 2);
                let (keyword, content) = self.content(kind);
                let content = match kind {
                    ClauseKind::When(expr) if CONTENT + content.chars().count() > WIDTH => self.wrapped(expr),
                    _ => content,
                };
                self.out.push_str(&format!("{keyword:<8} {content}"));
            }
        }
        self.end(clause.span.end);
    }

    /// Keyword and content of a clause that is written in one go.
    fn content(&self, kind: &ClauseKind) -> (&'static str, String) {
        match kind {
            ClauseKind::Title(title) => ("title", quoted(&title.value)),
            ClauseKind::Severity(expr) => ("severity", self.expr(expr)),
            ClauseKind::Risk(expr) => ("risk", self.expr(expr)),
            ClauseKind::Tags(tags) => ("tags", format!("[{}]", tags.iter().map(tag).collect::<Vec<_>>().join(", "))),
            ClauseKind::By(by) => ("by", by_text(by)),
            ClauseKind::Window(WindowClause { window, rows }) => {
                let rows = rows.as_ref().map(|r| format!(" for {}", r.text)).unwrap_or_default();
                ("window", format!("{}{rows}", self.window(window)))
            }
            ClauseKind::Within(duration) => ("within", self.duration(duration)),
            ClauseKind::When(expr) => ("when", self.expr(expr)),
            ClauseKind::Message(MessageClause::Template(parts, _)) => ("message", self.template(parts)),
            // A lone text would read back as a template.
            ClauseKind::Message(MessageClause::Expr(expr)) => ("message", self.message_expr(expr)),
            ClauseKind::Suppress(SuppressClause { duration, by }) => {
                let by: Vec<String> = by.iter().map(|e| self.expr(e)).collect();
                let by = if by.is_empty() { String::new() } else { format!(" by {}", by.join(", ")) };
                ("suppress", format!("{}{by}", self.duration(duration)))
            }
            ClauseKind::Skip(skip) => ("skip", skip_text(skip)),
            ClauseKind::Report(report) => ("report", report_text(*report).to_owned()),
            ClauseKind::StopOn(StopClause { event, filter }) => {
                let filter = filter.as_ref().map(|e| format!(" where {}", self.expr(e))).unwrap_or_default();
                ("stop on", format!("{}{filter}", event.text))
            }
            ClauseKind::Lateness(duration) => ("lateness", self.duration(duration)),
            ClauseKind::TimeProcessing => ("time", "processing".to_owned()),
            ClauseKind::Match(_) | ClauseKind::Emit(_) => unreachable!("written by functions of their own"),
        }
    }

    fn message_expr(&self, expr: &Expr) -> String {
        let text = self.expr(expr);
        if text.starts_with('"') && matches!(expr.kind, ExprKind::Literal(_)) { format!("({text})") } else { text }
    }

    /// A pattern on one line if it fits and holds no comments, else one element a line.
    fn match_clause(&mut self, clause: &Clause, inner: &MatchClause) {
        let keyword = match inner.mode {
            MatchMode::One => "match",
            MatchMode::Each => "match each",
            MatchMode::Last => "match last",
        };
        let parts = self.pattern_parts(&inner.pattern);
        let whole = [(clause.span.start, clause.span.end)];
        let places: Vec<(u32, u32)> = match &inner.pattern.kind {
            PatternKind::Sequence(elements) => elements.iter().map(|e| (e.span.start, e.span.end)).collect(),
            PatternKind::All(parts) | PatternKind::Any(parts) => {
                parts.iter().map(|p| (p.span.start, p.span.end)).collect()
            }
            _ => whole.to_vec(),
        };
        // Comments inside an element go above it.
        self.begin(clause.span, places[0].1, 2);
        let width = keyword.len().max(8) + 2 + parts.iter().map(|p| p.chars().count() + 1).sum::<usize>();
        let wrap = parts.len() > 1 && (width > WIDTH || self.comment_inside(clause.span.end));
        self.out.push_str(&format!("{keyword:<8} "));
        if !wrap {
            return self.out.push_str(&parts.join(" "));
        }
        for (i, part) in parts.iter().enumerate() {
            if i > 0 {
                self.end(places[i - 1].1);
                self.comments_before(places[i].1, CONTENT);
                self.indent(CONTENT);
            }
            self.out.push_str(part);
        }
    }

    fn emit(&mut self, clause: &Clause, emit: &EmitClause) {
        self.begin(clause.span, if emit.fields.is_empty() { clause.span.end } else { clause.span.start }, 2);
        let keyword = emit.into.as_ref().map_or_else(|| "emit".to_owned(), |into| format!("emit into {}", into.text));
        let line = format!("{keyword:<8} {}", self.pairs(&emit.fields));
        if emit.fields.is_empty() || line.chars().count() + 2 <= WIDTH && !self.comment_inside(clause.span.end) {
            return self.out.push_str(&line);
        }
        self.out.push_str(&format!("{keyword:<8} "));
        self.open(emit.into.as_ref().map_or(clause.keyword.end, |into| into.span.end));
        for (name, value) in &emit.fields {
            let end = value.span.end.max(name.span.end);
            self.begin(name.span, end, 4);
            let value = self.expr(value);
            self.out.push_str(&format!("{}: {value},", name.text));
            self.end(end);
        }
        self.close(clause.span.end, 2);
    }

    /// A condition, wrapped before the outermost `and` or `or`.
    fn wrapped(&self, expr: &Expr) -> String {
        let (op, sign) = match &expr.kind {
            ExprKind::Binary(BinaryOp::And, ..) => (BinaryOp::And, "and"),
            ExprKind::Binary(BinaryOp::Or, ..) => (BinaryOp::Or, "or"),
            _ => return self.expr(expr),
        };
        self.terms(op, expr).join(&format!("\n{}{sign} ", " ".repeat(CONTENT)))
    }
}

fn tag(tag: &StringLit) -> String {
    let part = |p: &str| !p.is_empty() && p.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if is_name(&tag.value) && !tag.value.is_empty() || tag.value.split('.').all(part) {
        tag.value.clone()
    } else {
        quoted(&tag.value)
    }
}

fn skip_text(skip: &Skip) -> String {
    match skip {
        Skip::PastLast => "past last".to_owned(),
        Skip::ToNext => "to next".to_owned(),
        Skip::ToFirst(step) => format!("to first {}", step.text),
        Skip::ToLast(step) => format!("to last {}", step.text),
        Skip::None => "none".to_owned(),
    }
}

fn report_text(report: Report) -> &'static str {
    match report {
        Report::Early => "early",
        Report::Final => "final",
        Report::Updates => "updates",
    }
}
