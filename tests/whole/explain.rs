//! The seed rules explained, as they are to be read. `LAPWING_REWRITE=1` writes the files anew.

use std::fs;
use std::path::Path;

use lapwing_dsl::explain::{dot, explain, svg};
use lapwing_engine::limits::Limits;

#[test]
fn seed_rules() {
    let rules = super::rules::shipped();
    let caps = Limits::default().explained();
    for name in ["failed_logins", "impossible_travel", "mass_sharing", "rising_withdrawals"] {
        let program = rules.loaded.programs.iter().find(|p| p.rule.name == name).expect("a seed rule");
        let found = format!(
            "{}\n{}",
            explain(program, &rules.loaded.schema, &caps, &lapwing_engine::index::Index::witness_of),
            dot(program, &rules.loaded.schema)
        );
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("explain").join(format!("{name}.txt"));
        if std::env::var_os("LAPWING_REWRITE").is_some() {
            fs::write(&path, &found).expect("the folder is there");
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, expected, "{} is not what explain says", path.display());
    }
}

#[test]
fn every_shipped_rule_has_a_drawing() {
    let rules = super::rules::shipped();
    for program in &rules.loaded.programs {
        let drawing = svg(program, &rules.loaded.schema);
        let circles = drawing.matches("<circle").count();
        assert_eq!(circles, program.nfa.states.len() + 2, "{}", program.rule.name);
    }
}
