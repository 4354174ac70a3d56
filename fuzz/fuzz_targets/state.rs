//! Any bytes are the state of a key group, or of a key, or are refused, with no panic and no hang.
#![no_main]

use std::sync::{Arc, OnceLock};

use lapwing_dsl::load;
use lapwing_dsl::syntax::Sources;
use lapwing_engine::rule_set::{LiveRule, RuleSet};
use lapwing_engine::slot::{Group, KeyHasher};
use lapwing_engine::store::key;
use libfuzzer_sys::fuzz_target;

const RULES: &str = r#"
event e { at timestamp  k string  n int }
rule a {
  by       k
  match    x: e{3} where n > prev.n then (y: e then z: e){2,} within 5ms then not w: e within 2ms
  within   10ms
  report   early
  emit     { s: sum(x.n) }
}
rule b {
  by       k
  match    e where count(e) over 5ms > 2 and first_seen(n) over 9ms and lag(n) > 1
  suppress 1h
}
"#;

fn rules() -> &'static RuleSet {
    static RULE_SET: OnceLock<RuleSet> = OnceLock::new();
    RULE_SET.get_or_init(|| {
        let mut sources = Sources::default();
        sources.add("rules.lap", RULES);
        let loaded = load(&sources);
        let live = loaded.programs.iter().map(|p| LiveRule { program: Arc::clone(p), version: 1 }).collect();
        RuleSet::new(1, loaded.schema, live).expect("two rules")
    })
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok((group, from)) = lapwing_engine::store::group::load(bytes, rules(), KeyHasher::new(1))
        && let Some(saved) = lapwing_engine::store::group::save(&group, &from, rules())
    {
        let (again, from) =
            lapwing_engine::store::group::load(&saved, rules(), KeyHasher::new(1)).expect("what was saved loads");
        assert_eq!(lapwing_engine::store::group::save(&again, &from, rules()), Some(saved));
    }
    let mut group = Group::default();
    if let Ok(slot) = key::load(bytes, rules(), KeyHasher::new(1), &mut group) {
        let saved = key::save(&group, slot, rules());
        let mut again = Group::default();
        let slot = key::load(&saved, rules(), KeyHasher::new(1), &mut again).expect("what was saved loads");
        assert_eq!(key::save(&again, slot, rules()), saved);
    }
    let _ = lapwing_engine::store::rest::load_suppressor(bytes);
    let _ = lapwing_engine::store::seal::open(bytes);
});
