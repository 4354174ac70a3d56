//! State by key: one slot a key, in 256 fixed key groups and one for pinned rules.
//!
//! A slot holds what rules have of its key: runs, windows, open alerts. A rule costs a key nothing until it has something to
//! keep, and a slot that holds nothing goes. A slot is a block of words (see [`crate::state`]):
//!
//! ```text
//! 0  32 bits of the key's hash, length of the key in bytes 32
//! 1  words in use 27, what only some keys hold 27, words of the windows 10
//! 2  key space 16, what the last save knows of the key 3, time of the next sweep 45
//! 3  … the key's bytes, then small windows, then a record for each run
//! ```
//!
//! Windows that have few entries are small: what those of a family hold stands together (see [`crate::window::packed`]).
//!
//! A slot's number holds until the slot is next written to, or memory is given back.

mod cell;
mod hash;
mod packing;
mod runs;
mod saved;
mod small;

use std::collections::BTreeMap;

use smallvec::SmallVec;

pub use self::cell::{Candidate, Capped, Cell, CellMore, Fate, OpenAlert, SlotMore, WindowCell};
pub use self::hash::{KeyHasher, group_of, tag_of};
pub use self::packing::{Together, unpacked};
pub use self::runs::Records;
use self::saved::Changed;
pub use self::saved::Known;
pub use self::small::AllPacked;
use crate::Millis;
use crate::bound::BoundEvents;
use crate::rule_set::RuleSet;
use crate::run::RunMore;
use crate::slab::Slab;
use crate::state::blocks::{BlockId, Blocks};
use crate::state::table::{ENTRY_BYTES, Table};
use crate::window::packed::Packed;

/// How many key groups there are, the pinned one aside.
pub const GROUPS: usize = 256;

/// The key group of pinned rules and their windows.
pub const PINNED: usize = GROUPS;

/// Sweeps are planned at whole multiples of this time.
pub const SWEEP_GRAIN: Millis = 8_192;

/// What goes is swept away at most so much later, where its key is in memory.
pub const SWEPT_WITHIN: Millis = 2 * SWEEP_GRAIN;

/// The number of a key's slot in its group.
pub type SlotId = BlockId;

/// Nothing of what only some keys hold.
const NONE: u32 = (1 << 27) - 1;

/// The most words of all small windows of a key.
const SMALL_WORDS_MAX: usize = (1 << 10) - 1;

/// Words before the key.
pub const HEAD: usize = 3;

/// So many lines of a key's slot, of eight words each, are asked for ahead.
const PREFETCHED: usize = 8;

/// About what a run takes that does not fit into a record.
const RUN_MORE_BYTES: usize = 128;

/// No sweep is planned.
const NEVER: i64 = (1 << 44) - 1;

/// Where the time of the next sweep begins in its word; behind the space stands what the last save knows.
const SWEEP_BITS: u32 = 19;

/// The slots of one key group, with the events that runs of the group share.
#[derive(Clone, Debug, Default)]
pub struct Group {
    table: Table,
    blocks: Blocks,
    some: Slab<SlotMore>,
    run_some: Slab<(u32, Box<RunMore>)>,
    /// How many runs live that are not gathered: in all, and of each rule.
    runs: usize,
    of_rule: Vec<u32>,
    /// The caps of more than one key that took runs of a rule, and until when that may matter.
    capped: BTreeMap<u32, Capped>,
    /// Events that more than one run of the group has bound, or that have one bound behind them.
    pub bound: BoundEvents,
    /// What has changed since the last save, where somebody asks for that.
    changed: Changed,
    /// Memory for records on their way.
    words: Vec<u64>,
}

fn low(word: u64) -> u32 {
    word as u32
}

fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// What word 1 of a slot says.
#[derive(Clone, Copy)]
struct Shape {
    /// Where the key ends.
    from: usize,
    used: usize,
    more: u32,
    small: usize,
}

impl Shape {
    #[inline]
    fn of(words: &[u64]) -> Shape {
        let word = words[1];
        let from = HEAD + (high(words[0]) as usize).div_ceil(8);
        Shape { from, used: word as usize & 0x7ff_ffff, more: (word >> 27) as u32 & NONE, small: (word >> 54) as usize }
    }

    #[inline]
    fn write(self, words: &mut [u64]) {
        debug_assert!(self.used <= 0x7ff_ffff && self.small <= SMALL_WORDS_MAX && self.more <= NONE);
        words[1] = self.used as u64 | u64::from(self.more) << 27 | (self.small as u64) << 54;
    }
}

