//! What a name means where it stands: fields of the candidate, steps, key fields, `prev`.

use super::names::suggest;
use super::rule::RuleCheck;
use super::steps::Relation;
use crate::diagnostics::{Code, Diagnostic};
use crate::ir::{Expr, ExprKind, Of, Pick, StepId};
use crate::schema::EventId;
use crate::syntax::Span;
use crate::syntax::ast::{self, Ident};
use crate::value::{Type, Value};

/// The names of severities, lowest first.
pub(super) const SEVERITIES: [&str; 5] = ["info", "low", "medium", "high", "critical"];

/// Where an expression stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Site {
    /// `where` of a step.
    Where(StepId),
    /// `until` of a step.
    Until(StepId),
    /// `stop on`: the event that stops.
    Stop(EventId),
    /// Inside a window's aggregate: the counted event.
    Counted(EventId),
    /// `when`, `emit`, `message`, `risk`, `suppress by`.
    Result,
    /// The value of a `feature`: windows and other features.
    Feature,
    /// `severity`: the names of severities are texts.
    Severity,
}

/// Where an expression stands, and in which aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub site: Site,
    /// The step whose elements an aggregate around the expression runs over.
    pub element: Option<StepId>,
}

impl Scope {
    pub fn at(site: Site) -> Self {
        Scope { site, element: None }
    }

    pub fn result() -> Self {
        Scope::at(Site::Result)
    }

    /// The step whose candidate is judged.
    pub fn reader(self) -> Option<StepId> {
        match self.site {
            Site::Where(step) | Site::Until(step) => Some(step),
            _ => None,
        }
    }
}

