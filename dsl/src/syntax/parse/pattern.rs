//! Patterns: sequences, choices, conjunctions, groups, steps and absences.

use pest::iterators::Pair;

use super::Rule;
use super::build::{Builder, all, find, last, must, only};
use crate::diagnostics::Code;
use crate::syntax::Span;
use crate::syntax::ast::{
    Absence, Contiguity, DurationLit, Element, ElementKind, Group, Link, Pattern, PatternKind, Quantifier, Step,
};

impl Builder<'_> {
    /// `pattern`
    pub fn pattern(&mut self, pair: Pair<Rule>) -> Pattern {
        let span = self.span(&pair);
        let joins: Vec<Pair<Rule>> = all(&pair, Rule::join).map(only).collect();
        self.refuse_mixed(&joins);
        let mut elements = all(&pair, Rule::element).map(only);
        let first = elements.next().expect("a pattern has an element");
        match joins.first().map(Pair::as_rule) {
            None => self.element_pattern(first),
            Some(Rule::then_link) => {
                let mut list = vec![self.first_element(first)];
                list.extend(joins.into_iter().zip(elements).map(|(join, element)| self.element(join, element)));
                Pattern { kind: PatternKind::Sequence(list), span }
            }
            Some(sign) => {
                let parts = std::iter::once(first).chain(elements).map(|p| self.element_pattern(p)).collect();
                let kind = if sign == Rule::amp { PatternKind::All(parts) } else { PatternKind::Any(parts) };
                Pattern { kind, span }
            }
        }
    }

    fn refuse_mixed(&mut self, joins: &[Pair<Rule>]) {
        let Some(first) = joins.first() else { return };
        let Some(other) = joins.iter().find(|j| j.as_rule() != first.as_rule()) else { return };
        let (a, b) = (join_word(first), join_word(other));
        let (first, other) = (self.span(first), self.span(other));
        let finding =
            self.complain(Code::MixedJoins, other, format!("`{a}` and `{b}` stand side by side: which binds first?"));
        finding.primary.text = format!("`{b}` here");
        finding.secondary.push(crate::diagnostics::Label { span: first, text: format!("`{a}` here") });
        let help = match (a, b) {
            ("then", _) => {
                format!("put the `{b}` in parentheses, `A then (B {b} C)`, or the `then`, `(A then B) {b} C`")
            }
            (_, "then") => {
                format!("put the `{a}` in parentheses, `(A {a} B) then C`, or the `then`, `A {a} (B then C)`")
            }
            _ => format!("put one of them in parentheses: `(A {a} B) {b} C` or `A {a} (B {b} C)`"),
        };
        finding.help = Some(help);
    }

    fn first_element(&mut self, pair: Pair<Rule>) -> Element {
        let pattern = self.element_pattern(pair);
        Element { link: Link::default(), span: pattern.span, kind: ElementKind::Pattern(pattern) }
    }

    fn element(&mut self, join: Pair<Rule>, pair: Pair<Rule>) -> Element {
        let start = self.span(&join);
        let link = if join.as_rule() == Rule::then_link { self.link(&join) } else { Link::default() };
        let (kind, end) = match pair.as_rule() {
            Rule::absence => {
                let absence = self.absence(pair);
                if let Some(limit) = link.within {
                    let text = "the limit of an absence stands behind it";
                    self.complain(Code::MisplacedAbsence, limit.span, text).help =
                        Some("write `then not N within 5m`".to_owned());
                }
                (ElementKind::Absence(absence.clone()), absence.span)
            }
            _ => {
                let pattern = self.element_pattern(pair);
                let end = pattern.span;
                (ElementKind::Pattern(pattern), end)
            }
        };
        Element { link, kind, span: start.to(end) }
    }

    fn link(&mut self, pair: &Pair<Rule>) -> Link {
        let within = find(pair, Rule::link_within).map(|p| self.duration(&last(p)));
        let contiguity = find(pair, Rule::link_contiguity).map_or(Contiguity::Relaxed, |p| contiguity(&only(p)));
        Link { within, contiguity }
    }

    /// An element where only something to bind can stand: the first, a side of `&` or `|`.
    fn element_pattern(&mut self, pair: Pair<Rule>) -> Pattern {
        let span = self.span(&pair);
        match pair.as_rule() {
            Rule::group => {
                let kind = PatternKind::Group(self.group(pair));
                Pattern { kind, span }
            }
            Rule::step => {
                let step = self.step(pair);
                Pattern { span: step.span, kind: PatternKind::Step(step) }
            }
            _ => {
                let finding = self.complain(
                    Code::MisplacedAbsence,
                    span,
                    "`not` forbids something after a step and stands behind `then` alone",
                );
                finding.help =
                    Some("write `A then not N`, or count in a condition: `where count(n) over 10m == 0`".to_owned());
                let step = self.absence(pair).steps.remove(0);
                Pattern { span, kind: PatternKind::Step(step) }
            }
        }
    }

    fn absence(&mut self, pair: Pair<Rule>) -> Absence {
        let span = self.span(&pair);
        let choice = find(&pair, Rule::absent_choice).unwrap_or_else(|| pair.clone());
        let steps = all(&choice, Rule::step).map(|p| self.step(p)).collect();
        let within = find(&pair, Rule::within_part).map(|p| self.duration(&last(p)));
        Absence { steps, within, span }
    }

    fn group(&mut self, pair: Pair<Rule>) -> Group {
        Group {
            body: Box::new(self.pattern(must(&pair, Rule::pattern))),
            repeat: find(&pair, Rule::quantifier).map(|p| self.quantifier(p)),
            contiguity: find(&pair, Rule::contiguity).map_or(Contiguity::Relaxed, |p| contiguity(&p)),
            apart: self.limit(&pair, Rule::apart_part),
            within: self.limit(&pair, Rule::within_part),
        }
    }

    fn step(&mut self, pair: Pair<Rule>) -> Step {
        Step {
            name: find(&pair, Rule::step_name).map(|p| self.ident(&only(p))),
            event: self.ident(&must(&pair, Rule::type_name)),
            repeat: find(&pair, Rule::quantifier).map(|p| self.quantifier(p)),
            contiguity: find(&pair, Rule::contiguity).map_or(Contiguity::Relaxed, |p| contiguity(&p)),
            apart: self.limit(&pair, Rule::apart_part),
            by: find(&pair, Rule::by_part).map(|p| self.by(last(p))),
            filter: find(&pair, Rule::where_part).map(|p| self.expr(last(p))),
            until: find(&pair, Rule::until_part).map(|p| self.expr(last(p))),
            span: self.span(&pair),
        }
    }

    fn limit(&mut self, pair: &Pair<Rule>, part: Rule) -> Option<DurationLit> {
        find(pair, part).map(|p| self.duration(&last(p)))
    }

    fn quantifier(&mut self, pair: Pair<Rule>) -> Quantifier {
        let span: Span = self.span(&pair);
        let reluctant = find(&pair, Rule::reluctant).is_some();
        let (min, max) = match only(pair) {
            p if p.as_rule() == Rule::plus => (1, None),
            p if p.as_rule() == Rule::star => (0, None),
            p if p.as_rule() == Rule::optional => (0, Some(1)),
            times => {
                let bounds: Vec<u32> = all(&times, Rule::int).map(|p| self.count(&p)).collect();
                let open = find(&times, Rule::comma).is_some();
                (bounds[0], if open { bounds.get(1).copied() } else { Some(bounds[0]) })
            }
        };
        Quantifier { min, max, reluctant, span }
    }
}

fn contiguity(pair: &Pair<Rule>) -> Contiguity {
    if find(pair, Rule::k_next).is_some() { Contiguity::Strict } else { Contiguity::Any }
}

fn join_word(join: &Pair<Rule>) -> &'static str {
    match join.as_rule() {
        Rule::amp => "&",
        Rule::bar => "|",
        _ => "then",
    }
}
