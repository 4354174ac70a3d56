//! The counted events of a window, in their order: times, values, and what a reader sees of them.

use std::cell::RefCell;
use std::collections::VecDeque;

use lapwing_dsl::functions::Outcome;
use lapwing_dsl::ir::{Aggregate, Reach, Window, WindowKind};
use lapwing_dsl::value::{Type, Value};

use super::column::{Column, insert, shrink};
use super::reach::{self, Look};
use super::running::Running;
use crate::Millis;
use crate::slot::KeyHasher;
use crate::store::codec::{Corrupt, Reader, Writer};

/// The entries of one window for one key.
#[derive(Clone, Debug)]
pub struct Entries {
    /// Ascending; of one time, in processing order.
    times: VecDeque<Millis>,
    column: Column,
    /// How many entries went from the front: an entry's index counts from the first that ever was.
    first: u64,
    /// What is carried along for readers.
    running: RefCell<Running>,
}

impl Entries {
    /// Nothing yet.
    pub fn new(spec: &Window, hasher: KeyHasher) -> Entries {
        let WindowKind::Over { aggregate, .. } = spec.kind else {
            unreachable!("only a window over events has entries")
        };
        let types: Vec<&Type> = spec.args.iter().map(|a| &a.ty).collect();
        let types = if aggregate == Aggregate::Count { &[] } else { types.as_slice() };
        Entries {
            times: VecDeque::new(),
            column: Column::new(aggregate, types, false, hasher),
            first: 0,
            running: RefCell::new(Running::new(aggregate)),
        }
    }

    /// Counts an event.
    pub fn add(&mut self, spec: &Window, at: Millis, value: Value<'static>) {
        if value.is_missing() && !spec.args.is_empty() {
            return;
        }
        let place = search(self.times.len(), self.times.len(), |i| self.times[i] <= at);
        insert(&mut self.times, place, at);
        self.column.insert(place, value);
        if place + 1 < self.times.len() {
            self.running.get_mut().inserted(self.first + place as u64, self.first, &self.column);
        }
    }

    /// Drops what no reader at `now` or later can see.
    pub fn expire(&mut self, kind: &WindowKind, now: Millis) {
        let Some(from) = reach::seen_from(kind, now) else { return };
        let mut gone = false;
        while self.times.front().is_some_and(|t| *t < from) {
            self.drop_oldest();
            gone = true;
        }
        if gone {
            shrink(&mut self.times);
            self.column.shrink();
        }
    }

    /// Drops the first entry.
    pub fn drop_oldest(&mut self) {
        self.running.get_mut().dropping(self.first, &self.column);
        self.times.pop_front();
        self.column.pop_front();
        self.first += 1;
        self.running.get_mut().dropped(self.first);
    }

    /// The time of the first entry.
    pub fn oldest(&self) -> Option<Millis> {
        self.times.front().copied()
    }

    /// The time of the newest entry.
    pub fn newest(&self) -> Option<Millis> {
        self.times.back().copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The times, ascending.
    pub fn times(&self) -> impl ExactSizeIterator<Item = Millis> {
        self.times.iter().copied()
    }

    /// What the window is worth as of a look. Costs what has moved since the last one.
    pub fn read(&self, kind: &WindowKind, ty: &Type, look: Look) -> Outcome {
        let WindowKind::Over { aggregate, reach } = kind else { return Ok(Value::Missing) };
        let mut running = self.running.borrow_mut();
        let (lo, hi) = self.seen(reach, look, &running);
        running.read(*aggregate, ty, (lo, hi), self.first, &self.column)
    }

    /// The indexes of the entries that a look sees: from the first on, up to before the second.
    fn seen(&self, reach: &Reach, look: Look, running: &Running) -> (u64, u64) {
        let (from, to) = reach::times(reach, look);
        let find = |hint: u64, time: Millis| {
            let hint = hint.saturating_sub(self.first) as usize;
            self.first + search(self.times.len(), hint, |i| self.times[i] < time) as u64
        };
        let lo = find(running.lo, from);
        (lo, find(running.hi, to).max(lo))
    }

    /// Writes them.
    pub fn save(&self, w: &mut Writer) {
        w.list(self.times.iter(), |w, t| w.i64(*t));
        self.column.save(w);
    }

    /// Reads what a window of this kind wrote.
    pub fn load(&mut self, r: &mut Reader<'_>) -> Result<(), Corrupt> {
        self.times = r.list(|r| r.i64())?.into();
        if !self.times.iter().is_sorted() {
            return Err(Corrupt("a window's entries do not stand in their order"));
        }
        self.column.load(r, self.times.len())
    }
}

/// The first of `len` places that `before` does not hold for, which holds for all before it. Looks around `hint` first: costs the logarithm of the
/// way from there.
pub(super) fn search(len: usize, hint: usize, before: impl Fn(usize) -> bool) -> usize {
    let hint = hint.min(len);
    let (mut low, mut high, mut step) = (0, len, 1);
    if hint < len && before(hint) {
        // INVARIANT: `before` holds below `low`.
        low = hint + 1;
        while hint + step < len {
            let probe = hint + step;
            if !before(probe) {
                high = probe;
                break;
            }
            low = probe + 1;
            step *= 2;
        }
    } else {
        // INVARIANT: `before` does not hold from `high` on.
        high = hint;
        while high > 0 {
            let probe = hint.saturating_sub(step);
            if before(probe) {
                low = probe + 1;
                break;
            }
            high = probe;
            step *= 2;
        }
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_finds_the_place_from_any_hint() {
        for len in 0..40 {
            for place in 0..=len {
                for hint in 0..=len + 1 {
                    assert_eq!(search(len, hint, |i| i < place), place, "of {len} from {hint}");
                }
            }
        }
    }
}
