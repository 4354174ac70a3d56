//! What is allowed but doubtful: warnings.

use super::clauses::Clauses;
use super::rule::RuleCheck;
use crate::diagnostics::Diagnostic;
use crate::ir::Rule;
use crate::syntax::Span;

impl RuleCheck<'_> {
    /// The warnings about one rule.
    pub fn lint(&mut self, _clauses: &Clauses<'_>) {}
}

/// Warns of an expression that no literal guards.
pub(super) fn unguarded(_regex: &str, _span: Span, _found: &mut Vec<Diagnostic>) {}

/// Warns of rules whose every match another rule finds too.
pub(super) fn covered(_rules: &[Rule], _found: &mut Vec<Diagnostic>) {}
