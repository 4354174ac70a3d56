//! A whole rule set at once: texts to programs, with everything that is wrong in any of them.

use std::sync::Arc;

use crate::check::check;
use crate::compile::{automaton::STATES_MAX, compile};
use crate::diagnostics::{Code, Diagnostic};
use crate::ir::Rule;
use crate::program::Program;
use crate::schema::Schema;
use crate::syntax::{FileId, Sources, Span, ast, parse};

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
    let torn: Vec<Span> = diagnostics.iter().filter(|d| d.is_error()).map(|d| d.primary.span).collect();
    let incomplete = incomplete(&files, &torn);
    diagnostics.extend(checked.diagnostics.into_iter().filter(|d| !follows(d, &incomplete)));
    let mut programs = Vec::new();
    for rule in checked.ir.rules {
        if torn.iter().any(|t| inside(*t, rule.span)) {
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

fn inside(place: Span, whole: Span) -> bool {
    place.file == whole.file && whole.start <= place.start && place.start <= whole.end
}

/// The rules of which a piece could not be read, and whether their `by` was.
fn incomplete(files: &[(FileId, ast::File)], torn: &[Span]) -> Vec<(Span, bool)> {
    let decls = files.iter().flat_map(|(_, f)| &f.decls);
    let rules = decls.filter_map(|d| if let ast::Decl::Rule(r) = d { Some(r) } else { None });
    rules
        .filter(|r| torn.iter().any(|t| inside(*t, r.span)))
        .map(|r| (r.span, r.clauses.iter().any(|c| matches!(c.kind, ast::ClauseKind::By(_)))))
        .collect()
}

/// Whether a finding may only be there because a clause of its rule could not be read.
fn follows(finding: &Diagnostic, incomplete: &[(Span, bool)]) -> bool {
    let Some((_, has_key)) = incomplete.iter().find(|(rule, _)| inside(finding.primary.span, *rule)) else {
        return false;
    };
    match finding.code {
        Code::NoMatch | Code::NoWithin | Code::UnusedBinding | Code::AbsenceLimit => true,
        Code::NoKey | Code::UnknownName | Code::KeyField => !has_key,
        _ => false,
    }
}

fn build(rule: Rule) -> Result<Program, Box<Diagnostic>> {
    let (name, span) = (rule.name.clone(), rule.span);
    compile(rule).map_err(|_| {
        let text =
            format!("the pattern of `{name}` has more than {STATES_MAX} states, or too many ways on from one of them");
        Box::new(Diagnostic::new(Code::PatternTooLarge, span, text).help(
            "split it into several rules; a large `{n}` costs nothing, but `&` of many sides and nested options do",
        ))
    })
}
