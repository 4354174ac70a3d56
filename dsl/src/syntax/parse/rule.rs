//! Rules: the head, and clause by clause what stands between the braces.

use pest::iterators::Pair;

use super::Rule;
use super::build::{Builder, all, find, last, must, only, run};
use super::explain::{explain, unknown_clause};
use super::scan::{Scan, TokenKind};
use super::split::{CLAUSES, Piece, clauses};
use crate::diagnostics::{Diagnostic, nearest};
use crate::syntax::Span;
use crate::syntax::ast::{
    Clause, ClauseKind, Decl, EmitClause, Ident, MatchClause, MatchMode, MessageClause, Report, RuleDecl, Skip,
    StopClause, StringLit, SuppressClause, WindowClause,
};

/// Reads a rule. A rule whose head cannot be read has no name and is left out.
pub(super) fn read(scan: &Scan, piece: Piece, diagnostics: &mut Vec<Diagnostic>) -> Option<Decl> {
    let brace = (piece.from..piece.to).find(|i| scan.tokens[*i].kind == TokenKind::Open(b'{'));
    let name = head(scan, piece, brace, diagnostics);
    let open = brace?;
    let closed = scan.tokens[open].partner == Some(piece.to - 1);
    let (from, to) = (open + 1, if closed { piece.to - 1 } else { piece.to });
    let starts = clauses(scan, from, to);
    let mut reader = ClauseReader { scan, diagnostics, clauses: Vec::new(), broken: piece.broken };
    let first = starts.first().copied().unwrap_or(to);
    if from < first {
        reader.unknown(from, first);
    }
    for (i, start) in starts.iter().enumerate() {
        reader.clause(*start, starts.get(i + 1).copied().unwrap_or(to));
    }
    let clauses = reader.clauses;
    let span = scan.span(piece.from).to(scan.span(piece.to - 1));
    name.map(|name| Decl::Rule(RuleDecl { name, clauses, span }))
}

/// The rule's name.
fn head(scan: &Scan, piece: Piece, brace: Option<usize>, diagnostics: &mut Vec<Diagnostic>) -> Option<Ident> {
    let last = brace.unwrap_or(piece.to - 1);
    let start = scan.tokens[piece.from].end;
    let text = format!("rule{}", &scan.text[start..scan.tokens[last].end]);
    match run(Rule::rule_head_entry, &text) {
        Ok(_) => Some(Ident { text: scan.word(piece.from + 1).to_owned(), span: scan.span(piece.from + 1) }),
        Err(failure) => {
            let offset = start + failure.offset - 4;
            diagnostics.push(explain(scan, piece.from, last + 1, offset, &failure.expected, "rule"));
            None
        }
    }
}

/// Reads the clauses of one rule.
struct ClauseReader<'a> {
    scan: &'a Scan<'a>,
    diagnostics: &'a mut Vec<Diagnostic>,
    clauses: Vec<Clause>,
    /// A `}` is missing, and that is said: what is wrong at the very end is a consequence.
    broken: bool,
}

impl ClauseReader<'_> {
    /// The clause whose keyword is token `from`.
    fn clause(&mut self, from: usize, to: usize) {
        self.clause_as(self.scan.word(from), from, to);
    }

    /// The same, with the keyword that was meant.
    fn clause_as(&mut self, keyword: &str, from: usize, to: usize) {
        let scan = self.scan;
        if scan.tokens[from..to].iter().any(|t| t.kind == TokenKind::OpenText) {
            return;
        }
        let after = scan.tokens[from].end;
        let text = format!("{keyword}{}", &scan.text[after..scan.tokens[to - 1].end]);
        let base = after as isize - keyword.len() as isize;
        match run(Rule::clause_entry, &text) {
            Ok(entry) => {
                let mut builder = Builder::slice(scan, base);
                let kind = builder.clause(only(entry));
                self.diagnostics.append(&mut builder.diagnostics);
                let span = Span::new(scan.file, scan.tokens[from].start, scan.tokens[to - 1].end);
                self.clauses.push(Clause { kind, span, keyword: scan.span(from) });
            }
            Err(failure) => {
                let offset = (failure.offset as isize + base) as usize;
                let at = scan.at(offset);
                if at > from && at < to && self.begins_clause(from, at) {
                    self.clause_as(keyword, from, at);
                    self.unknown(at, to);
                } else if !(self.broken && at >= to) {
                    self.diagnostics.push(explain(scan, from, to, offset, &failure.expected, keyword));
                }
            }
        }
    }

    /// Whether a word that the clause before it cannot hold stands where a clause begins.
    fn begins_clause(&self, from: usize, at: usize) -> bool {
        let inside = self.scan.tokens[from..at].iter().any(|t| t.partner.is_some_and(|p| p > at));
        let continues = matches!(self.scan.word(at), "then" | "and" | "or" | "not" | "where" | "until");
        self.scan.is_word(at) && self.scan.tokens[at].first_on_line && !inside && !continues
    }

    /// A line that begins with no clause's name. What follows is read as the clause that was meant.
    fn unknown(&mut self, from: usize, to: usize) {
        let guess = nearest(self.scan.word(from), CLAUSES).filter(|_| self.scan.is_word(from));
        self.diagnostics.push(unknown_clause(self.scan, from, guess));
        if let Some(guess) = guess {
            self.clause_as(guess, from, to);
        }
    }
}

