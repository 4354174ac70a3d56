//! A whole rule set at once: texts to programs, with everything that is wrong in any of them.

use std::sync::Arc;

use crate::check::check;
use crate::compile::{automaton::STATES_MAX, compile};
use crate::diagnostics::{Code, Diagnostic};
use crate::ir::Rule;
use crate::program::Program;
use crate::schema::Schema;
use crate::syntax::{FileId, Sources, ast, parse};

/// What loading a rule set gave.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The event types.
    pub schema: Schema,
    /// The rules without errors, in order of their names.
    pub programs: Vec<Arc<Program>>,
    /// The tests with the names of their rules, in the order of the files.
    pub tests: Vec<(String, ast::TestDecl)>,
    /// Everything found in all files, in their order.
    pub diagnostics: Vec<Diagnostic>,
}

impl Loaded {
    /// Whether any finding is an error.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Parses, checks and compiles the files of a rule set. Rules without errors come out even where others have some.
pub fn load(sources: &Sources) -> Loaded {
    let mut diagnostics = Vec::new();
    let mut files: Vec<(FileId, ast::File)> = Vec::new();
    for (id, source) in sources.iter() {
        let parsed = parse(id, &source.text);
        diagnostics.extend(parsed.diagnostics);
        files.extend(parsed.file.map(|f| (id, f)));
    }
    let trees: Vec<(FileId, &ast::File)> = files.iter().map(|(id, f)| (*id, f)).collect();
    let checked = check(&trees, sources);
    // A rule of which a piece could not be read is not the rule that was meant.
    let torn: Vec<_> = diagnostics.iter().filter(|d| d.is_error()).map(|d| d.primary.span).collect();
    diagnostics.extend(checked.diagnostics);
    let mut programs = Vec::new();
    for rule in checked.ir.rules {
        if torn.iter().any(|t| t.file == rule.span.file && rule.span.start <= t.start && t.start <= rule.span.end) {
            continue;
        }
        match build(rule) {
            Ok(program) => programs.push(Arc::new(program)),
            Err(finding) => diagnostics.push(*finding),
        }
    }
    diagnostics.sort_by_key(|d| (d.primary.span, d.code));
    Loaded { schema: checked.ir.schema, programs, tests: checked.tests, diagnostics }
}

fn build(rule: Rule) -> Result<Program, Box<Diagnostic>> {
    let (name, span) = (rule.name.clone(), rule.span);
    compile(rule).map_err(|_| {
        let text = format!("the pattern of `{name}` has more than {STATES_MAX} states, or too many ways on from one of them");
        Box::new(Diagnostic::new(Code::PatternTooLarge, span, text).help("split it into several rules; a large `{n}` costs nothing, but `&` of many sides and nested options do"))
    })
}