impl RuleCheck<'_> {
    /// The type of the event that bare names belong to.
    pub fn candidate(&self, scope: Scope) -> Option<EventId> {
        match scope.site {
            Site::Where(step) | Site::Until(step) => self.step(step).event,
            Site::Stop(event) | Site::Counted(event) => Some(event),
            Site::Result | Site::Severity | Site::Feature => None,
        }
    }

    /// A bare name as a value.
    pub fn bare(&mut self, name: &str, span: Span, scope: Scope) -> Option<Expr> {
        if scope.site == Site::Severity && SEVERITIES.contains(&name) {
            return Some(Expr { kind: ExprKind::Const(Value::text(name.to_owned())), ty: Type::String, span });
        }
        if matches!(scope.site, Site::Result | Site::Severity) {
            if let Some(i) = self.key.names.iter().position(|n| n == name) {
                let ty = self.key.types.get(i)?.clone();
                return Some(Expr { kind: ExprKind::Key(i as u16), ty, span });
            }
        } else if let Some(candidate) = self.candidate(scope) {
            let event = self.event_type(candidate);
            if let Some(field) = event.find(name) {
                return Some(Expr {
                    kind: ExprKind::Field(Of::Candidate, field),
                    ty: event.field(field).ty.clone(),
                    span,
                });
            }
        }
        if let Some(value) = self.feature(name, span, scope) {
            return value;
        }
        self.no_such_name(name, span, scope);
        None
    }

    fn no_such_name(&mut self, name: &str, span: Span, scope: Scope) {
        if self.bare_data(name, span) {
            return;
        }
        if name == "prev"
            || self.find_step(name, scope.reader()).is_some_and(|s| Some(s) == scope.reader() || !self.step(s).absence)
        {
            let finding = Diagnostic::new(
                Code::WholeEvent,
                span,
                format!("`{name}` is a whole event, and a value is needed here"),
            );
            self.error(finding.help(format!("write one of its fields, `{name}.field`, or `count({name})`")));
            return;
        }
        let finding = Diagnostic::new(Code::UnknownName, span, format!("unknown name `{name}`"));
        let finding = match scope.site {
            Site::Result | Site::Severity => self.suggest_result(finding, name, span),
            Site::Feature => return self.unknown_in_feature(name, span),
            _ => {
                let Some(event) = self.candidate(scope) else { return };
                let event = self.event_type(event);
                let finding = finding.label(format!("`{}` has no such field", event.name));
                let fields = event.fields.iter().map(|f| f.name.as_str());
                let names = &self.world.names;
                suggest(
                    finding,
                    name,
                    span,
                    fields.chain(names.lists.keys().copied()).chain(names.features.keys().copied()),
                )
            }
        };
        self.error(finding);
    }

    /// Outside `where` a field is written with its step: name the step that has it.
    fn suggest_result(&self, finding: Diagnostic, name: &str, span: Span) -> Diagnostic {
        let has = |event: EventId| self.event_type(event).find(name).is_some();
        let owner = self.steps.iter().find(|s| !s.absence && s.event.is_some_and(has));
        if let Some(step) = owner {
            let better = format!("{}.{name}", step.name);
            return finding.help("a bare name is a key field here; a field is written with its step").fix(span, better);
        }
        let steps = self.steps.iter().filter(|s| !s.absence).map(|s| s.name);
        let lists = self.world.names.lists.keys().copied();
        let features = self.world.names.features.keys().copied();
        let own = self.key.names.iter().map(String::as_str);
        suggest(finding, name, span, own.chain(steps).chain(lists).chain(features))
    }

    /// `a.country`, `prev.amount`, `first(f).at`, `login.country` in a window.
    pub fn member(&mut self, owner: &ast::Expr, field: &Ident, span: Span, scope: Scope) -> Option<Expr> {
        let (of, event) = match &owner.kind {
            ast::ExprKind::Name(name) => self.owner(name, owner.span, field, scope)?,
            ast::ExprKind::Call(call) if matches!(call.name.text.as_str(), "first" | "last") && call.over.is_none() => {
                self.picked(call, scope)?
            }
            ast::ExprKind::Call(call) if call.name.text == "geoip" => return self.place_of(call, field, span, scope),
            ast::ExprKind::Index(..) => return self.column(owner, field, span, scope),
            _ => {
                let text = format!("`{}` is a value and has no field `{}`", self.text(owner.span), field.text);
                self.error(Diagnostic::new(Code::UnknownField, field.span, text));
                return None;
            }
        };
        self.field(of, event, field, span)
    }

    fn field(&mut self, of: Of, event: EventId, field: &Ident, span: Span) -> Option<Expr> {
        let event = self.event_type(event);
        let Some(id) = event.find(&field.text) else {
            let text = format!("`{}` has no field `{}`", event.name, field.text);
            let finding = Diagnostic::new(Code::UnknownField, field.span, text);
            self.error(suggest(finding, &field.text, field.span, event.fields.iter().map(|f| f.name.as_str())));
            return None;
        };
        Some(Expr { kind: ExprKind::Field(of, id), ty: event.field(id).ty.clone(), span })
    }

    /// Whose field `name.field` is.
    fn owner(&mut self, name: &str, span: Span, field: &Ident, scope: Scope) -> Option<(Of, EventId)> {
        if let Site::Counted(event) | Site::Stop(event) = scope.site {
            return self.owner_of_one(name, span, event, scope);
        }
        if let Some(step) = self.find_step(name, scope.reader()) {
            if scope.reader() == Some(step) && scope.element != Some(step) {
                let text = format!("`{name}` is the event that is judged here: its fields are written bare");
                let finding = Diagnostic::new(Code::OwnName, span.to(field.span), text);
                self.error(
                    finding
                        .help(format!("for the element before, write `prev.{0}` or `last({name}).{0}`", field.text))
                        .fix(span.to(field.span), &field.text),
                );
                return None;
            }
            return self.bound(step, span, scope);
        }
        if name == "prev" {
            return self.prev(span, scope);
        }
        let Some(event) = self.world.schema.find(name) else {
            self.unknown_owner(name, span);
            return None;
        };
        let text = format!("`{name}` is an event type, and no step has this name");
        let step = self.steps.iter().find(|s| s.event == Some(event) && !s.absence).map(|s| s.name);
        let finding = Diagnostic::new(Code::UnknownStep, span, text);
        self.error(match step {
            Some(step) if Some(step) != scope.reader().map(|r| self.step(r).name) => {
                finding.help(format!("the step is called `{step}`")).fix(span, step)
            }
            _ => finding,
        });
        None
    }

    fn unknown_owner(&mut self, name: &str, span: Span) {
        if self.bare_data(name, span) {
            return;
        }
        let steps: Vec<&str> = self.steps.iter().filter(|s| !s.absence).map(|s| s.name).collect();
        self.error(super::names::unknown(Code::UnknownStep, "step", name, span, steps));
    }

    /// In a window and in `stop on` there is one event: the counted one may be written with its type.
    fn owner_of_one(&mut self, name: &str, span: Span, event: EventId, scope: Scope) -> Option<(Of, EventId)> {
        if matches!(scope.site, Site::Counted(_)) && self.event_type(event).name == name {
            return Some((Of::Candidate, event));
        }
        let (what, own) = match scope.site {
            Site::Stop(_) => ("the condition of `stop on` reads only its own event", "a bare name is its field"),
            _ => (
                "a window's condition reads only the counted event",
                "a bare name is its field; compare with other events outside of the window",
            ),
        };
        self.error(Diagnostic::new(Code::WindowMisuse, span, format!("{what}, not `{name}`")).help(own));
        None
    }

    /// A step whose events are read, if the run can have bound any by then.
    pub fn bound(&mut self, step: StepId, span: Span, scope: Scope) -> Option<(Of, EventId)> {
        self.readable(step, span, scope)?;
        let event = self.step(step).event?;
        let of = if scope.element == Some(step) { Of::Element } else { Of::Step(step, Pick::Last(0)) };
        Some((of, event))
    }

    /// Refuses what no run can have bound where the expression is evaluated.
    pub fn readable(&mut self, step: StepId, span: Span, scope: Scope) -> Option<()> {
        self.read.push(step);
        let name = self.step(step).name;
        if self.step(step).absence && scope.reader() != Some(step) {
            let finding = Diagnostic::new(
                Code::AbsenceRead,
                span,
                format!("`{name}` must not happen, so there is no event to read"),
            );
            self.error(finding.also(self.step(step).step.span, "an absence"));
            return None;
        }
        let Some(reader) = scope.reader().filter(|r| *r != step) else { return Some(()) };
        let place = self.step(step).step.label().span;
        let finding = match self.relation(reader, step) {
            Relation::Readable => return Some(()),
            Relation::OtherSide => {
                let text = format!("`{name}` is another side of this `&`: which of them comes first is open");
                Diagnostic::new(Code::OtherSide, span, text).help("compare them in `when`, once both are bound")
            }
            Relation::Later => {
                let text = format!("`{name}` is bound only after this step");
                Diagnostic::new(Code::BoundLater, span, text).help("compare them in the later step, or in `when`")
            }
        };
        self.error(finding.also(place, format!("`{name}` stands here")));
        None
    }

    /// `prev`: the element before the candidate, or before an aggregate's element.
    pub fn prev(&mut self, span: Span, scope: Scope) -> Option<(Of, EventId)> {
        let step = scope.element.or(scope.reader());
        let Some(step) = step else {
            let finding =
                Diagnostic::new(Code::PrevOutside, span, "`prev` has no meaning here: no element is looked at");
            self.error(
                finding.help("write it in the `where` of a repeated step, or in an aggregate: `max(f.at - prev.at)`"),
            );
            return None;
        };
        if !self.step(step).repeated {
            let name = self.step(step).name;
            let text = format!("`{name}` is not repeated, so there is no element before");
            let finding = Diagnostic::new(Code::PrevOutside, span, text).also(self.step(step).step.span, "this step");
            self.error(finding.help("write the name of the step before"));
            return None;
        }
        let event = self.step(step).event?;
        Some((if scope.element.is_some() { Of::ElementPrev } else { Of::Prev }, event))
    }

    /// `first(f)`, `last(f, n)`.
    pub fn picked(&mut self, call: &ast::Call, scope: Scope) -> Option<(Of, EventId)> {
        let (name, n) = match call.args.as_slice() {
            [step] => (&step.value, 0),
            [step, n] => (&step.value, self.whole(&n.value, 0)?),
            _ => {
                let text = format!("`{}` takes a step and, if wanted, a number", call.name.text);
                self.error(
                    Diagnostic::new(Code::WrongArguments, call.name.span, text)
                        .help(format!("`{}(f).at`, `{0}(f, 1).at`", call.name.text)),
                );
                return None;
            }
        };
        let ast::ExprKind::Name(step) = &name.kind else {
            let text = format!("`{}` takes a step, not `{}`", call.name.text, self.text(name.span));
            self.error(
                Diagnostic::new(Code::WrongArguments, name.span, text)
                    .help(format!("the field stands behind it: `{}(f).at`", call.name.text)),
            );
            return None;
        };
        let Some(id) = self.find_step(step, scope.reader()) else {
            self.unknown_owner(step, name.span);
            return None;
        };
        self.readable(id, name.span, scope)?;
        let event = self.step(id).event?;
        let pick = if call.name.text == "first" { Pick::First(n) } else { Pick::Last(n) };
        Some((Of::Step(id, pick), event))
    }

    /// A whole number as written, at least `least`.
    pub fn whole(&mut self, e: &ast::Expr, least: i64) -> Option<u32> {
        if let ast::ExprKind::Literal(ast::Literal::Int(n)) = e.kind
            && n >= least
            && let Ok(n) = u32::try_from(n)
        {
            return Some(n);
        }
        let text = format!("a whole number from {least} on is needed here, as written, not `{}`", self.text(e.span));
        self.error(Diagnostic::new(Code::NotConstant, e.span, text));
        None
    }
}
