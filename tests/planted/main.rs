//! Bugs planted in the engine, one after the other: the random campaign has to find each. `LAPWING_PLANTED=Skip,Lag` plants only these.

use lapwing_engine::planted::{Bug, plant};
use lapwing_tests::random::campaign::run;

/// Each bug is found among so many cases.
const CASES: u64 = 24_000;

#[test]
fn the_random_campaign_finds_every_planted_bug() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    let only = std::env::var("LAPWING_PLANTED").ok();
    let wanted = |bug: &Bug| only.as_ref().is_none_or(|only| only.split(',').any(|name| name == format!("{bug:?}")));
    for bug in Bug::ALL.into_iter().filter(wanted) {
        plant(Some(bug));
        let seen = run(0..CASES, 1);
        plant(None);
        println!("{bug:?}: {} cases until one differed, {:?}", seen.cases, seen.differing);
        if seen.differing.is_empty() {
            missed.push(bug);
        }
    }
    drop(std::panic::take_hook());
    assert_eq!(missed, []);
}
