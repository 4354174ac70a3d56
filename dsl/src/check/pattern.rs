//! The pattern: its typed form, and what is wrong with its structure.

use super::clauses::Clauses;
use super::reach::{Scope, Site};
use super::rule::RuleCheck;
use super::steps::repeats;
use crate::diagnostics::{Code, Diagnostic};
use crate::ir::{self, Expr, StepId};
use crate::syntax::ast::{
    Absence, Contiguity, Element, ElementKind, Group, Link, Pattern, PatternKind, Quantifier, Step,
};

impl<'a> RuleCheck<'a> {
    /// The conditions of every step: the terms of `where`, and `until`.
    pub fn conditions(&mut self) -> Vec<(Vec<Expr>, Option<Expr>)> {
        (0..self.steps.len()).map(|i| self.step_conditions(StepId(i as u16))).collect()
    }

    fn step_conditions(&mut self, id: StepId) -> (Vec<Expr>, Option<Expr>) {
        let step = self.step(id).step;
        let terms = step.filter.as_ref().map(|e| self.terms(e, Scope::at(Site::Where(id)))).unwrap_or_default();
        self.refuse_never(&terms);
        let until = step.until.as_ref().and_then(|e| self.condition(e, Scope::at(Site::Until(id))));
        if let Some(until) = &until {
            self.refuse_never(std::slice::from_ref(until));
        }
        (terms, until)
    }

    /// The typed form of the pattern, whose steps are numbered in the order of the text.
    pub fn pattern(&self, pattern: &Pattern) -> Option<ir::Pattern> {
        let mut next = 0;
        let typed = typed(pattern, &mut next);
        (next as usize == self.steps.len()).then_some(typed)
    }

    /// What a pattern must have and must not hold.
    pub fn check_structure(&mut self, clauses: &Clauses<'a>) {
        let Some(matching) = clauses.matching else { return };
        self.structure(&matching.pattern, true, clauses.within.is_some());
        if clauses.within.is_none() && most_events(&matching.pattern).is_none_or(|n| n > 1) {
            let finding = Diagnostic::new(
                Code::NoWithin,
                matching.pattern.span,
                "this pattern can hold more than one event, and nothing limits how long it may take",
            );
            self.error(finding.label("no `within`").help("add a line `within 10m`: runs that take longer end"));
        }
    }

    fn structure(&mut self, pattern: &'a Pattern, last: bool, limited: bool) {
        match &pattern.kind {
            PatternKind::Step(step) => self.step_structure(step),
            PatternKind::All(sides) => sides.iter().for_each(|s| self.structure(s, false, limited)),
            PatternKind::Any(sides) => sides.iter().for_each(|s| self.structure(s, last, limited)),
            PatternKind::Group(group) => self.group_structure(group, pattern, last, limited),
            PatternKind::Sequence(elements) => {
                let binds = elements.iter().rposition(|e| matches!(e.kind, ElementKind::Pattern(_))).unwrap_or(0);
                for (i, element) in elements.iter().enumerate() {
                    match &element.kind {
                        ElementKind::Pattern(p) => self.structure(p, last && i + 1 == elements.len(), limited),
                        ElementKind::Absence(a) => self.absence_structure(element, a, last && i > binds, limited),
                    }
                }
            }
        }
    }

    fn step_structure(&mut self, step: &'a Step) {
        if let Some(quantifier) = step.repeat {
            self.quantifier(quantifier);
        }
        if !repeats(step.repeat) {
            self.loose(step.contiguity, step.apart.map(|a| a.span), step.span);
        }
    }

    fn group_structure(&mut self, group: &'a Group, pattern: &Pattern, last: bool, limited: bool) {
        if let Some(quantifier) = group.repeat {
            self.quantifier(quantifier);
        }
        if !repeats(group.repeat) {
            self.loose(group.contiguity, group.apart.map(|a| a.span), pattern.span);
        }
        let once = group.repeat.is_none_or(|q| q.min == 1 && q.max == Some(1));
        self.structure(&group.body, last && once, limited);
    }

    /// `{5,2}`, `{0}`
    fn quantifier(&mut self, q: Quantifier) {
        let written = self.text(q.span);
        match q.max {
            Some(0) => {
                let finding = Diagnostic::new(Code::BadRepetition, q.span, format!("`{written}` never takes anything"));
                self.error(finding.help("take the step away, or forbid it: `then not …`"));
            }
            Some(max) if max < q.min => {
                let finding = Diagnostic::new(
                    Code::BadRepetition,
                    q.span,
                    format!("`{written}` asks for at least {} and at most {max}", q.min),
                );
                self.error(finding.help("the smaller number comes first").fix(q.span, format!("{{{max},{}}}", q.min)));
            }
            _ => {}
        }
    }

    /// `next`, `any` and `apart` behind something that is not repeated.
    fn loose(&mut self, contiguity: Contiguity, apart: Option<crate::syntax::Span>, place: crate::syntax::Span) {
        let word = match contiguity {
            Contiguity::Strict => "next",
            Contiguity::Any => "any",
            Contiguity::Relaxed if apart.is_some() => "apart",
            Contiguity::Relaxed => return,
        };
        let text = format!("`{word}` here says how repetitions follow each other, and nothing is repeated");
        let finding = Diagnostic::new(Code::LooseLink, apart.unwrap_or(place), text);
        self.error(finding.help(match word {
            "apart" => "between two steps write `then within 30s`".to_owned(),
            word => format!("between two steps write `then {word}`"),
        }));
    }

