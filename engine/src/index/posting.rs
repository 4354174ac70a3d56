//! What a value of an event finds: the first steps filed there, with what is left of their conditions as columns.
//!
//! Steps of which the same terms are left stand together, so that the terms are asked once for all. Where bounds of one
//! number are left, they are two columns beside the steps, and one pass over them says which steps' bounds the number lies within.

use lapwing_dsl::schema::FieldId;

use super::witness::Bounds;
use crate::batch::Hit;

/// All steps of an event type, as they are found.
#[derive(Clone, Debug, Default)]
pub struct Postings {
    blocks: Vec<Block>,
    hits: Vec<Hit>,
    /// Bounds of the hits of blocks that have some: at least the first, at most the second.
    bounds: Vec<(f64, f64)>,
}

/// Steps of which the same is left.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// Which terms are left.
    rest: u32,
    /// From where to where in the hits.
    hits: (u32, u32),
    /// The number that has to lie within bounds, and where the first hit's bounds stand.
    bounded: Option<(FieldId, u32)>,
}

/// The blocks that a value finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Posting {
    start: u32,
    end: u32,
}

/// A first step with what is left of its condition.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The step.
    pub hit: Hit,
    /// Which terms are left.
    pub rest: u32,
    /// Bounds of a number that are left.
    pub bounds: Option<(FieldId, Bounds)>,
}

impl Postings {
    /// Files entries under one value.
    pub fn add<'e>(&mut self, entries: impl Iterator<Item = &'e Entry>) -> Posting {
        let field_of = |e: &Entry| e.bounds.as_ref().map(|(field, _)| *field);
        let mut entries: Vec<&Entry> = entries.collect();
        entries.sort_by_key(|e| (e.rest, field_of(e), e.hit));
        let start = self.blocks.len() as u32;
        for block in entries.chunk_by(|a, b| a.rest == b.rest && field_of(a) == field_of(b)) {
            let first = self.hits.len() as u32;
            let bounded = field_of(block[0]).map(|field| (field, self.bounds.len() as u32));
            self.hits.extend(block.iter().map(|e| e.hit));
            self.bounds.extend(block.iter().filter_map(|e| e.bounds.as_ref()).map(|(_, b)| closed(b)));
            self.blocks.push(Block { rest: block[0].rest, hits: (first, self.hits.len() as u32), bounded });
        }
        Posting { start, end: self.blocks.len() as u32 }
    }

    /// Appends the steps found of which all that is left holds; where `ANY`, at most one. `rest_holds` says so of terms, `number` gives a
    /// field as a number, if it is one.
    #[inline]
    pub fn meet<const ANY: bool>(
        &self,
        posting: Posting,
        hits: &mut Vec<Hit>,
        mut rest_holds: impl FnMut(u32) -> bool,
        number: impl Fn(FieldId) -> Option<f64>,
    ) {
        for block in &self.blocks[posting.start as usize..posting.end as usize] {
            if ANY && !hits.is_empty() {
                return;
            }
            if !rest_holds(block.rest) {
                continue;
            }
            let own = &self.hits[block.hits.0 as usize..block.hits.1 as usize];
            let Some((field, first)) = block.bounded else {
                hits.extend_from_slice(own);
                continue;
            };
            let Some(v) = number(field) else { continue };
            let bounds = &self.bounds[first as usize..first as usize + own.len()];
            if ANY {
                hits.extend(
                    own.iter().zip(bounds).find(|(_, (low, high))| *low <= v && v <= *high).map(|(hit, _)| *hit),
                );
                continue;
            }
            // Every hit is written, and the next is written over it where its bounds do not hold: no branch to guess.
            let start = hits.len();
            hits.extend_from_slice(own);
            let mut met = start;
            for (hit, (low, high)) in own.iter().zip(bounds) {
                hits[met] = *hit;
                met += usize::from((*low <= v) & (v <= *high));
            }
            hits.truncate(met);
        }
    }
}

/// Bounds without open ends: among floats, more than `v` is at least the one after it.
fn closed(bounds: &Bounds) -> (f64, f64) {
    let low = if bounds.low_open { bounds.low.next_up() } else { bounds.low };
    let high = if bounds.high_open { bounds.high.next_down() } else { bounds.high };
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_terms_and_bounds() {
        let inf = f64::INFINITY;
        let entry = |rule, rest, bounds: Option<(f64, bool, f64, bool)>| Entry {
            hit: Hit { rule, step: 0 },
            rest,
            bounds: bounds
                .map(|(low, low_open, high, high_open)| (FieldId(3), Bounds { low, low_open, high, high_open })),
        };
        let entries = [
            entry(0, 1, None),
            entry(1, 0, None),
            entry(2, 1, Some((1.0, false, 2.0, false))),
            entry(3, 1, Some((1.0, true, inf, false))),
            entry(4, 1, Some((-inf, false, 2.0, true))),
            entry(5, 1, None),
            entry(6, 0, Some((-inf, false, inf, false))),
        ];
        let mut postings = Postings::default();
        let other = postings.add(entries[..1].iter());
        let posting = postings.add(entries.iter());
        let check = |posting, truth: [bool; 2], number: Option<f64>, expected: &[u32]| {
            let mut hits = Vec::new();
            postings.meet::<false>(posting, &mut hits, |rest| truth[rest as usize], |_| number);
            hits.sort_unstable();
            let rules: Vec<u32> = hits.iter().map(|h| h.rule).collect();
            assert_eq!(rules, expected, "{truth:?} {number:?}");
        };
        check(posting, [true, true], Some(1.0), &[0, 1, 2, 4, 5, 6]);
        check(posting, [true, true], Some(2.0), &[0, 1, 2, 3, 5, 6]);
        check(posting, [false, true], Some(1.5), &[0, 2, 3, 4, 5]);
        check(posting, [true, false], Some(9.0), &[1, 6]);
        check(posting, [true, true], None, &[0, 1, 5]);
        check(other, [true, true], None, &[0]);
    }
}
