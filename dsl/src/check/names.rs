//! What the files declare, and the words for a name that is not there.

use std::collections::BTreeMap;

use crate::diagnostics::{Code, Diagnostic, nearest};
use crate::syntax::Span;
use crate::syntax::ast::{Decl, EventDecl, FeatureDecl, Ident, ListDecl, ModelDecl, RuleDecl, TableDecl};

/// The declarations of a rule set by name. Of several of one kind and name the first counts.
#[derive(Default)]
pub(super) struct Names<'a> {
    pub events: BTreeMap<&'a str, &'a EventDecl>,
    pub rules: BTreeMap<&'a str, &'a RuleDecl>,
    pub lists: BTreeMap<&'a str, &'a ListDecl>,
    pub tables: BTreeMap<&'a str, &'a TableDecl>,
    pub models: BTreeMap<&'a str, &'a ModelDecl>,
    pub features: BTreeMap<&'a str, &'a FeatureDecl>,
}

/// Collects declarations and refuses what is declared twice.
pub(super) fn collect<'a>(decls: &[&'a Decl], found: &mut Vec<Diagnostic>) -> Names<'a> {
    let mut names = Names::default();
    for decl in decls {
        match decl {
            Decl::Event(d) => add(&mut names.events, "event type", &d.name, d, |d| d.name.span, found),
            Decl::Rule(d) => add(&mut names.rules, "rule", &d.name, d, |d| d.name.span, found),
            Decl::List(d) => add(&mut names.lists, "list", &d.name, d, |d| d.name.span, found),
            Decl::Table(d) => add(&mut names.tables, "table", &d.name, d, |d| d.name.span, found),
            Decl::Model(d) => add(&mut names.models, "model", &d.name, d, |d| d.name.span, found),
            Decl::Feature(d) => add(&mut names.features, "feature", &d.name, d, |d| d.name.span, found),
            Decl::Test(_) => {}
        }
    }
    names
}

fn add<'a, T>(
    map: &mut BTreeMap<&'a str, &'a T>,
    kind: &str,
    name: &'a Ident,
    decl: &'a T,
    place: fn(&T) -> Span,
    found: &mut Vec<Diagnostic>,
) {
    match map.get(name.text.as_str()) {
        None => drop(map.insert(&name.text, decl)),
        Some(first) => found.push(
            Diagnostic::new(Code::Duplicate, name.span, format!("the {kind} `{}` is declared twice", name.text))
                .label("here again")
                .also(place(first), "first here")
                .help("give one of them another name, or take it away"),
        ),
    }
}

/// "unknown KIND `word`", with the nearest of the candidates as help and fix.
pub(super) fn unknown<'c>(
    code: Code,
    kind: &str,
    word: &str,
    span: Span,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Diagnostic {
    let finding = Diagnostic::new(code, span, format!("unknown {kind} `{word}`"));
    suggest(finding, word, span, candidates)
}

/// Adds the nearest of the candidates, or all of them where they are few, as help.
pub(super) fn suggest<'c>(
    finding: Diagnostic,
    word: &str,
    span: Span,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Diagnostic {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    match nearest(word, candidates.iter().copied()) {
        Some(name) => finding.help(format!("did you mean `{name}`?")).fix(span, name),
        None if candidates.is_empty() || candidates.len() > 12 => finding,
        None => {
            let list: Vec<String> = candidates.iter().map(|c| format!("`{c}`")).collect();
            finding.help(format!("there is {}", list.join(", ")))
        }
    }
}
