//! Parts of the language that are read and checked, and that this version does not execute.
//!
//! Each gets one finding. When the engine learns one of them, its line here goes.

use super::clauses::Clauses;
use crate::diagnostics::{Code, Diagnostic};
use crate::syntax::Span;

/// "not yet executed by this version: …"
pub(super) fn not_yet(span: Span, what: &str, found: &mut Vec<Diagnostic>) {
    found.push(Diagnostic::new(Code::NotYet, span, format!("not yet executed by this version: {what}")));
}

/// Clauses.
pub(super) fn clauses(clauses: &Clauses<'_>, found: &mut Vec<Diagnostic>) {
    if let Some(span) = clauses.processing {
        not_yet(span, "`time processing`", found);
    }
}
