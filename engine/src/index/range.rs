//! Finds entries by the bounds that a number lies within.
//!
//! The bounds cut the line into points and the stretches between them; each holds the entries whose bounds cover it, so that
//! one binary search finds them all.

use lapwing_dsl::value::Value;

use super::witness::Bounds;

/// The most numbers that one field's stretches may hold together.
const HELD_MAX: usize = 1 << 23;

/// Entries by bounds.
#[derive(Clone, Debug, Default)]
pub struct Ranges {
    /// Where bounds lie, ascending.
    points: Vec<f64>,
    /// Where the entries of each place begin in `entries`: place 2i is the stretch before point i, place 2i + 1 the point itself.
    starts: Vec<u32>,
    entries: Vec<u32>,
}

impl Ranges {
    /// Of bounds with their entries; none where they would hold too much.
    pub fn new(filed: &[(Bounds, u32)]) -> Option<Ranges> {
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
        let mut ranges = Ranges { points, starts: vec![0], entries: Vec::with_capacity(held) };
        for list in lists {
            ranges.entries.extend(list);
            ranges.starts.push(ranges.entries.len() as u32);
        }
        Some(ranges)
    }

    /// Appends the entries whose bounds a number lies within.
    pub fn find(&self, value: &Value<'_>, found: &mut Vec<u32>) {
        let v = match value {
            Value::Int(v) | Value::Timestamp(v) | Value::Duration(v) => *v as f64,
            // Both zeros are one number.
            Value::Float(v) => *v + 0.0,
            Value::Decimal(v) => f64::try_from(*v).unwrap_or(0.0),
            _ => return,
        };
        let i = self.points.partition_point(|p| *p < v);
        let place = 2 * i + usize::from(self.points.get(i).is_some_and(|p| *p == v));
        found.extend_from_slice(&self.entries[self.starts[place] as usize..self.starts[place + 1] as usize]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let ranges = Ranges::new(&filed).expect("few ranges");
        for v in [0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0] {
            let mut found = Vec::new();
            ranges.find(&Value::Float(v), &mut found);
            let within = |b: &Bounds| {
                (if b.low_open { v > b.low } else { v >= b.low })
                    && (if b.high_open { v < b.high } else { v <= b.high })
            };
            let expected: Vec<u32> = filed.iter().filter(|(b, _)| within(b)).map(|(_, e)| *e).collect();
            assert_eq!(found, expected, "{v}");
        }
    }
}
