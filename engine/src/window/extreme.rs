//! The smallest or greatest of the entries that a reader sees.
//!
//! Of a stretch of entries only those can ever be the smallest that no later one is smaller than: candidates, whose values ascend. A
//! new entry ends the candidates that it is smaller than, each once, and the smallest of all entries from one on is the first candidate
//! from there on (the monotone queue of sliding minima; of equal values the oldest is taken, so equal ones stay). An entry
//! that comes late takes its place between them. The stretch grows at its end; one that ends earlier than the last is walked anew.

use std::cmp::Ordering;
use std::collections::VecDeque;

use super::column::Column;

/// Candidates among a stretch of entries.
#[derive(Clone, Debug)]
pub struct Extreme {
    /// How a value compares with one that it is preferred to.
    wanted: Ordering,
    /// The stretch: indexes of entries, counted from the first that ever was.
    from: u64,
    to: u64,
    /// Indexes of the candidates, ascending.
    candidates: VecDeque<u64>,
    /// Where the last reader found its candidate.
    hint: usize,
}

impl Extreme {
    /// Of nothing.
    pub fn new(wanted: Ordering) -> Extreme {
        Extreme { wanted, from: 0, to: 0, candidates: VecDeque::new(), hint: 0 }
    }

    /// The entry that is preferred to all others from `lo` to before `hi`, of which `first` is the index of the column's first.
    pub fn of(&mut self, lo: u64, hi: u64, first: u64, column: &Column) -> Option<u64> {
        if lo < self.from || hi < self.to || lo > self.to {
            (self.from, self.to, self.hint) = (lo, lo, 0);
            self.candidates.clear();
        }
        for i in self.to..hi {
            let value = column.value((i - first) as usize);
            if value.is_missing() {
                continue;
            }
            while let Some(last) = self.candidates.back() {
                if value.compare(&column.value((last - first) as usize)) != Some(self.wanted) {
                    break;
                }
                self.candidates.pop_back();
            }
            let end = self.candidates.len();
            super::column::insert(&mut self.candidates, end, i);
        }
        self.to = hi;
        self.hint = super::entries::search(self.candidates.len(), self.hint, |i| self.candidates[i] < lo);
        self.candidates.get(self.hint).copied()
    }

    /// An entry has come in front of the one of this index.
    pub fn inserted(&mut self, at: u64, first: u64, column: &Column) {
        if at >= self.to {
            return;
        }
        if at < self.from {
            (self.from, self.to, self.hint) = (0, 0, 0);
            self.candidates.clear();
            return;
        }
        self.to += 1;
        let place = self.candidates.partition_point(|c| *c < at);
        self.candidates.range_mut(place..).for_each(|c| *c += 1);
        let value = column.value((at - first) as usize);
        let preferred = |c: &u64| column.value((*c - first) as usize).compare(&value) == Some(self.wanted);
        if value.is_missing() || self.candidates.get(place).is_some_and(preferred) {
            return;
        }
        let worse = |c: &u64| value.compare(&column.value((*c - first) as usize)) == Some(self.wanted);
        let kept = (0..place).rev().find(|i| !worse(&self.candidates[*i])).map_or(0, |i| i + 1);
        self.candidates.drain(kept..place);
        self.candidates.insert(kept, at);
        self.hint = self.hint.min(self.candidates.len());
    }

    /// The entries before the one of this index have gone.
    pub fn dropped(&mut self, first: u64) {
        while self.candidates.front().is_some_and(|c| *c < first) {
            self.candidates.pop_front();
            self.hint = self.hint.saturating_sub(1);
        }
        super::column::shrink(&mut self.candidates);
        self.from = self.from.max(first);
        self.to = self.to.max(first);
    }
}
