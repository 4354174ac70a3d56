//! State by key: one slot a key, in 256 fixed key groups and one for pinned rules.
//!
//! A slot holds what rules have of its key: runs, windows, open alerts. A rule costs a key nothing until it has something to
//! keep, and a slot that holds nothing goes.

use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::Millis;
use crate::bound::BoundEvents;
use crate::output::Match;
use crate::run::Run;
use crate::slab::Slab;
use crate::window::WindowState;

/// How many key groups there are, the pinned one aside.
pub const GROUPS: usize = 256;
/// The key group of pinned rules and their windows.
pub const PINNED: usize = GROUPS;

/// The state of one key.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Hash of space and key.
    pub hash: u64,
    /// The key's bytes.
    pub key: SmallVec<[u8; 16]>,
    /// When to look whether something has gone; [`Millis::MAX`] where no look is planned.
    pub sweep_at: Millis,
    /// Windows, and what few rules need.
    pub more: Option<Box<SlotMore>>,
    /// The first of its runs in [`Group`]'s slab; [`NONE`]: there is none.
    first: u32,
    /// Index of the key space.
    pub space: u16,
}

/// What only some keys hold.
#[derive(Clone, Debug, Default)]
pub struct SlotMore {
    /// What windows hold.
    pub windows: Vec<WindowCell>,
    /// What rules hold beside runs.
    pub cells: Vec<(u32, CellMore)>,
}

/// No run.
const NONE: u32 = u32::MAX;

/// A run where it is kept: runs of one key are a list, those of one rule next to each other and in their order.
#[derive(Clone, Debug)]
struct Stored {
    run: Run,
    rule: u32,
    next: u32,
}

/// What one rule holds of a key, taken out to be moved.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// Index of the rule.
    pub rule: u32,
    /// Live runs.
    pub runs: Vec<Run>,
    /// What few cells need.
    pub more: Option<CellMore>,
}

/// What a rule that reports late, or whose cap bit, holds beside runs.
#[derive(Clone, Debug, Default)]
pub struct CellMore {
    /// `report final`: for each beginning its best complete match so far, ascending by beginning.
    pub candidates: Vec<Candidate>,
    /// `report updates`: alerts that may grow.
    pub open: Vec<OpenAlert>,
    /// The caps that bit, and until when that may matter.
    pub caps: u8,
    /// The last deadline of a run that a cap took.
    pub caps_until: Millis,
}

impl CellMore {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty() && self.open.is_empty() && self.caps == 0
    }
}

/// A complete match that a preferred one may still replace.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Number of its first event.
    pub first_sequence: u64,
    /// Number of its last event.
    pub last_sequence: u64,
    /// The ways taken, in order.
    pub ranks: Vec<u16>,
    /// Numbers of its events with their steps, in order.
    pub bindings: Vec<(u16, u64)>,
    /// The alert as of its last event.
    pub body: Box<Match>,
}

/// An alert that may be revised.
#[derive(Clone, Debug)]
pub struct OpenAlert {
    /// The tag of the runs that may revise it.
    pub tag: u32,
    /// The last revision.
    pub body: Box<Match>,
}

/// What one window holds of a key.
#[derive(Clone, Debug)]
pub struct WindowCell {
    /// Index of the window.
    pub window: u32,
    /// Its content.
    pub state: WindowState,
    /// Until when entries that the cap took would have counted.
    pub lost_until: Millis,
}

impl Slot {
    /// The state of a window.
    pub fn window(&self, window: u32) -> Option<&WindowCell> {
        self.windows().iter().find(|w| w.window == window)
    }

    /// What windows hold.
    pub fn windows(&self) -> &[WindowCell] {
        self.more.as_ref().map_or(&[], |m| &m.windows)
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.first == NONE && self.more.is_none()
    }

    /// Gives up what is empty.
    pub fn tidy(&mut self) {
        if let Some(more) = &mut self.more {
            more.cells.retain(|(_, c)| !c.is_empty());
            if more.cells.is_empty() && more.windows.is_empty() {
                self.more = None;
            }
        }
    }
}

/// The slots of one key group, with their runs and the events these have bound.
#[derive(Clone, Debug, Default)]
pub struct Group {
    table: HashTable<u32>,
    slots: Slab<Slot>,
    runs: Slab<Stored>,
    /// Events that runs of the group have bound.
    pub bound: BoundEvents,
}

impl Group {
    /// The slot of a key.
    #[inline]
    pub fn find(&self, space: u16, hash: u64, key: &[u8]) -> Option<u32> {
        let same = |i: &u32| {
            let slot = self.slot(*i);
            slot.hash == hash && slot.space == space && *slot.key == *key
        };
        self.table.find(hash, same).copied()
    }

    /// The slot of a key, made where there is none.
    pub fn find_or_add(&mut self, space: u16, hash: u64, key: &[u8]) -> u32 {
        if let Some(i) = self.find(space, hash, key) {
            return i;
        }
        self.add(Slot { hash, space, key: key.into(), sweep_at: Millis::MAX, more: None, first: NONE })
    }

    /// Adds the slot of a new key.
    pub fn add(&mut self, slot: Slot) -> u32 {
        let hash = slot.hash;
        let i = self.slots.add(slot);
        let slots = &self.slots;
        self.table.insert_unique(hash, i, |i| slots.get(*i).map_or(0, |s| s.hash));
        i
    }

    /// The slot.
    #[inline]
    pub fn slot(&self, i: u32) -> &Slot {
        self.slots.get(i).expect("a slot in the table is in use")
    }

