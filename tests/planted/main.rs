//! Bugs planted in the engine, one after the other: the random campaign has to find each.

use lapwing_engine::planted::{Bug, plant};
use lapwing_tests::random::campaign::run;

/// Each bug is found among so many cases.
const CASES: u64 = 8_000;

#[test]
fn the_random_campaign_finds_every_planted_bug() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for bug in Bug::ALL {
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
