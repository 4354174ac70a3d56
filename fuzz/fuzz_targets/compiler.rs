//! Any text compiles or is refused; what compiles makes a rule set that judges a few events without a panic.
#![no_main]

use std::sync::Arc;

use lapwing::control::files::Rules;
use lapwing::data::alert::Alert;
use lapwing::data::pipeline::{Lines, Options, Pipeline, Rejected, Sink};
use lapwing_dsl::load;
use lapwing_dsl::syntax::Sources;
use libfuzzer_sys::fuzz_target;

const LINES: &[u8] = br#"{"type":"e","at":1,"k":"x","j":"y","name":"a","price":3,"other":1}
{"type":"e","at":2,"k":"x","j":"y","name":"b","price":4,"other":2}
{"type":"f","at":2,"k":"y","name":"a"}
{"type":"e","at":9,"k":"x","name":"a","price":5.5}
"#;

struct Nobody;

impl Sink for Nobody {
    fn alert(&mut self, alert: &Alert<'_>) {
        alert.write(&mut Vec::new());
    }

    fn rejected(&mut self, _: Rejected) {}
}

fuzz_target!(|text: &str| {
    let mut sources = Sources::default();
    sources.add("fuzz.lap", text);
    let rules = Rules { loaded: load(&sources), sources };
    for finding in &rules.loaded.diagnostics {
        lapwing_dsl::diagnostics::render(finding, &rules.sources, false);
    }
    if !rules.compiles() {
        return;
    }
    if let Ok(rule_set) = rules.rule_set(1) {
        let mut pipeline = Pipeline::new(Arc::new(rule_set), Options::default(), 1);
        pipeline.take(&Lines { bytes: LINES, first: 0 }, &mut Nobody);
        pipeline.finish(&mut Nobody);
    }
});
