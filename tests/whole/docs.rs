//! The documents keep their word: rules in them compile, files they name exist.

use std::fs;
use std::path::{Path, PathBuf};

use lapwing_tests::engine::compile;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The fenced blocks of a language.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let fence = format!("```{language}\n");
    let starts = text.match_indices(&fence).map(|(at, _)| at + fence.len());
    starts.map(|at| &text[at..at + text[at..].find("\n```").expect("a fence is closed")]).collect()
}

/// The blocks of one document are one rule set: later ones use what earlier ones declare.
#[test]
fn rules_in_documents_compile() {
    for name in ["README.md", "docs/language.md", "docs/data.md", "docs/models.md"] {
        let text = read(name);
        let blocks = blocks(&text, "lapwing");
        assert!(!blocks.is_empty(), "{name} has no rule");
        // The documents on data and models bring no events: they have the demo's.
        let events =
            if matches!(name, "docs/data.md" | "docs/models.md") { read("rules/events.lap") } else { String::new() };
        if let Err(findings) = compile(&format!("{events}\n{}", blocks.join("\n\n"))) {
            panic!("{name}:\n{findings}");
        }
    }
}

#[test]
fn the_map_names_files_that_exist() {
    let text = read("ARCHITECTURE.md");
    let named: Vec<_> = text.split('`').skip(1).step_by(2).filter(|n| n.contains('/')).collect();
    assert!(named.len() > 20);
    for name in named {
        assert!(root().join(name).exists(), "ARCHITECTURE.md names {name}");
    }
}

#[test]
fn links_lead_somewhere() {
    for (name, folder) in [
        ("README.md", ""),
        ("docs/language.md", "docs"),
        ("docs/commands.md", "docs"),
        ("docs/data.md", "docs"),
        ("docs/models.md", "docs"),
        ("docs/config.md", "docs"),
        ("docs/install.md", "docs"),
    ] {
        let text = read(name);
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|l| !l.starts_with("http")) {
            let link = link.split('#').next().unwrap_or_default();
            assert!(root().join(folder).join(link).exists(), "{name} links to {link}");
        }
    }
}
