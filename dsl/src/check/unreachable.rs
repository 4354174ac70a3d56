//! Steps that no event can ever be bound to.

use super::bounds::Facts;
use super::clauses::Clauses;
use super::rule::RuleCheck;
use crate::diagnostics::{Code, Diagnostic};
use crate::ir::Expr;
use crate::schema::FieldId;
use crate::syntax::ast::{ElementKind, Pattern, PatternKind, Quantifier, Report, Step};

/// The terms of a step's `where`, and its `until`.
type Conditions = (Vec<Expr>, Option<Expr>);

impl<'a> RuleCheck<'a> {
    /// Finds a step whose `until` holds wherever its `where` does, and a side of `|` behind a wider one. Where a match
    /// needs the step it is refused; a way of several that is never taken is warned of.
    pub fn refuse_unreachable(&mut self, clauses: &Clauses<'a>, filters: &[Conditions], keys: &[Vec<FieldId>]) {
        for (i, (terms, until)) in filters.iter().enumerate() {
            let Some(until) = until else { continue };
            let ends = Facts::of(terms).is_ok_and(|f| f.implies(until));
            if ends && !terms.is_empty() {
                let step = self.steps[i].step;
                let text = format!(
                    "`{}` is never bound: its `until` holds for every event that its `where` takes",
                    self.steps[i].name
                );
                let needed = clauses.matching.is_some_and(|m| needs(&m.pattern, step));
                let code = if needed { Code::Unreachable } else { Code::DeadStep };
                let finding = Diagnostic::new(code, step.label().span, text)
                    .also(until.span, "an event for which this holds is never an element");
                self.error(if needed { finding.help("so the rule never matches") } else { finding });
            }
        }
        // Where every way is tried, the right side has its turn.
        let every_way = clauses.report.is_some_and(|(r, _)| r == Report::Final);
        if let Some(matching) = clauses.matching.filter(|_| !every_way) {
            self.choices(&matching.pattern, filters, keys);
        }
    }

    fn choices(&mut self, pattern: &'a Pattern, filters: &[Conditions], keys: &[Vec<FieldId>]) {
        match &pattern.kind {
            PatternKind::Step(_) => {}
            PatternKind::Group(group) => self.choices(&group.body, filters, keys),
            PatternKind::All(sides) => sides.iter().for_each(|s| self.choices(s, filters, keys)),
            PatternKind::Sequence(elements) => {
                for element in elements {
                    if let ElementKind::Pattern(p) = &element.kind {
                        self.choices(p, filters, keys);
                    }
                }
            }
            PatternKind::Any(sides) => {
                sides.iter().for_each(|s| self.choices(s, filters, keys));
                let steps: Vec<&Step> = sides.iter().filter_map(plain).collect();
                for (i, later) in steps.iter().enumerate() {
                    if let Some(wider) = steps[..i].iter().find(|s| self.takes_all(s, later, filters, keys)) {
                        self.hidden(later, wider);
                    }
                }
            }
        }
    }

    /// Whether every event that begins `later` is taken by `first`, which is preferred.
    fn takes_all(&self, first: &Step, later: &Step, filters: &[Conditions], keys: &[Vec<FieldId>]) -> bool {
        let place = |s: &Step| self.steps.iter().position(|info| std::ptr::eq(info.step, s));
        let (Some(a), Some(b)) = (place(first), place(later)) else { return false };
        self.steps[a].event.is_some()
            && self.steps[a].event == self.steps[b].event
            && keys[a] == keys[b]
            && filters[a].1.is_none()
            && Facts::of(&filters[b].0).is_ok_and(|facts| filters[a].0.iter().all(|t| facts.implies(t)))
            && first.filter.is_some() != filters[a].0.is_empty()
    }

    fn hidden(&mut self, later: &Step, wider: &Step) {
        let (name, first) = (&later.label().text, &wider.label().text);
        let text =
            format!("`{name}` is never bound: every event that it takes is taken by `{first}`, which is preferred");
        let finding = Diagnostic::new(Code::DeadStep, later.span, text).also(wider.span, "the wider side");
        self.error(finding.help("put the narrower side first"));
    }
}

/// Whether every match binds this step.
fn needs(pattern: &Pattern, step: &Step) -> bool {
    let passes = |q: Option<Quantifier>| q.is_none_or(|q| q.min > 0);
    match &pattern.kind {
        PatternKind::Step(s) => std::ptr::eq(s, step) && passes(s.repeat),
        PatternKind::Group(group) => passes(group.repeat) && needs(&group.body, step),
        PatternKind::All(sides) => sides.iter().any(|s| needs(s, step)),
        PatternKind::Any(_) => false,
        PatternKind::Sequence(elements) => {
            elements.iter().any(|e| matches!(&e.kind, ElementKind::Pattern(p) if needs(p, step)))
        }
    }
}

/// A side of a choice that is one step.
fn plain(pattern: &Pattern) -> Option<&Step> {
    match &pattern.kind {
        PatternKind::Step(step) => Some(step),
        _ => None,
    }
}
