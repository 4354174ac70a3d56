//! All scenario files.

use std::fs;
use std::path::Path;

use lapwing_tests::scenario::{Scenario, run};

#[test]
fn every_scenario_comes_out_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut failed = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("the scenarios are part of the project") {
        let path = entry.expect("the folder can be read").path();
        let text = fs::read_to_string(&path).expect("a scenario is text");
        let scenario: Scenario = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        count += 1;
        if let Err(why) = run(&scenario) {
            failed.push(format!("{}: {}\n{why}", path.display(), scenario.about));
        }
    }
    assert!(count >= 8, "only {count} scenarios were found");
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
