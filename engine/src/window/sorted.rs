//! Values in order, equal ones as often as they came, for the value of a rank: stretches of some hundred values, so that one comes or goes at the cost
//! of a stretch and a rank is found by the lengths of the stretches.

/// A stretch of so many is cut in two.
const STRETCH_MAX: usize = 1_024;

/// Values in order.
#[derive(Clone, Debug)]
pub struct Sorted<T> {
    /// INVARIANT: none is empty; each ascends, and from each to the next.
    stretches: Vec<Vec<T>>,
}

impl<T: Ord + Copy> Sorted<T> {
    /// None.
    pub fn new() -> Self {
        Sorted { stretches: Vec::new() }
    }

    /// One more.
    pub fn add(&mut self, value: T) {
        if self.stretches.is_empty() {
            self.stretches.push(vec![value]);
            return;
        }
        let i = self.stretch(&value).min(self.stretches.len() - 1);
        let stretch = &mut self.stretches[i];
        stretch.insert(stretch.partition_point(|v| *v < value), value);
        if stretch.len() > STRETCH_MAX {
            let half = stretch.split_off(STRETCH_MAX / 2);
            self.stretches.insert(i + 1, half);
        }
    }

    /// One less of those that equal `value`, of which there is one.
    pub fn remove(&mut self, value: &T) {
        let i = self.stretch(value);
        let stretch = &mut self.stretches[i];
        let place = stretch.partition_point(|v| v < value);
        debug_assert!(stretch[place] == *value, "only what came goes");
        stretch.remove(place);
        if stretch.is_empty() {
            self.stretches.remove(i);
        }
    }

    /// The value that `rank` others stand before.
    pub fn get(&self, mut rank: usize) -> Option<T> {
        for stretch in &self.stretches {
            match stretch.get(rank) {
                Some(value) => return Some(*value),
                None => rank -= stretch.len(),
            }
        }
        None
    }

    /// The first stretch that ends no earlier than a value.
    fn stretch(&self, value: &T) -> usize {
        self.stretches.partition_point(|s| s.last().is_some_and(|last| last < value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_a_sorted_list() {
        let (mut sorted, mut list) = (Sorted::new(), Vec::new());
        let mut state = 1u64;
        for i in 0..20_000usize {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let value = (state >> 33) as i64 % 3_000;
            if i % 3 == 2 {
                let gone: i64 = list.remove(value as usize % list.len());
                sorted.remove(&gone);
            } else {
                list.insert(list.partition_point(|v| *v < value), value);
                sorted.add(value);
            }
            let rank = (state >> 20) as usize % (list.len() + 2);
            assert_eq!(sorted.get(rank), list.get(rank).copied());
        }
    }
}
