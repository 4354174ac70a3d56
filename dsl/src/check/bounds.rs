//! Conditions that never hold.

use super::rule::RuleCheck;
use crate::ir::Expr;

impl RuleCheck<'_> {
    /// Refuses terms that cannot hold together.
    pub fn refuse_never(&mut self, _terms: &[Expr]) {}
}