    fn absence_structure(&mut self, element: &'a Element, absence: &'a Absence, last: bool, limited: bool) {
        if last {
            self.ends_in_absence = Some(absence.span);
        }
        if element.link.contiguity == Contiguity::Any {
            let finding = Diagnostic::new(
                Code::LooseLink,
                element.span,
                "`then any not` says nothing: an absence binds no event",
            );
            self.error(finding.help("write `then not`, or `then next not` for the very next event"));
        }
        for step in &absence.steps {
            let repeat = step.repeat.map(|q| q.span).or(step.until.as_ref().map(|u| u.span));
            if let Some(span) = repeat.or(step.apart.map(|a| a.span)) {
                let finding = Diagnostic::new(
                    Code::BadRepetition,
                    span,
                    "what must not happen is not repeated: the first one ends the run",
                );
                self.error(finding.help("take the repetition away, or count: `where count(n) over 10m == 0`"));
            }
        }
        match absence.within {
            Some(limit) if !last => {
                let finding = Diagnostic::new(
                    Code::AbsenceLimit,
                    limit.span,
                    "only an absence at the end of the pattern has a limit of its own",
                );
                self.error(
                    finding.help("here it lasts until the next step is bound: limit that one, `then within 5m B`"),
                );
            }
            None if last && !limited => {
                let finding =
                    Diagnostic::new(Code::AbsenceLimit, absence.span, "nothing says how long this absence has to last");
                self.error(finding.help("write `then not N within 5m`, or give the rule a `within`"));
            }
            _ => {}
        }
    }
}

/// The most events a match can hold; `None`: without bound.
pub(super) fn most_events(pattern: &Pattern) -> Option<u64> {
    let times = |q: Option<Quantifier>| q.map_or(Some(1), |q| q.max.map(u64::from));
    match &pattern.kind {
        PatternKind::Step(step) => times(step.repeat),
        PatternKind::All(sides) => sides.iter().map(most_events).try_fold(0u64, |a, b| Some(a.saturating_add(b?))),
        PatternKind::Any(sides) => sides.iter().map(most_events).try_fold(0, |a, b| Some(a.max(b?))),
        PatternKind::Group(group) => Some(most_events(&group.body)?.saturating_mul(times(group.repeat)?)),
        PatternKind::Sequence(elements) => elements
            .iter()
            .filter_map(|e| if let ElementKind::Pattern(p) = &e.kind { Some(most_events(p)) } else { None })
            .try_fold(0u64, |a, b| Some(a.saturating_add(b?))),
    }
}

fn typed(pattern: &Pattern, next: &mut u16) -> ir::Pattern {
    match &pattern.kind {
        PatternKind::Step(step) => {
            let body = ir::Pattern::Step(take(next));
            match step.repeat {
                None => body,
                Some(q) => repeated(body, q, step.contiguity, step.apart.map(|d| d.ms), None),
            }
        }
        PatternKind::All(sides) => ir::Pattern::All(sides.iter().map(|s| typed(s, next)).collect()),
        PatternKind::Any(sides) => ir::Pattern::Any(sides.iter().map(|s| typed(s, next)).collect()),
        PatternKind::Sequence(elements) => ir::Pattern::Sequence(elements.iter().map(|e| element(e, next)).collect()),
        PatternKind::Group(group) => {
            let body = typed(&group.body, next);
            let once = Quantifier { min: 1, max: Some(1), reluctant: false, span: pattern.span };
            match (group.repeat, group.within) {
                (None, None) => body,
                (repeat, within) => repeated(
                    body,
                    repeat.unwrap_or(once),
                    group.contiguity,
                    group.apart.map(|d| d.ms),
                    within.map(|d| d.ms),
                ),
            }
        }
    }
}

fn repeated(
    body: ir::Pattern,
    q: Quantifier,
    contiguity: Contiguity,
    apart: Option<i64>,
    within: Option<i64>,
) -> ir::Pattern {
    ir::Pattern::Loop(Box::new(ir::Loop {
        body,
        min: q.min,
        max: q.max,
        reluctant: q.reluctant,
        contiguity,
        apart,
        within,
    }))
}

fn element(element: &Element, next: &mut u16) -> ir::Element {
    let Link { within, contiguity } = &element.link;
    match &element.kind {
        ElementKind::Pattern(p) => {
            ir::Element::Bind { contiguity: *contiguity, within: within.map(|d| d.ms), pattern: typed(p, next) }
        }
        ElementKind::Absence(a) => ir::Element::Absence {
            steps: a.steps.iter().map(|_| take(next)).collect(),
            next: *contiguity == Contiguity::Strict,
            within: a.within.map(|d| d.ms),
        },
    }
}

fn take(next: &mut u16) -> StepId {
    *next += 1;
    StepId(*next - 1)
}
