//! Checking: trees to typed rules, or to everything that is wrong with them.
//!
//! 1. `names` collects what the files declare, `schema` makes event types of it.
//! 2. `features` are checked, and `rule` goes through a rule: `steps` finds the pattern's steps, `keys` the key, `pattern` the structure, `clauses` the rest.
//! 3. `expr` and its neighbours (`reach`, `operators`, `membership`, `lookup`, `models`, `calls`, `aggregates`, `windows`) type expressions.
//! 4. `bounds` finds conditions that never hold, `unreachable` steps that never bind, `covered` and `lints` what is only doubtful, `derived` rules that build on each other.
//!
//! A finding never stops the others: an expression that is wrong has no value (`None`), and what needs it stays silent.

mod aggregates;
mod bounds;
mod calls;
mod clauses;
mod closing;
mod covered;
mod derived;
mod expr;
mod features;
mod keys;
mod lints;
mod lookup;
mod membership;
mod models;
mod names;
mod operators;
mod pattern;
mod reach;
mod rule;
mod samples;
mod schema;
mod steps;
mod tests;
mod unreachable;
mod windows;

use crate::diagnostics::Diagnostic;
use crate::ir::RuleSetIr;
use crate::syntax::{FileId, Sources, ast};
use names::Names;

/// What checking a rule set gave.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Event types and the rules without errors, in order of their names.
    pub ir: RuleSetIr,
    /// The tests with the names of their rules, in the order of the files.
    pub tests: Vec<(String, ast::TestDecl)>,
    /// Everything found, in the order of the files.
    pub diagnostics: Vec<Diagnostic>,
}

/// What all rules of a set share.
struct World<'a> {
    sources: &'a Sources,
    schema: crate::schema::Schema,
    names: Names<'a>,
    /// Features with a mistake, which has been reported.
    wrong_features: std::collections::BTreeSet<String>,
}

/// Checks the files of a rule set together: they share one name space.
pub fn check(files: &[(FileId, &ast::File)], sources: &Sources) -> Checked {
    let decls: Vec<&ast::Decl> = files.iter().flat_map(|(_, f)| &f.decls).collect();
    let mut found = Vec::new();
    let names = names::collect(&decls, &mut found);
    let schema = schema::schema(&names, &mut found);
    let mut world = World { sources, schema, names, wrong_features: Default::default() };
    world.wrong_features = features::features(&world, &mut found);
    let world = world;
    let mut rules = Vec::new();
    for decl in &decls {
        let ast::Decl::Rule(decl) = decl else { continue };
        let (rule, findings) = rule::check(&world, decl);
        found.extend(findings);
        // Of two of one name the first counts.
        let first = world.names.rules.get(decl.name.text.as_str());
        rules.extend(rule.filter(|_| first.is_some_and(|f| std::ptr::eq(*f, decl))));
    }
    rules.sort_by(|a, b| a.name.cmp(&b.name));
    covered::covered(&rules, &mut found);
    derived::refuse_cycles(&rules, &mut found);
    derived::refuse_mixed_times(&rules, &mut found);
    let tests = tests::tests(&world, &decls, &mut found);
    found.sort_by_key(|d| (d.primary.span, d.code));
    found.dedup();
    let World { schema, .. } = world;
    Checked { ir: RuleSetIr { schema, rules }, tests, diagnostics: found }
}