impl Builder<'_> {
    fn clause(&mut self, pair: Pair<Rule>) -> ClauseKind {
        match pair.as_rule() {
            Rule::c_title => ClauseKind::Title(self.string(&last(pair))),
            Rule::c_severity => ClauseKind::Severity(self.expr(last(pair))),
            Rule::c_risk => ClauseKind::Risk(self.expr(last(pair))),
            Rule::c_tags => ClauseKind::Tags(all(&pair, Rule::tag).map(|p| self.tag(p)).collect()),
            Rule::c_by => ClauseKind::By(self.by(last(pair))),
            Rule::c_match => ClauseKind::Match(self.match_clause(&pair)),
            Rule::c_window => ClauseKind::Window(WindowClause {
                window: self.window(must(&pair, Rule::window)),
                rows: find(&pair, Rule::ident).map(|p| self.ident(&p)),
            }),
            Rule::c_within => ClauseKind::Within(self.duration(&last(pair))),
            Rule::c_when => ClauseKind::When(self.expr(last(pair))),
            Rule::c_emit => ClauseKind::Emit(EmitClause {
                into: find(&pair, Rule::ident).map(|p| self.ident(&p)),
                fields: self.pairs(last(pair)),
            }),
            Rule::c_message => ClauseKind::Message(self.message(last(pair))),
            Rule::c_suppress => ClauseKind::Suppress(SuppressClause {
                duration: self.duration(&must(&pair, Rule::duration)),
                by: all(&pair, Rule::expr).map(|p| self.expr(p)).collect(),
            }),
            Rule::c_skip => ClauseKind::Skip(self.skip(last(pair))),
            Rule::c_report => ClauseKind::Report(report(&last(pair))),
            Rule::c_stop => ClauseKind::StopOn(StopClause {
                event: self.ident(&must(&pair, Rule::ident)),
                filter: find(&pair, Rule::where_part).map(|p| self.expr(last(p))),
            }),
            Rule::c_lateness => ClauseKind::Lateness(self.duration(&last(pair))),
            _ => ClauseKind::TimeProcessing,
        }
    }

    fn tag(&mut self, pair: Pair<Rule>) -> StringLit {
        let inner = only(pair);
        match inner.as_rule() {
            Rule::string => self.string(&inner),
            _ => StringLit { value: inner.as_str().to_owned(), span: self.span(&inner) },
        }
    }

    fn match_clause(&mut self, pair: &Pair<Rule>) -> MatchClause {
        let mode = match find(pair, Rule::mode) {
            None => MatchMode::One,
            Some(mode) if find(&mode, Rule::k_each).is_some() => MatchMode::Each,
            Some(_) => MatchMode::Last,
        };
        MatchClause { mode, pattern: self.pattern(must(pair, Rule::pattern)) }
    }

    fn message(&mut self, pair: Pair<Rule>) -> MessageClause {
        match pair.as_rule() {
            Rule::template => self.template(&must(&pair, Rule::string)),
            _ => MessageClause::Expr(self.expr(pair)),
        }
    }

    fn skip(&mut self, pair: Pair<Rule>) -> Skip {
        match pair.as_rule() {
            Rule::skip_past => Skip::PastLast,
            Rule::skip_next => Skip::ToNext,
            Rule::skip_first => Skip::ToFirst(self.ident(&last(pair))),
            Rule::skip_last => Skip::ToLast(self.ident(&last(pair))),
            _ => Skip::None,
        }
    }
}

fn report(pair: &Pair<Rule>) -> Report {
    match pair.as_rule() {
        Rule::k_early => Report::Early,
        Rule::k_final => Report::Final,
        _ => Report::Updates,
    }
}
