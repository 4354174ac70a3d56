//! What the compiler has to say: findings with a stable code, a place, a sentence and the mend.
//!
//! `codes` is the registry; a code is never reused. `nearest` finds the name that was meant. `render` draws a finding for a terminal. All findings
//! of a rule set are collected and reported at once.

mod codes;
mod nearest;
mod render;

use serde::Serialize;

use crate::syntax::Span;
pub use codes::Code;
pub use nearest::nearest;
pub use render::{JsonDiagnostic, JsonFix, JsonLabel, Place, render, to_json};

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The rule set does not compile.
    Error,
    /// It compiles, but look here.
    Warning,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnostic {
    /// Its stable code.
    pub code: Code,
    /// How grave it is.
    pub severity: Severity,
    /// What is wrong: lower case, no full stop, user input in backticks.
    pub message: String,
    /// Where, and what to see there.
    pub primary: Label,
    /// Other places that explain it.
    pub secondary: Vec<Label>,
    /// The mend in a sentence.
    pub help: Option<String>,
    /// The mend as an edit that a machine can make.
    pub fix: Option<Fix>,
}

/// A place with a short text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What to see there; may be empty.
    pub text: String,
}

/// Put `replacement` in place of `span`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fix {
    /// What goes.
    pub span: Span,
    /// What comes.
    pub replacement: String,
}

impl Diagnostic {
    /// A finding of the code's own severity at a place.
    pub fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        Diagnostic {
            code,
            severity: code.severity(),
            message: message.into(),
            primary: Label { span, text: String::new() },
            secondary: Vec::new(),
            help: None,
            fix: None,
        }
    }

    /// With a text at the primary place.
    pub fn label(mut self, text: impl Into<String>) -> Self {
        self.primary.text = text.into();
        self
    }

    /// With another place.
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.secondary.push(Label { span, text: text.into() });
        self
    }

    /// With a sentence of help.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// With an edit that mends it.
    pub fn fix(mut self, span: Span, replacement: impl Into<String>) -> Self {
        self.fix = Some(Fix { span, replacement: replacement.into() });
        self
    }

    /// Whether it stops the rule set from compiling.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