impl Group {
    /// Asks the processor to have a key's place in the table at hand.
    #[inline]
    pub fn prefetch_place(&self, hash: u64) {
        self.table.prefetch(tag_of(hash));
    }

    /// Asks the processor to have the beginning of a key's slot at hand.
    #[inline]
    pub fn prefetch_slot(&self, hash: u64) {
        if let Some(slot) = self.table.all(tag_of(hash)).next() {
            for line in self.blocks.get(slot).chunks(8).take(PREFETCHED) {
                crate::state::prefetch(&line[0]);
            }
        }
    }

    /// The slot of a key.
    #[inline]
    pub fn find(&self, space: u16, hash: u64, key: &[u8]) -> Option<SlotId> {
        self.table.find(tag_of(hash), |slot| self.space(slot) == space && self.key(slot) == key)
    }

    /// The slot of a key, made where there is none, with room for so many words.
    pub fn find_or_add(&mut self, space: u16, hash: u64, key: &[u8], room: usize) -> SlotId {
        if let Some(slot) = self.find(space, hash, key) {
            return slot;
        }
        self.words.clear();
        self.words.extend([pair(tag_of(hash), key.len() as u32), 0, (NEVER << SWEEP_BITS) as u64 | u64::from(space)]);
        let used = HEAD + key.len().div_ceil(8);
        self.words.resize(used, 0);
        bytemuck::cast_slice_mut::<u64, u8>(&mut self.words[HEAD..])[..key.len()].copy_from_slice(key);
        Shape { from: used, used, more: NONE, small: 0 }.write(&mut self.words);
        let slot = self.blocks.add(used + room);
        self.blocks.get_mut(slot)[..used].copy_from_slice(&self.words);
        self.table.insert(tag_of(hash), slot);
        slot
    }

    /// The key's bytes.
    #[inline]
    pub fn key(&self, slot: SlotId) -> &[u8] {
        let words = self.blocks.get(slot);
        &bytemuck::cast_slice(&words[HEAD..])[..high(words[0]) as usize]
    }

    /// Index of the key space.
    #[inline]
    pub fn space(&self, slot: SlotId) -> u16 {
        self.blocks.get(slot)[2] as u16
    }

    /// The rule set has changed: the key space has another index.
    pub fn set_space(&mut self, slot: SlotId, space: u16) {
        let word = &mut self.blocks.get_mut(slot)[2];
        *word = *word & !0xffff | u64::from(space);
    }

    /// The 32 bits of the key's hash that the slot is found by.
    pub fn tag(&self, slot: SlotId) -> u32 {
        low(self.blocks.get(slot)[0])
    }

    /// The slots found by these 32 bits.
    pub fn tagged(&self, tag: u32) -> SmallVec<[SlotId; 2]> {
        self.table.all(tag).collect()
    }

    /// When to look whether something has gone; none where no look is planned.
    #[inline]
    pub fn sweep_at(&self, slot: SlotId) -> Option<Millis> {
        let grains = self.blocks.get(slot)[2] as i64 >> SWEEP_BITS;
        (grains != NEVER).then_some(grains * SWEEP_GRAIN)
    }

    /// Plans a look. What is too far ahead to be written is looked at earlier.
    pub fn set_sweep_at(&mut self, slot: SlotId, at: Option<Millis>) -> Option<Millis> {
        let grains = at.map_or(NEVER, |at| at.div_euclid(SWEEP_GRAIN).clamp(-NEVER, NEVER - 1));
        let word = &mut self.blocks.get_mut(slot)[2];
        *word = (grains << SWEEP_BITS) as u64 | *word & ((1 << SWEEP_BITS) - 1);
        self.sweep_at(slot)
    }

    /// What only some keys hold.
    #[inline]
    pub fn more(&self, slot: SlotId) -> Option<&SlotMore> {
        self.some.get(Shape::of(self.blocks.get(slot)).more)
    }

    /// What only some keys hold, to change.
    #[inline]
    pub fn more_mut(&mut self, slot: SlotId) -> Option<&mut SlotMore> {
        self.some.get_mut(Shape::of(self.blocks.get(slot)).more)
    }

    /// What only some keys hold, made where there is none.
    pub fn more_or_add(&mut self, slot: SlotId) -> &mut SlotMore {
        let words = self.blocks.get_mut(slot);
        let mut shape = Shape::of(words);
        if shape.more == NONE {
            shape.more = self.some.add(SlotMore::default());
            shape.write(words);
        }
        self.some.get_mut(shape.more).expect("a slot names what is there")
    }

    /// The state of a window that is not small.
    pub fn window(&self, slot: SlotId, window: u32) -> Option<&WindowCell> {
        self.windows(slot).iter().find(|w| w.window == window)
    }

