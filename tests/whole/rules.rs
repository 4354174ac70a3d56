//! The rules that ship: they compile without a finding, are laid out, and their tests pass and try everything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lapwing::control::files::{Rules, read};
use lapwing::testing;
use lapwing_dsl::diagnostics::render;
use lapwing_dsl::syntax::{parse, print};

/// All of `rules/`, which is one name space.
pub fn shipped() -> Rules {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules");
    read(&[folder]).expect("the rules are part of the project")
}

#[test]
fn no_findings() {
    let rules = shipped();
    let findings: Vec<_> = rules.loaded.diagnostics.iter().map(|d| render(d, &rules.sources, false)).collect();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    assert!(rules.loaded.programs.len() >= 33);
}

#[test]
fn laid_out() {
    for (id, source) in shipped().sources.iter() {
        let file = parse(id, &source.text).file.expect("it parses");
        assert_eq!(print(&file, &source.text), source.text, "{} is not formatted", source.path);
    }
}

#[test]
fn tests_pass_and_try_everything() {
    let rules = shipped();
    let mut taken: BTreeMap<&str, BTreeSet<_>> = BTreeMap::new();
    for (name, test) in &rules.loaded.tests {
        let program = rules.loaded.programs.iter().find(|p| p.rule.name == *name).expect("a test names its rule");
        let outcome = testing::run(test, program, &rules.loaded.programs, &rules.loaded.schema);
        let failure = outcome.failure.map(|f| render(&f, &rules.sources, false));
        assert_eq!(failure, None, "{name} {:?}", test.name.value);
        taken.entry(&program.rule.name).or_default().extend(outcome.taken);
    }
    let programs = &rules.loaded.programs;
    let gaps: Vec<_> = programs.iter().flat_map(|p| testing::gaps(p, taken.get(p.rule.name.as_str()))).collect();
    assert!(gaps.is_empty(), "not taken:\n{}", gaps.join("\n"));
}
