//! Test declarations: the rule they test, the events they send, the fields they expect.

use super::World;
use super::names::unknown;
use crate::diagnostics::{Code, Diagnostic};
use crate::syntax::ast::{Decl, TestDecl};

/// The tests in the order of the files, with their rules' names.
pub(super) fn tests(world: &World<'_>, decls: &[&Decl], found: &mut Vec<Diagnostic>) -> Vec<(String, TestDecl)> {
    let mut tests = Vec::new();
    for decl in decls {
        let Decl::Test(test) = decl else { continue };
        let name = &test.rule;
        if !world.names.rules.contains_key(name.text.as_str()) {
            found.push(unknown(Code::UnknownRule, "rule", &name.text, name.span, world.names.rules.keys().copied()));
        }
        tests.push((name.text.clone(), test.clone()));
    }
    tests
}