    /// What windows hold that are not small.
    pub fn windows(&self, slot: SlotId) -> &[WindowCell] {
        self.more(slot).map_or(&[], |m| &m.windows)
    }

    /// Gives up what is empty.
    pub fn tidy(&mut self, slot: SlotId) {
        let Some(more) = self.more_mut(slot) else { return };
        more.cells.retain(|(_, c)| !c.is_empty());
        more.starts.retain(|(_, s)| !s.is_empty());
        if more.cells.is_empty() && more.windows.is_empty() && more.starts.is_empty() {
            let words = self.blocks.get_mut(slot);
            let shape = Shape::of(words);
            Shape { more: NONE, ..shape }.write(words);
            self.some.remove(shape.more);
        }
    }

    /// Gives up memory that the slot no longer needs. Returns the slot's number.
    pub fn fit(&mut self, slot: SlotId) -> SlotId {
        let (_, used) = self.span(slot);
        self.resize(slot, used, used)
    }

    /// Gives back memory of which much is free. Slots get other numbers by it.
    #[inline]
    pub fn thin_out(&mut self) {
        if self.blocks.is_sparse() {
            let table = &mut self.table;
            self.blocks.thin_out(|words, from, to| table.replace(low(words[0]), from, to));
        }
    }

    fn resize(&mut self, slot: SlotId, used: usize, words: usize) -> SlotId {
        let new = self.blocks.resize(slot, used, words);
        if new != slot {
            let tag = self.tag(new);
            self.table.replace(tag, slot, new);
        }
        new
    }

    fn append(&mut self, slot: SlotId, words: &[u64]) -> SlotId {
        let (_, used) = self.span(slot);
        let all = used + words.len();
        let new = self.resize(slot, used, all);
        let block = self.blocks.get_mut(new);
        block[used..all].copy_from_slice(words);
        Shape { used: all, ..Shape::of(block) }.write(block);
        new
    }

    /// Whether a slot holds nothing.
    #[inline]
    pub fn holds_nothing(&self, slot: SlotId) -> bool {
        let shape = Shape::of(self.blocks.get(slot));
        shape.more == NONE && shape.used == shape.from
    }

    /// Frees a slot that holds nothing.
    pub fn remove(&mut self, slot: SlotId) {
        self.note_gone(slot);
        self.table.remove(self.tag(slot), slot);
        self.blocks.remove(slot);
        if self.table.is_empty() {
            // Keys that are not in memory may still feel what a cap did.
            let (capped, changed) = (std::mem::take(&mut self.capped), std::mem::take(&mut self.changed));
            *self = Group { capped, changed, ..Group::default() };
        }
    }

    /// Gives up a key with all that it holds.
    pub fn discard(&mut self, slot: SlotId, rules: &RuleSet) {
        let fates: Vec<Fate> = self.records(slot).map(|_| Fate::Gone).collect();
        self.apply(slot, &fates, rules, &mut Vec::new());
        if let Some(more) = self.more_mut(slot) {
            *more = SlotMore::default();
            self.tidy(slot);
        }
        self.remove(slot);
    }

    /// The time of the newest event that a key's state remembers; none where what it remembers has no times.
    pub fn newest(&self, slot: SlotId) -> Option<Millis> {
        let runs = self.records(slot).map(|r| r.last(&self.bound).at());
        let small = self.packed(slot).map(Packed::newest);
        let windows = self.windows(slot).iter().filter_map(|w| w.state.newest());
        let starts = self.more(slot).into_iter().flat_map(|m| &m.starts).filter_map(|(_, starts)| starts.newest_at());
        runs.chain(small).chain(windows).chain(starts).max()
    }

    /// About how many bytes of memory a key takes.
    pub fn bytes_of(&self, slot: SlotId) -> usize {
        let more = self.more(slot).map_or(0, SlotMore::bytes);
        let beside = self.records(slot).filter(|r| r.more().is_some()).count() * RUN_MORE_BYTES;
        size_of_val(self.blocks.get(slot)) + 2 * ENTRY_BYTES + more + beside
    }

    /// Numbers of the slots in use, in no order that means anything.
    pub fn slots(&self) -> Vec<SlotId> {
        self.table.iter().collect()
    }

    /// Numbers of the slots in use, ordered by space and key.
    pub fn in_order(&self) -> Vec<SlotId> {
        let mut all = self.slots();
        all.sort_unstable_by(|a, b| (self.space(*a), self.key(*a)).cmp(&(self.space(*b), self.key(*b))));
        all
    }

    /// How many keys it holds.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether it holds no key.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}
