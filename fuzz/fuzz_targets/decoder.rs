//! Lines decoded by learned shapes give what the full parser gives.
#![no_main]

use std::sync::{Arc, OnceLock};

use lapwing::data::decode::json;
use lapwing::data::decode::plan::Plan;
use lapwing::data::decode::shape::Decoder;
use lapwing_dsl::load;
use lapwing_dsl::syntax::Sources;
use lapwing_engine::batch::{Batch, EventView, Origin};
use lapwing_engine::rule_set::{LiveRule, RuleSet};
use libfuzzer_sys::fuzz_target;

const RULES: &str = r#"
event e { at timestamp  k string  n int?  x float?  d decimal?  b bool?  i ip?  g geo? from lat, lon  deep string? from "a.b" }
event f from "id" = 7 { at timestamp  k string? }
rule r { 
  match    a: e where n > 1 or x > 0.5 or b or i is present or g is present or d > 1 or k == "q" or deep == "z"
}
rule s { 
  match    f where k == "x"
}
"#;

fn plan() -> &'static Arc<Plan> {
    static PLAN: OnceLock<Arc<Plan>> = OnceLock::new();
    PLAN.get_or_init(|| {
        let mut sources = Sources::default();
        sources.add("rules.lap", RULES);
        let loaded = load(&sources);
        let live = loaded.programs.iter().map(|p| LiveRule { program: Arc::clone(p), version: 1 }).collect();
        Arc::new(Plan::new(&RuleSet::new(1, loaded.schema, live).expect("two rules")))
    })
}

fn rows(batch: &Batch) -> Vec<String> {
    let show = |row| {
        let view = EventView { batch, row };
        let fields = &batch.layout.events[row.event.0 as usize].columns;
        let values: Vec<String> = fields.iter().map(|(f, _)| format!("{:?}", view.field(*f))).collect();
        format!("{:?} {} {:?} {values:?}", row.event, row.at, row.origin)
    };
    batch.rows.iter().map(show).collect()
}

fuzz_target!(|bytes: &[u8]| {
    let plan = plan();
    let (mut fast, mut slow) = (Batch::new(plan.layout.clone()), Batch::new(plan.layout.clone()));
    let mut decoder = Decoder::new(plan.clone());
    for (i, line) in bytes.split(|b| *b == b'\n').enumerate() {
        // Each line twice: the second time its shape is known.
        for turn in 0..2 {
            let origin = Origin { source: 0, partition: 0, offset: 2 * i as u64 + turn };
            let by_shape = decoder.decode(line, origin, &mut fast);
            let in_full = json::decode(plan, line, origin, &mut slow);
            assert_eq!(by_shape, in_full, "{}", String::from_utf8_lossy(line));
        }
    }
    assert_eq!(rows(&fast), rows(&slow));
});
