//! Which rules build on which: a rule that reads derived events stands one stratum above those that make them.

use std::collections::BTreeSet;

use crate::ir::Rule;
use crate::schema::EventId;

/// The most strata: so many rules may build on each other.
pub const STRATA_MAX: usize = 32;

/// Why rules cannot be put into strata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unstratified {
    /// Each of these rules reads what the one before it makes, and the first what the last makes: indexes of rules.
    Cycle(Vec<usize>),
    /// This rule stands more than [`STRATA_MAX`] high.
    TooHigh(usize),
}

/// The stratum of each rule, from 0: one above the highest that makes an event that it reads.
pub fn strata(rules: &[&Rule]) -> Result<Vec<u8>, Unstratified> {
    let makers = |event: EventId| {
        let makes = move |r: &Rule| r.into.as_ref().is_some_and(|into| into.event == event);
        rules.iter().enumerate().filter(move |(_, r)| makes(r)).map(|(i, _)| i)
    };
    if rules.iter().all(|r| r.into.is_none()) {
        return Ok(vec![0; rules.len()]);
    }
    let below: Vec<BTreeSet<usize>> = rules.iter().map(|r| r.reads().into_iter().flat_map(makers).collect()).collect();
    let mut found: Vec<Option<u8>> = vec![None; rules.len()];
    for rule in 0..rules.len() {
        climb(rule, &below, &mut found, &mut Vec::new())?;
    }
    Ok(found.into_iter().flatten().collect())
}

/// A rule that reads what a rule makes that goes by another time, with that rule: indexes of rules. What the one derives has no place among the
/// events of the other.
pub fn mixed_times(rules: &[&Rule]) -> Option<(usize, usize)> {
    let makers = rules.iter().enumerate().filter_map(|(i, maker)| Some((i, maker, maker.into.as_ref()?.event)));
    let readers = |event: EventId| rules.iter().enumerate().filter(move |(_, reader)| reader.reads().contains(&event));
    makers
        .flat_map(|(i, maker, event)| readers(event).map(move |(j, reader)| (j, reader, i, maker)))
        .find(|(_, reader, _, maker)| reader.processing != maker.processing)
        .map(|(reader, _, maker, _)| (reader, maker))
}

/// Finds the stratum of a rule; `path` are the rules that build on it.
fn climb(
    rule: usize,
    below: &[BTreeSet<usize>],
    found: &mut [Option<u8>],
    path: &mut Vec<usize>,
) -> Result<u8, Unstratified> {
    if let Some(stratum) = found[rule] {
        return Ok(stratum);
    }
    if let Some(from) = path.iter().position(|r| *r == rule) {
        let mut cycle = path.split_off(from);
        cycle.reverse();
        return Err(Unstratified::Cycle(cycle));
    }
    if path.len() >= STRATA_MAX {
        return Err(Unstratified::TooHigh(path[0]));
    }
    path.push(rule);
    let mut stratum = 0;
    for maker in &below[rule] {
        stratum = stratum.max(climb(*maker, below, found, path)? + 1);
    }
    path.pop();
    if usize::from(stratum) >= STRATA_MAX {
        return Err(Unstratified::TooHigh(rule));
    }
    found[rule] = Some(stratum);
    Ok(stratum)
}
