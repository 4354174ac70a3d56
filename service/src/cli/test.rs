//! `lapwing test`: runs the tests that stand beside rules.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Instant;

use lapwing_dsl::diagnostics::{render, to_json};
use lapwing_engine::run::step::Transition;

use super::{Exit, Format, compiled};
use crate::testing;

/// Arguments of `test`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Rule files, or folders of them.
    #[arg(required = true)]
    rules: Vec<PathBuf>,
    /// Only tests whose rule or name holds this text.
    #[arg(long)]
    filter: Option<String>,
    /// Say nothing of transitions that no test has taken.
    #[arg(long)]
    no_coverage: bool,
    /// For whom to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Exit {
    let rules = match compiled(&arguments.rules) {
        Ok(rules) => rules,
        Err(exit) => return exit,
    };
    let started = Instant::now();
    let colour = std::io::stderr().is_terminal();
    let mut taken: BTreeMap<&str, BTreeSet<Transition>> = BTreeMap::new();
    let mut results = Vec::new();
    let (mut passed, mut failed) = (0, 0);
    for (rule, test) in &rules.loaded.tests {
        let wanted = |text: &String| rule.contains(text) || test.name.value.contains(text);
        if !arguments.filter.as_ref().is_none_or(wanted) {
            continue;
        }
        let Some(program) = rules.loaded.programs.iter().find(|p| p.rule.name == *rule) else { continue };
        let outcome = testing::run(test, program, &rules.loaded.programs, &rules.loaded.schema);
        taken.entry(&program.rule.name).or_default().extend(outcome.taken);
        let finding = outcome.failure.as_ref();
        match finding {
            None => passed += 1,
            Some(finding) => {
                failed += 1;
                if arguments.format == Format::Text {
                    errln!("test {rule} {:?} failed\n{}", test.name.value, render(finding, &rules.sources, colour));
                }
            }
        }
        let finding = finding.map(|f| to_json(f, &rules.sources));
        results.push(
            serde_json::json!({"rule": rule, "test": test.name.value, "passed": finding.is_none(), "finding": finding}),
        );
    }
    let gaps: Vec<String> = if arguments.no_coverage || arguments.filter.is_some() {
        Vec::new()
    } else {
        rules.loaded.programs.iter().flat_map(|p| testing::gaps(p, taken.get(p.rule.name.as_str()))).collect()
    };
    match arguments.format {
        Format::Json => {
            let report = serde_json::json!({"passed": passed, "failed": failed, "tests": results, "not_taken": gaps});
            outln!("{report:#}");
        }
        Format::Text => {
            for gap in &gaps {
                outln!("not taken: {gap}");
            }
            outln!("{passed} passed, {failed} failed, in {:.2} s", started.elapsed().as_secs_f64());
        }
    }
    if failed > 0 { Exit::Findings } else { Exit::Well }
}
