//! Makes a case that differs smaller: fewer events, fewer rules, fewer clauses.

use super::case::Case;
use super::judge::{Verdict, judge};

/// A smaller case that still differs. Each thing is left out in turn as long as that helps.
pub fn shrink(case: &Case) -> Case {
    let mut best = case.clone();
    loop {
        let smaller = candidates(&best).into_iter().find(|c| matches!(judge(c), Verdict::Differ(_)));
        match smaller {
            Some(smaller) => best = smaller,
            None => return best,
        }
    }
}

fn candidates(case: &Case) -> Vec<Case> {
    let mut all = Vec::new();
    for i in 0..case.rules.len() {
        if case.rules.len() > 1 {
            let mut less = case.clone();
            less.rules.remove(i);
            all.push(less);
        }
    }
    for i in 0..case.events.len() {
        let mut less = case.clone();
        less.events.remove(i);
        all.push(less);
    }
    for (r, rule) in case.rules.iter().enumerate() {
        for c in 0..rule.clauses.len() {
            if !rule.clauses[c].starts_with("match") && !rule.clauses[c].starts_with("window") {
                let mut less = case.clone();
                less.rules[r].clauses.remove(c);
                all.push(less);
            }
        }
    }
    all
}
