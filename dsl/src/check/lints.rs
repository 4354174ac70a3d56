//! What is allowed but doubtful: warnings.

use super::clauses::Clauses;
use super::rule::RuleCheck;
use crate::diagnostics::{Code, Diagnostic};
use crate::syntax::Span;
use crate::syntax::ast::{MatchMode, Pattern, PatternKind, Quantifier};

impl<'a> RuleCheck<'a> {
    /// The warnings about one rule.
    pub fn lint(&mut self, clauses: &Clauses<'a>, name: Span) {
        if clauses.by.is_none() {
            let finding = Diagnostic::new(Code::NoKey, name, "this rule has no key: all events are one sequence");
            self.error(finding.help("add a line `by user`, unless events of different users belong together"));
        }
        if let Some(matching) = clauses.matching.filter(|m| m.mode == MatchMode::Each)
            && let Some(q) = unbounded(&matching.pattern)
        {
            let what = self.text(q.span);
            let finding = Diagnostic::new(Code::UnboundedEach, q.span, format!("`match each` reports every choice of elements for `{what}`"))
                .label("no greatest number")
                .help("of n events that fit within the time there are up to 2^n matches: give a greatest number, `{1,5}`, or use `match last`");
            self.error(finding);
        }
        // A condition that could not be read may read it.
        if !self.broken && !self.found.iter().any(Diagnostic::is_error) {
            self.unused_bindings();
        }
    }

    /// A name that is written, could be left out, and that nothing reads.
    fn unused_bindings(&mut self) {
        for i in 0..self.steps.len() {
            let step = &self.steps[i];
            let Some(name) = &step.step.name else { continue };
            let read = self.read.iter().any(|r| r.0 as usize == i);
            let ty = &step.step.event.text;
            let needed =
                self.steps.iter().enumerate().any(|(j, s)| j != i && (s.step.event.text == *ty || s.name == ty));
            if read || (needed && !step.absence) || step.event.is_none() {
                continue;
            }
            let finding = Diagnostic::new(Code::UnusedBinding, name.span, format!("nothing reads `{}`", name.text));
            let rest = Span { end: step.step.event.span.start, ..name.span };
            self.error(finding.help("leave the name out").fix(rest, ""));
        }
    }
}

/// A repetition without a greatest number, anywhere in the pattern.
fn unbounded(pattern: &Pattern) -> Option<Quantifier> {
    let open = |q: Option<Quantifier>| q.filter(|q| q.max.is_none());
    match &pattern.kind {
        PatternKind::Step(step) => open(step.repeat),
        PatternKind::Group(group) => open(group.repeat).or_else(|| unbounded(&group.body)),
        PatternKind::All(sides) | PatternKind::Any(sides) => sides.iter().find_map(unbounded),
        PatternKind::Sequence(elements) => elements.iter().find_map(|e| match &e.kind {
            crate::syntax::ast::ElementKind::Pattern(p) => unbounded(p),
            crate::syntax::ast::ElementKind::Absence(_) => None,
        }),
    }
}

/// Warns of an expression that no literal guards: it runs over every text in full.
pub(super) fn unguarded(regex: &str, span: Span, found: &mut Vec<Diagnostic>) {
    if crate::regex::literals(regex).is_none() {
        let text = "no literal stands in every text that this expression finds, so it is tried on each event";
        let help = if regex.contains("(?i") {
            "compare `lower(x)` with an expression in lower case: its letters are literals then"
        } else {
            "put a condition before it that is quick to test, such as `starts_with(…)` or `==`"
        };
        found.push(Diagnostic::new(Code::UnguardedRegex, span, text).help(help));
    }
}
