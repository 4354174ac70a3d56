//! Random rule sets over random streams: the engine, in every way it can run, against the naive matcher.

use lapwing_tests::random::campaign::{explain, run};

#[test]
fn the_engine_does_what_the_naive_matcher_does() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let first = number("LAPWING_RANDOM_SEED").unwrap_or(0);
    let cases = number("LAPWING_RANDOM_CASES").unwrap_or(1_000);
    let seen = run(first..first + cases, 50);
    if std::env::var("LAPWING_RANDOM_SHOW").is_ok() {
        println!("{seen:#?}");
    }
    let explained = number("LAPWING_RANDOM_EXPLAIN").unwrap_or(1) as usize;
    let shown: Vec<String> = seen.differing.iter().take(explained).map(|seed| explain(*seed)).collect();
    assert!(shown.is_empty(), "{} cases differ: {:?}\n{}", seen.differing.len(), seen.differing, shown.join("\n"));
    // What the cases hold says something where there are enough of them.
    if cases < 1_000 {
        return;
    }
    assert!(seen.with_alerts * 10 >= seen.cases * 3, "{} of {} cases have an alert", seen.with_alerts, seen.cases);
    // Also where the rules change on the way, and often enough a run outlives a change of its rule and gives an alert.
    let (with_alerts, lived_on) = (seen.with_alerts_changed, seen.lived_on);
    assert!(with_alerts * 10 >= seen.cases * 3, "{with_alerts} of {} cases with changes have an alert", seen.cases);
    assert!(lived_on * 10 >= seen.cases, "{lived_on} alerts of runs that lived on, in {} cases", seen.cases);
    let refused: u64 = seen.refused.values().sum();
    assert!(refused * 4 < cases, "{refused} of {cases} cases are refused: {:#?}", seen.refused);
    assert_eq!(seen.rare(), [], "of {} rules", seen.rules);
}
