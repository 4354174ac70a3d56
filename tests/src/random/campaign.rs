//! Many cases: what they reach, and the first that differs.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::case::Case;
use super::construct::ALL;
use super::judge::{Verdict, judge};
use super::shrink::shrink;

/// What a campaign saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Cases judged; those whose rules were refused are not among them.
    pub cases: u64,
    /// Of those, cases with an alert.
    pub with_alerts: u64,
    /// Cases with an alert where the rules change on the way.
    pub with_alerts_changed: u64,
    /// Alerts in these of runs that a change of their rule left alive.
    pub lived_on: u64,
    /// Rules in them.
    pub rules: u64,
    /// Of those, rules with each construct.
    pub constructs: BTreeMap<&'static str, u64>,
    /// Cases refused, by the first line of the reason.
    pub refused: BTreeMap<String, u64>,
    /// The seeds that differ.
    pub differing: Vec<u64>,
}

/// Runs the cases of `seeds`, on two threads, until `stop_after` of them differ.
pub fn run(seeds: std::ops::Range<u64>, stop_after: usize) -> Seen {
    let next = AtomicU64::new(seeds.start);
    let stopped = AtomicBool::new(false);
    let seen = Mutex::new(Seen::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    let case = Case::new(seed);
                    let verdict = judge(&case);
                    let mut seen = seen.lock().expect("no thread panics while it counts");
                    seen.count(&case, &verdict);
                    if seen.differing.len() >= stop_after {
                        stopped.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut seen = seen.into_inner().expect("no thread panicked");
    seen.differing.sort_unstable();
    seen
}

impl Seen {
    fn count(&mut self, case: &Case, verdict: &Verdict) {
        match verdict {
            Verdict::Refused(why) => {
                *self.refused.entry(why.lines().next().unwrap_or_default().to_owned()).or_default() += 1;
                return;
            }
            Verdict::Agree(agreed) => {
                self.with_alerts += u64::from(agreed.alerts > 0);
                self.with_alerts_changed += u64::from(agreed.alerts_changed > 0);
                self.lived_on += agreed.lived_on as u64;
            }
            Verdict::Differ(_) => self.differing.push(case.seed),
        }
        self.cases += 1;
        self.rules += case.rules.len() as u64;
        for construct in case.used.iter().flat_map(|used| &used.0) {
            *self.constructs.entry(construct).or_default() += 1;
        }
    }

    /// The constructs that fewer than one rule in a hundred has.
    pub fn rare(&self) -> Vec<(&'static str, u64)> {
        let count = |name: &&'static str| (*name, self.constructs.get(name).copied().unwrap_or(0));
        ALL.iter().map(count).filter(|(_, n)| n * 100 < self.rules).collect()
    }
}

/// A case that differs, small, with all that is needed to look at it.
pub fn explain(seed: u64) -> String {
    let small = shrink(&Case::new(seed));
    let Verdict::Differ(difference) = judge(&small) else { return format!("seed {seed} agrees now") };
    let order = if small.arrival { "arrival" } else { "event time" };
    let lines: String = small.lines().iter().enumerate().map(|(i, line)| format!("{i:3} {line}\n")).collect();
    format!("seed {seed}, order of {order}, lateness {} ms\n{}\n{lines}{difference}", small.lateness, small.text())
}
