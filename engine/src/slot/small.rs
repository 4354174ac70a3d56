//! Small windows: those that only count and have few entries stand in the block of their key.

use super::{Group, SMALL_ENTRIES_MAX, SMALL_WORDS_MAX, Shape, SlotId, high, low, pair};
use crate::Millis;

impl Group {
    /// The small windows: their indexes, and the times of their entries, ascending.
    pub fn small_windows(&self, slot: SlotId) -> SmallWindows<'_> {
        let words = self.blocks.get(slot);
        let shape = Shape::of(words);
        SmallWindows { words: &words[shape.from..shape.from + shape.small] }
    }

    /// The times of a small window's entries.
    pub fn small_window(&self, slot: SlotId, window: u32) -> Option<&[i64]> {
        self.small_windows(slot).find(|(w, _)| *w == window).map(|(_, times)| times)
    }

    /// Adds an entry to a small window; none where it would not be small any more. Returns the slot's number.
    pub fn add_to_small(&mut self, slot: SlotId, window: u32, at: Millis) -> Option<SlotId> {
        let words = self.blocks.get(slot);
        let shape = Shape::of(words);
        let mut place = shape.from;
        let mut found = None;
        for (index, times) in self.small_windows(slot) {
            if index >= window {
                found = (index == window).then_some(times);
                break;
            }
            place += 1 + times.len();
        }
        let added = if found.is_some() { 1 } else { 2 };
        if found.is_some_and(|t| t.len() >= SMALL_ENTRIES_MAX) || shape.small + added > SMALL_WORDS_MAX {
            return None;
        }
        let entry = found.map_or(1, |times| 1 + times.partition_point(|t| *t <= at));
        let slot = self.resize(slot, shape.used, shape.used + added);
        let words = self.blocks.get_mut(slot);
        if added == 2 {
            words.copy_within(place..shape.used, place + 2);
            words[place] = pair(window, 1);
        } else {
            words.copy_within(place + entry..shape.used, place + entry + 1);
            words[place] = pair(window, high(words[place]) + 1);
        }
        words[place + entry] = at as u64;
        Shape { used: shape.used + added, small: shape.small + added, ..shape }.write(words);
        Some(slot)
    }

    /// Whether a small window of so many entries can be added.
    pub fn has_room_for_small(&self, slot: SlotId, entries: usize) -> bool {
        entries <= SMALL_ENTRIES_MAX && Shape::of(self.blocks.get(slot)).small + 1 + entries <= SMALL_WORDS_MAX
    }

    /// Gives the small windows other indexes; those without one go. Returns the slot's number.
    pub fn renumber_small(&mut self, mut slot: SlotId, index: impl Fn(u32) -> Option<u32>) -> SlotId {
        let small: Vec<(u32, Vec<Millis>)> = self.small_windows(slot).map(|(w, times)| (w, times.to_vec())).collect();
        if small.iter().all(|(w, _)| index(*w) == Some(*w)) {
            return slot;
        }
        self.rewrite_small(slot, |_, _| None);
        for (window, times) in small.iter().filter_map(|(w, times)| Some((index(*w)?, times))) {
            for at in times {
                slot = self.add_to_small(slot, window, *at).expect("what had room has room");
            }
        }
        slot
    }

    /// Of each small window so many of the first entries go, or all.
    pub fn rewrite_small(&mut self, slot: SlotId, mut gone: impl FnMut(u32, &[i64]) -> Option<usize>) {
        let words = self.blocks.get_mut(slot);
        let shape = Shape::of(words);
        let (mut read, mut write) = (shape.from, shape.from);
        while read < shape.from + shape.small {
            let count = high(words[read]) as usize;
            let index = low(words[read]);
            let gone = gone(index, bytemuck::cast_slice(&words[read + 1..read + 1 + count]));
            if let Some(gone) = gone.filter(|gone| *gone < count) {
                words[write] = pair(index, (count - gone) as u32);
                words.copy_within(read + 1 + gone..read + 1 + count, write + 1);
                write += 1 + count - gone;
            }
            read += 1 + count;
        }
        let gone = read - write;
        if gone > 0 {
            words.copy_within(read..shape.used, write);
            Shape { used: shape.used - gone, small: shape.small - gone, ..shape }.write(words);
        }
    }

    /// Takes a window out of the small ones.
    pub fn take_small(&mut self, slot: SlotId, window: u32) -> Vec<Millis> {
        let mut taken = Vec::new();
        self.rewrite_small(slot, |index, times| {
            if index == window {
                taken = times.to_vec();
                return None;
            }
            Some(0)
        });
        taken
    }
}

/// The small windows of a key.
#[derive(Clone, Debug)]
pub struct SmallWindows<'a> {
    words: &'a [u64],
}

impl<'a> Iterator for SmallWindows<'a> {
    type Item = (u32, &'a [i64]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.words.split_first()?;
        let (times, rest) = rest.split_at(high(*head) as usize);
        self.words = rest;
        Some((low(*head), bytemuck::cast_slice(times)))
    }
}
