//! The clauses of a rule other than its pattern: read once each, then checked.

use super::names::unknown;
use super::reach::{SEVERITIES, Scope, Site};
use super::rule::RuleCheck;
use crate::diagnostics::{Code, Diagnostic};
use crate::ir::{self, Expr, ExprKind, StepId, Stop, Suppress};
use crate::syntax::Span;
use crate::syntax::ast;
use crate::syntax::ast::{
    By, Clause, ClauseKind, DurationLit, EmitClause, Ident, MatchClause, MatchMode, MessageClause, MessagePart, Report,
    RuleDecl, Skip, StopClause, StringLit, SuppressClause, WindowClause,
};
use crate::value::{Type, Value};

/// A rule's clauses by kind.
#[derive(Default)]
pub(super) struct Clauses<'a> {
    pub title: Option<&'a StringLit>,
    pub severity: Option<&'a ast::Expr>,
    pub risk: Option<&'a ast::Expr>,
    pub tags: &'a [StringLit],
    pub by: Option<&'a By>,
    pub matching: Option<&'a MatchClause>,
    pub window: Option<(&'a WindowClause, Span)>,
    pub within: Option<DurationLit>,
    pub when: Option<&'a ast::Expr>,
    pub emit: Option<(&'a EmitClause, Span)>,
    pub message: Option<&'a MessageClause>,
    pub suppress: Option<&'a SuppressClause>,
    pub skip: Option<(&'a Skip, Span)>,
    pub report: Option<(Report, Span)>,
    pub stop: Option<&'a StopClause>,
    pub lateness: Option<(DurationLit, Span)>,
    pub processing: Option<Span>,
}

impl<'a> Clauses<'a> {
    /// Takes the first clause of each kind and refuses the others.
    pub fn read(decl: &'a RuleDecl, found: &mut Vec<Diagnostic>) -> Self {
        let mut clauses = Clauses::default();
        for (i, clause) in decl.clauses.iter().enumerate() {
            let same = |c: &&Clause| std::mem::discriminant(&c.kind) == std::mem::discriminant(&clause.kind);
            if let Some(first) = decl.clauses[..i].iter().find(same) {
                found.push(
                    Diagnostic::new(Code::DoubledClause, clause.span, "this clause stands twice in the rule")
                        .label("here again")
                        .also(first.span, "first here")
                        .help("keep one of them"),
                );
                continue;
            }
            clauses.take(clause);
        }
        clauses
    }

    fn take(&mut self, clause: &'a Clause) {
        let span = clause.span;
        match &clause.kind {
            ClauseKind::Title(t) => self.title = Some(t),
            ClauseKind::Severity(e) => self.severity = Some(e),
            ClauseKind::Risk(e) => self.risk = Some(e),
            ClauseKind::Tags(t) => self.tags = t,
            ClauseKind::By(by) => self.by = Some(by),
            ClauseKind::Match(m) => self.matching = Some(m),
            ClauseKind::Window(w) => self.window = Some((w, span)),
            ClauseKind::Within(d) => self.within = Some(*d),
            ClauseKind::When(e) => self.when = Some(e),
            ClauseKind::Emit(e) => self.emit = Some((e, span)),
            ClauseKind::Message(m) => self.message = Some(m),
            ClauseKind::Suppress(s) => self.suppress = Some(s),
            ClauseKind::Skip(s) => self.skip = Some((s, span)),
            ClauseKind::Report(r) => self.report = Some((*r, span)),
            ClauseKind::StopOn(s) => self.stop = Some(s),
            ClauseKind::Lateness(d) => self.lateness = Some((*d, span)),
            ClauseKind::TimeProcessing => self.processing = Some(span),
        }
    }
}

impl<'a> RuleCheck<'a> {
    pub fn no_match(&mut self, decl: &RuleDecl) {
        let text = format!("rule `{}` matches nothing", decl.name.text);
        self.error(Diagnostic::new(Code::NoMatch, decl.name.span, text).help("add a line `match x: login where …`"));
    }

    /// The fields of the alert; `None` where one of them is wrong.
    pub fn emit(&mut self, clauses: &Clauses<'a>) -> Option<Vec<(String, Expr)>> {
        let Some((emit, _)) = clauses.emit else { return Some(Vec::new()) };
        let mut fields = Vec::with_capacity(emit.fields.len());
        for (i, (name, value)) in emit.fields.iter().enumerate() {
            if let Some((first, _)) = emit.fields[..i].iter().find(|(n, _)| n.text == name.text) {
                let text = format!("the field `{}` is emitted twice", name.text);
                self.error(Diagnostic::new(Code::Duplicate, name.span, text).also(first.span, "first here"));
            }
            let value = match &emit.into {
                Some(into) => self.derived_value(into, name, value),
                None => self.expr(value, Scope::result(), None),
            };
            fields.push(value.map(|e| (name.text.clone(), e)));
        }
        fields.into_iter().collect()
    }

    /// The parts of the message.
    pub fn message(&mut self, message: &MessageClause) -> Vec<Expr> {
        match message {
            MessageClause::Expr(e) => self.typed(e, Scope::result(), &Type::String, "a message").into_iter().collect(),
            MessageClause::Template(parts, span) => parts
                .iter()
                .filter_map(|part| match part {
                    MessagePart::Text(text) => {
                        Some(Expr { kind: ExprKind::Const(Value::text(text.clone())), ty: Type::String, span: *span })
                    }
                    MessagePart::Hole(e) => self.expr(e, Scope::result(), None),
                })
                .collect(),
        }
    }

    /// The severity; `medium` where none is written.
    pub fn severity(&mut self, e: Option<&ast::Expr>) -> Option<Expr> {
        let Some(e) = e else {
            let kind = ExprKind::Const(Value::text("medium"));
            return Some(Expr { kind, ty: Type::String, span: Span::default() });
        };
        if let ast::ExprKind::Name(name) = &e.kind
            && !SEVERITIES.contains(&name.as_str())
            && !self.key.names.contains(name)
        {
            self.error(unknown(Code::UnknownName, "severity", name, e.span, SEVERITIES));
            return None;
        }
        let severity = self.typed(e, Scope::at(Site::Severity), &Type::String, "a severity")?;
        self.known_severities(&severity);
        Some(severity)
    }

    /// Texts that a severity can be must name one.
    fn known_severities(&mut self, e: &Expr) {
        match &e.kind {
            ExprKind::Const(Value::Text(t)) if !SEVERITIES.contains(&t.as_ref()) => {
                self.error(unknown(Code::UnknownName, "severity", &t.clone(), e.span, SEVERITIES));
            }
            ExprKind::If(_, a, b) | ExprKind::Coalesce(a, b) => {
                self.known_severities(a);
                self.known_severities(b);
            }
            _ => {}
        }
    }

    pub fn risk(&mut self, e: &ast::Expr) -> Option<Expr> {
        let risk = self.expr(e, Scope::result(), None)?;
        if super::expr::is_number(&risk.ty) {
            return Some(risk);
        }
        let text = format!("a risk is a number, and `{}` is {}", self.text(e.span), risk.ty);
        self.error(Diagnostic::new(Code::WrongType, e.span, text));
        None
    }

    pub fn suppress(&mut self, clause: &SuppressClause) -> Option<Suppress> {
        let by: Vec<Option<Expr>> = clause.by.iter().map(|e| self.expr(e, Scope::result(), None)).collect();
        let by: Vec<Expr> = by.into_iter().collect::<Option<_>>()?;
        Some(Suppress { duration: clause.duration.ms, by: (!by.is_empty()).then_some(by) })
    }

    pub fn stop(&mut self, clause: &StopClause) -> Option<Stop> {
        let event = self.event_of(&clause.event)?;
        let key = self.key_of(event, clause.event.span);
        let filter = match &clause.filter {
            None => None,
            Some(e) => {
                let typed = self.condition(e, Scope::at(Site::Stop(event)))?;
                self.refuse_never(std::slice::from_ref(&typed));
                Some(typed)
            }
        };
        Some(Stop { event, key: key?, filter })
    }

    /// What a reported match ends. `each` and `last` take no `skip` and report early only.
    pub fn skip(&mut self, clauses: &Clauses<'a>) -> ir::Skip {
        let mode = RuleCheck::mode(clauses);
        if mode != MatchMode::One {
            self.refuse_mode(clauses, if mode == MatchMode::Each { "each" } else { "last" });
        }
        match clauses.skip {
            None | Some((Skip::PastLast, _)) => ir::Skip::PastLast,
            Some((Skip::ToNext, _)) => ir::Skip::ToNext,
            Some((Skip::None, _)) => ir::Skip::None,
            Some((Skip::ToFirst(step), _)) => self.skip_step(step).map_or(ir::Skip::ToNext, ir::Skip::ToFirst),
            Some((Skip::ToLast(step), _)) => self.skip_step(step).map_or(ir::Skip::ToNext, ir::Skip::ToLast),
        }
    }

    /// `lateness`, and what does not go with it; 0 where the clause is not there.
    pub fn lateness(&mut self, clauses: &Clauses<'a>) -> i64 {
        let Some((lateness, span)) = clauses.lateness else { return 0 };
        let into = clauses.emit.and_then(|(emit, _)| emit.into.as_ref());
        let clashes = [
            (into.map(|into| into.span), "emit into", "an event that was derived cannot be taken back"),
            (
                clauses.report.filter(|(r, _)| *r != Report::Early).map(|(_, s)| s),
                "report",
                "what was reported is revised for late events: it is reported early",
            ),
            (
                clauses.processing,
                "time processing",
                "events have the time at which they come, so that none is late: take one of the lines away",
            ),
        ];
        for (place, name, help) in clashes {
            if let Some(place) = place {
                let text = format!("`{name}` does not go with `lateness`");
                self.error(Diagnostic::new(Code::LatenessClash, place, text).also(span, "the lateness").help(help));
            }
        }
        let by_time = |w: &ir::Window| w.takes_late();
        if clauses.window.is_none() && self.ends_in_absence.is_none() && !self.windows.iter().any(by_time) {
            let text = "a late event changes nothing of this rule";
            let finding = Diagnostic::new(Code::IdleLateness, span, text);
            self.error(finding.help("windows of time and absences at the end are revised: take the line away"));
        }
        lateness.ms
    }

    fn refuse_mode(&mut self, clauses: &Clauses<'a>, mode: &str) {
        if let Some((_, span)) = clauses.skip {
            let finding = Diagnostic::new(Code::ModeClash, span, format!("`match {mode}` takes no `skip`"));
            self.error(finding.help("`skip` says what one reported match ends: it belongs to plain `match`"));
        }
        if let Some((Report::Final | Report::Updates, span)) = clauses.report {
            let finding = Diagnostic::new(Code::ModeClash, span, format!("`match {mode}` always reports early"));
            self.error(finding.help("`report final` and `report updates` belong to plain `match`"));
        }
    }

    fn skip_step(&mut self, name: &Ident) -> Option<StepId> {
        let step = self.find_step(&name.text, None);
        match step.map(|s| (s, self.step(s).absence)) {
            Some((step, false)) => {
                self.read.push(step);
                Some(step)
            }
            Some((_, true)) => {
                let text = format!("`{}` must not happen, so it has no place to skip to", name.text);
                self.error(Diagnostic::new(Code::AbsenceRead, name.span, text));
                None
            }
            None => {
                let steps: Vec<&str> = self.steps.iter().filter(|s| !s.absence).map(|s| s.name).collect();
                self.error(unknown(Code::UnknownStep, "step", &name.text, name.span, steps));
                None
            }
        }
    }
}
