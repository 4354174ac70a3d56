//! `lapwing check`: compiles rules and prints every finding.

use std::io::IsTerminal;
use std::path::PathBuf;

use lapwing_dsl::diagnostics::{render, to_json};
use lapwing_engine::migrate::outlook::{Outlook, outlook};

use super::{Exit, Format, compiled, contents, refuse};
use crate::control::files::{Rules, read};
use crate::control::plan::words;

/// Arguments of `check`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Rule files, or folders of them.
    #[arg(required = true)]
    rules: Vec<PathBuf>,
    /// Also read what this folder holds for the declared lists and tables, and say what is wrong with it.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Say what putting these rules in place of others would do to live state: the others' files or folder.
    #[arg(long, value_name = "OLD")]
    against: Vec<PathBuf>,
    /// Exit with 1 where there are warnings.
    #[arg(long)]
    strict: bool,
    /// For whom to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the command.
pub fn check(arguments: &Arguments) -> Exit {
    let rules = match read(&arguments.rules) {
        Ok(rules) => rules,
        Err(error) => return refuse(error),
    };
    if rules.sources.iter().next().is_none() {
        return refuse("there is no `.lap` file there");
    }
    if !arguments.against.is_empty() && rules.compiles() {
        return against(&rules, arguments);
    }
    print_findings(&rules, arguments.format);
    let (errors, warnings) = count(&rules);
    if arguments.format == Format::Text {
        let n = rules.loaded.programs.len();
        errln!("{}, {}, {}", many(n, "rule"), many(errors, "error"), many(warnings, "warning"));
    }
    let data = contents(arguments.data.as_deref(), &rules.loaded.schema);
    if errors > 0 {
        Exit::DoesNotCompile
    } else if let Err(exit) = data {
        exit
    } else if warnings > 0 && arguments.strict {
        Exit::Findings
    } else {
        Exit::Well
    }
}

/// Tells what becomes of live state.
fn against(rules: &Rules, arguments: &Arguments) -> Exit {
    let old = match compiled(&arguments.against) {
        Ok(old) => old,
        Err(exit) => return exit,
    };
    let all = match (old.rule_set(1), rules.rule_set(2)) {
        (Ok(old), Ok(new)) => outlook(&old, &new),
        (Err(refused), _) | (_, Err(refused)) => return refuse(refused),
    };
    let told: Vec<(String, &str, Vec<String>)> = all.iter().map(|one| told(one, rules)).collect();
    match arguments.format {
        Format::Text => {
            for (rule, what, details) in &told {
                outln!("{rule}: {what}");
                details.iter().for_each(|detail| outln!("    {detail}"));
            }
        }
        Format::Json => {
            let all: Vec<_> = told
                .iter()
                .map(|(rule, what, details)| serde_json::json!({"rule": rule, "runs": what, "details": details}))
                .collect();
            outln!("{}", serde_json::to_string_pretty(&all).expect("words are plain data"));
        }
    }
    Exit::Well
}

/// What becomes of a rule, in words.
fn told<'o>(one: &'o Outlook, rules: &Rules) -> (String, &'o str, Vec<String>) {
    let (what, mut details) = words(one);
    for window in &one.empty_windows {
        details.push(format!("`{}` begins empty", rules.sources.slice(*window)));
    }
    (one.rule.clone(), what, details)
}

fn many(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn count(rules: &Rules) -> (usize, usize) {
    let errors = rules.loaded.diagnostics.iter().filter(|d| d.is_error()).count();
    (errors, rules.loaded.diagnostics.len() - errors)
}

/// Prints all findings: drawn for a person, or one JSON array.
pub fn print_findings(rules: &Rules, format: Format) {
    match format {
        Format::Text => {
            let colour = std::io::stderr().is_terminal();
            for finding in &rules.loaded.diagnostics {
                errln!("{}", render(finding, &rules.sources, colour));
            }
        }
        Format::Json => {
            let findings: Vec<_> = rules.loaded.diagnostics.iter().map(|d| to_json(d, &rules.sources)).collect();
            outln!("{}", serde_json::to_string_pretty(&findings).expect("findings are plain data"));
        }
    }
}
