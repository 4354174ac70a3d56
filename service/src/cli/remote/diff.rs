//! `lapwing diff`: what a folder of rules says otherwise than a running service.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lapwing_dsl::syntax::parse;
use serde_json::Value as Json;
use similar::TextDiff;

use super::Api;
use crate::cli::{Exit, compiled, refuse};
use crate::control::catalog::declared;

/// Arguments of `diff`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Rule files, or folders of them.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    api: Api,
}

/// Declarations by kind and name.
type Declared = BTreeMap<(String, String), String>;

/// Runs the command: ends with [`Exit::Findings`] where something differs.
pub fn run(arguments: &Arguments) -> Exit {
    let own = match compiled(&arguments.paths) {
        Ok(rules) => rules,
        Err(exit) => return exit,
    };
    let catalog = match arguments.api.get("/v1/catalog") {
        Ok(catalog) => catalog,
        Err(message) => return refuse(message),
    };
    let theirs = in_force(&catalog);
    let mut ours = Declared::new();
    for (id, source) in own.sources.iter() {
        for decl in parse(id, &source.text).file.into_iter().flat_map(|file| file.decls) {
            if let Some((kind, name)) = declared(&decl) {
                let span = decl.span();
                let text = source.text[span.start as usize..span.end as usize].trim();
                ours.insert((kind.to_owned(), name.to_owned()), text.to_owned());
            }
        }
    }
    let mut same = true;
    let names: std::collections::BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
    for key @ (kind, name) in names {
        let text = |of: &Declared| of.get(key).map(|text| format!("{text}\n")).unwrap_or_default();
        let (old, new) = (text(&theirs), text(&ours));
        if old != new {
            same = false;
            let diff = TextDiff::from_lines(&old, &new);
            let (there, here) = (format!("service: {kind} {name}"), format!("files: {kind} {name}"));
            out!("{}", diff.unified_diff().header(&there, &here));
        }
    }
    if same { Exit::Well } else { Exit::Findings }
}

/// What a service has in force.
fn in_force(catalog: &Json) -> Declared {
    let mut all = Declared::new();
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    for declared in catalog["declarations"].as_array().into_iter().flatten() {
        all.insert((text(&declared["kind"]), text(&declared["name"])), text(&declared["source"]));
    }
    let rules = super::rules_in_force(catalog);
    all.extend(rules.map(|(name, source)| (("rule".to_owned(), name.to_owned()), source.to_owned())));
    all
}