    /// The slot, to change.
    #[inline]
    pub fn slot_mut(&mut self, i: u32) -> &mut Slot {
        self.slots.get_mut(i).expect("a slot in the table is in use")
    }

    /// The runs of a key with their rules.
    pub fn runs(&self, slot: u32) -> impl Iterator<Item = (u32, &Run)> {
        let mut next = self.slot(slot).first;
        std::iter::from_fn(move || {
            let stored = self.runs.get(next)?;
            next = stored.next;
            Some((stored.rule, &stored.run))
        })
    }

    /// The rules that hold something of a key, ascending.
    pub fn rules(&self, slot: u32) -> SmallVec<[u32; 8]> {
        let mut rules: SmallVec<[u32; 8]> = SmallVec::new();
        for (rule, _) in self.runs(slot) {
            if rules.last() != Some(&rule) {
                rules.push(rule);
            }
        }
        if let Some(more) = &self.slot(slot).more {
            rules.extend(more.cells.iter().map(|(rule, _)| *rule));
        }
        if rules.len() > 1 {
            rules.sort_unstable();
            rules.dedup();
        }
        rules
    }

    /// Takes out what a rule holds of a key; `runs` is emptied and used for its runs.
    pub fn take_cell(&mut self, slot: u32, rule: u32, mut runs: Vec<Run>) -> Cell {
        runs.clear();
        let mut before = NONE;
        let mut at = self.slot(slot).first;
        while let Some(stored) = self.runs.get(at) {
            let (own, next) = (stored.rule == rule, stored.next);
            if own {
                match self.runs.get_mut(before) {
                    Some(before) => before.next = next,
                    None => self.slot_mut(slot).first = next,
                }
                runs.extend(self.runs.remove(at).map(|s| s.run));
            } else {
                if !runs.is_empty() {
                    // A rule's runs stand next to each other.
                    break;
                }
                before = at;
            }
            at = next;
        }
        Cell { rule, runs, more: self.take_more(slot, rule) }
    }

    /// Takes out all runs of a key with their rules, in order of the rules.
    pub fn take_runs(&mut self, slot: u32, runs: &mut Vec<(u32, Run)>) {
        let mut at = std::mem::replace(&mut self.slot_mut(slot).first, NONE);
        while let Some(stored) = self.runs.remove(at) {
            at = stored.next;
            runs.push((stored.rule, stored.run));
        }
        // The sort is stable: runs of one rule keep their order.
        if !runs.is_sorted_by_key(|(rule, _)| *rule) {
            runs.sort_by_key(|(rule, _)| *rule);
        }
    }

    /// Takes out what a rule holds of a key beside runs.
    pub fn take_more(&mut self, slot: u32, rule: u32) -> Option<CellMore> {
        let more = self.slot_mut(slot).more.as_mut()?;
        let i = more.cells.iter().position(|(r, _)| *r == rule)?;
        Some(more.cells.swap_remove(i).1)
    }

    /// Puts back what a rule holds of a key; gives back the memory of its runs.
    pub fn put_cell(&mut self, slot: u32, mut cell: Cell) -> Vec<Run> {
        let mut first = self.slot(slot).first;
        while let Some(run) = cell.runs.pop() {
            first = self.runs.add(Stored { run, rule: cell.rule, next: first });
        }
        let slot = self.slot_mut(slot);
        slot.first = first;
        if let Some(more) = cell.more.filter(|m| !m.is_empty()) {
            slot.more.get_or_insert_default().cells.push((cell.rule, more));
        }
        slot.tidy();
        cell.runs
    }

    /// Frees a slot that holds nothing.
    pub fn remove(&mut self, i: u32) {
        let hash = self.slot(i).hash;
        if let Ok(entry) = self.table.find_entry(hash, |j| *j == i) {
            entry.remove();
            self.slots.remove(i);
        }
        if self.table.is_empty() {
            *self = Group::default();
        }
    }

    /// Whether this number names a slot in use.
    pub fn holds(&self, i: u32) -> bool {
        self.slots.get(i).is_some()
    }

    /// Numbers of the slots in use, ordered by space and key.
    pub fn in_order(&self) -> Vec<u32> {
        let mut all: Vec<u32> = self.table.iter().copied().collect();
        all.sort_unstable_by(|a, b| {
            let (a, b) = (self.slot(*a), self.slot(*b));
            (a.space, &a.key).cmp(&(b.space, &b.key))
        });
        all
    }

    /// How many keys it holds.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// How many runs live.
    pub fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// Whether it holds no key.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

/// Hashes keys with a secret, so that nobody can choose keys that fall into one group or chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHasher {
    secret: u64,
}

impl KeyHasher {
    /// With a secret, which is saved with the state.
    pub fn new(secret: u64) -> Self {
        KeyHasher { secret }
    }

    /// The secret.
    pub fn secret(self) -> u64 {
        self.secret
    }

    /// Hash of a key in a space of this seed.
    #[inline]
    pub fn hash(self, seed: u64, key: &[u8]) -> u64 {
        static SEED: SharedSeed = SharedSeed::from_u64(0x1a9_71e6);
        let mut hasher = FoldHasher::with_seed(self.secret ^ seed, &SEED);
        hasher.write(key);
        hasher.finish()
    }
}

/// The key group of a hash.
#[inline]
pub fn group_of(hash: u64, pinned: bool) -> usize {
    // The table within a group uses the low and the top bits.
    if pinned { PINNED } else { (hash >> 40) as usize & (GROUPS - 1) }
}
