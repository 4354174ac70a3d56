//! Rules that another rule covers: the same pattern, and each condition follows from the narrower rule's.

use std::collections::BTreeMap;

use super::bounds::Facts;
use super::windows::erase;
use crate::diagnostics::{Code, Diagnostic};
use crate::ir::{Expr, Rule};

/// The most pairs of rules that are compared. A set of ten thousand rules of one shape would else take minutes; what lies
/// beyond is not warned of.
const PAIRS_MAX: usize = 200_000;

/// Warns of rules whose every match another rule finds too. Of two that cover each other the later name is warned of.
pub(super) fn covered(rules: &[Rule], found: &mut Vec<Diagnostic>) {
    let mut shapes: BTreeMap<String, Vec<&Rule>> = BTreeMap::new();
    for rule in rules {
        shapes.entry(shape(rule)).or_default().push(rule);
    }
    let mut pairs = 0;
    for group in shapes.values().filter(|g| g.len() > 1) {
        let facts: Vec<Vec<Facts>> = group.iter().map(|r| step_facts(r)).collect();
        for (i, narrow) in group.iter().enumerate() {
            for (j, wide) in group.iter().enumerate().filter(|(j, _)| *j != i) {
                pairs += 1;
                if pairs > PAIRS_MAX {
                    return;
                }
                if implies(&facts[i], narrow, wide) && (j < i || !implies(&facts[j], wide, narrow)) {
                    found.push(warning(narrow, wide));
                    break;
                }
            }
        }
    }
}

fn warning(narrow: &Rule, wide: &Rule) -> Diagnostic {
    let text = format!("every match of `{}` is one of `{}` too", narrow.name, wide.name);
    let head =
        |r: &Rule| crate::syntax::Span { end: r.span.start + "rule ".len() as u32 + r.name.len() as u32, ..r.span };
    Diagnostic::new(Code::CoveredRule, head(narrow), text)
        .also(head(wide), "same pattern, and wider or equal conditions")
        .help("keep the wider rule and let `severity if(…)` tell the cases apart, or make their conditions exclude each other")
}

fn step_facts(rule: &Rule) -> Vec<Facts> {
    rule.steps.iter().map(|s| Facts::of(&s.filter).unwrap_or_default()).collect()
}

fn implies(facts: &[Facts], narrow: &Rule, wide: &Rule) -> bool {
    let steps = narrow.steps.iter().zip(&wide.steps).zip(facts);
    let within = match (narrow.within, wide.within) {
        (_, None) => true,
        (Some(n), Some(w)) => n <= w,
        (None, Some(_)) => false,
    };
    let same = |a: &[Expr], b: &[Expr]| bare(a) == bare(b);
    within
        && steps.into_iter().all(|((n, w), facts)| match n.absence {
            // What forbids less is wider: without a proof of that, only the same will do.
            true => same(&n.filter, &w.filter),
            false => w.filter.iter().all(|t| facts.implies(t)),
        })
        && match (&narrow.when, &wide.when) {
            (_, None) => true,
            (Some(n), Some(w)) => Facts::of(std::slice::from_ref(n)).is_ok_and(|f| f.implies(w)),
            (None, Some(_)) => false,
        }
}

fn bare(terms: &[Expr]) -> Vec<Expr> {
    let mut terms = terms.to_vec();
    terms.iter_mut().for_each(erase);
    terms
}

/// All that must be equal for one rule to cover another.
fn shape(rule: &Rule) -> String {
    let steps: Vec<_> = rule
        .steps
        .iter()
        .map(|s| (s.event, &s.key, s.absence, s.until.as_ref().map(|u| bare(std::slice::from_ref(u)))))
        .collect();
    let mut windows = rule.windows.clone();
    for window in &mut windows {
        window.span = Default::default();
        window.filter.iter_mut().chain(&mut window.args).for_each(erase);
    }
    let stop = rule.stop.as_ref().map(|s| (s.event, &s.key, s.filter.as_ref().map(|f| bare(std::slice::from_ref(f)))));
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        rule.processing, rule.key, rule.mode, rule.skip, rule.report, rule.pattern, steps, windows, stop
    )
}
