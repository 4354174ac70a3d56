//! Finds entries by the bounds that a number lies within.
//!
//! The bounds cut the line into points and the stretches between them; each holds the entries whose bounds cover it, so that
//! one binary search finds them all.

use super::posting::Posting;
use super::witness::Bounds;

/// The most numbers that one field's stretches may hold together.
const HELD_MAX: usize = 1 << 22;

/// Postings by bounds.
#[derive(Clone, Debug, Default)]
pub struct Ranges {
    /// Where bounds lie, ascending.
    points: Vec<f64>,
    /// For each place what it finds: place 2i is the stretch before point i, place 2i + 1 the point itself.
    places: Vec<Posting>,
}

impl Ranges {
    /// Of bounds with their entries, of which `post` files those of one place; none where they would hold too much.
    pub fn new(filed: &[(Bounds, u32)], post: &mut dyn FnMut(&[u32]) -> Posting) -> Option<Ranges> {
        let mut points: Vec<f64> = filed.iter().flat_map(|(b, _)| [b.low, b.high]).filter(|p| p.is_finite()).collect();
        points.sort_by(f64::total_cmp);
        points.dedup();
        let places = 2 * points.len() + 1;
        let place_of = |v: f64| match points.binary_search_by(|p| p.total_cmp(&v)) {
            Ok(i) => 2 * i + 1,
            Err(i) => 2 * i,
        };
        let covered = |b: &Bounds| {
            let low = if b.low.is_finite() { place_of(b.low) + usize::from(b.low_open) } else { 0 };
            let high = if b.high.is_finite() { place_of(b.high) + usize::from(!b.high_open) } else { places };
            low..high.max(low)
        };
        let held: usize = filed.iter().map(|(b, _)| covered(b).len()).sum();
        if held > HELD_MAX {
            return None;
        }
        let mut lists: Vec<Vec<u32>> = vec![Vec::new(); places];
        for (bounds, entry) in filed {
            for place in covered(bounds) {
                lists[place].push(*entry);
            }
        }
        Some(Ranges { points, places: lists.iter().map(|list| post(list)).collect() })
    }

    /// What the bounds find that a number lies within.
    pub fn find(&self, v: f64) -> Posting {
        let i = self.points.partition_point(|p| *p < v);
        self.places[2 * i + usize::from(self.points.get(i).is_some_and(|p| *p == v))]
    }
}

#[cfg(test)]
mod tests {
    use super::super::posting::{Entry, Postings};
    use super::*;
    use crate::batch::Hit;

    #[test]
    fn bounds_open_and_closed() {
        let (inf, neg) = (f64::INFINITY, f64::NEG_INFINITY);
        let b = |low, low_open, high, high_open| Bounds { low, low_open, high, high_open };
        let filed = [
            (b(1.0, false, 3.0, false), 0),
            (b(1.0, true, inf, false), 1),
            (b(neg, false, 3.0, true), 2),
            (b(2.0, false, 2.0, false), 3),
        ];
        let mut postings = Postings::default();
        let entry = |rule: &u32| Entry { hit: Hit { rule: *rule, step: 0 }, rest: 0, bounds: None };
        let mut post = |rules: &[u32]| postings.add(rules.iter().map(entry).collect::<Vec<_>>().iter());
        let ranges = Ranges::new(&filed, &mut post).expect("few ranges");
        for v in [0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0] {
            let mut hits = Vec::new();
            postings.meet::<false>(ranges.find(v), &mut hits, |_| true, |_| None);
            let found: Vec<u32> = hits.iter().map(|h| h.rule).collect();
            let within = |b: &Bounds| {
                (if b.low_open { v > b.low } else { v >= b.low })
                    && (if b.high_open { v < b.high } else { v <= b.high })
            };
            let expected: Vec<u32> = filed.iter().filter(|(b, _)| within(b)).map(|(_, e)| *e).collect();
            assert_eq!(found, expected, "{v}");
        }
    }
}
