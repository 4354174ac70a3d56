//! State by key: one slot a key, in 256 fixed key groups and one for pinned rules.
//!
//! A slot holds what rules have of its key: runs, windows, open alerts. A rule costs a key nothing until it has something to
//! keep, and a slot that holds nothing goes.

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use hashbrown::HashTable;
use std::hash::Hasher;

use crate::Millis;
use crate::bound::BoundEvents;
use crate::output::{AlertId, Match};
use crate::run::Run;
use crate::window::WindowState;

/// How many key groups there are, the pinned one aside.
pub const GROUPS: usize = 256;
/// The key group of pinned rules and their windows.
pub const PINNED: usize = GROUPS;

/// The state of one key.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    /// Hash of space and key.
    pub hash: u64,
    /// Index of the key space.
    pub space: u16,
    /// The key's bytes.
    pub key: Box<[u8]>,
    /// What rules hold.
    pub cells: Vec<Cell>,
    /// What windows hold.
    pub windows: Vec<WindowCell>,
    /// When to look whether something has gone; [`Millis::MAX`] where no look is planned.
    pub sweep_at: Millis,
}

/// What one rule holds of a key.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// Index of the rule.
    pub rule: u32,
    /// Live runs.
    pub runs: Vec<Run>,
    /// What few cells need.
    pub more: Option<Box<CellMore>>,
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
}

impl Slot {
    /// The cell of a rule.
    pub fn cell(&self, rule: u32) -> Option<usize> {
        self.cells.iter().position(|c| c.rule == rule)
    }

    /// The state of a window.
    pub fn window(&self, window: u32) -> Option<&WindowState> {
        self.windows.iter().find(|w| w.window == window).map(|w| &w.state)
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.windows.is_empty()
    }
}

/// The slots of one key group, with the events their runs have bound.
#[derive(Clone, Debug, Default)]
pub struct Group {
    table: HashTable<u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Events that runs of the group have bound.
    pub bound: BoundEvents,
}

impl Group {
    /// The slot of a key.
    #[inline]
    pub fn find(&self, space: u16, hash: u64, key: &[u8]) -> Option<u32> {
        let same = |i: &u32| {
            let slot = &self.slots[*i as usize];
            slot.hash == hash && slot.space == space && *slot.key == *key
        };
        self.table.find(hash, same).copied()
    }

    /// The slot of a key, made where there is none.
    pub fn find_or_add(&mut self, space: u16, hash: u64, key: &[u8]) -> u32 {
        if let Some(i) = self.find(space, hash, key) {
            return i;
        }
        let slot = Slot { hash, space, key: key.into(), sweep_at: Millis::MAX, ..Slot::default() };
        let i = match self.free.pop() {
            Some(i) => {
                self.slots[i as usize] = slot;
                i
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        let slots = &self.slots;
        self.table.insert_unique(hash, i, |i| slots[*i as usize].hash);
        i
    }

    /// The slot.
    #[inline]
    pub fn slot(&self, i: u32) -> &Slot {
        &self.slots[i as usize]
    }

    /// The slot, to change.
    #[inline]
    pub fn slot_mut(&mut self, i: u32) -> &mut Slot {
        &mut self.slots[i as usize]
    }

    /// Slot and bound events, to change both.
    pub fn parts(&mut self, i: u32) -> (&mut Slot, &mut BoundEvents) {
        (&mut self.slots[i as usize], &mut self.bound)
    }

    /// Frees a slot that holds nothing.
    pub fn remove(&mut self, i: u32) {
        let hash = self.slots[i as usize].hash;
        if let Ok(entry) = self.table.find_entry(hash, |j| *j == i) {
            entry.remove();
            self.slots[i as usize] = Slot::default();
            self.free.push(i);
        }
        if self.table.is_empty() {
            *self = Group::default();
        }
    }

    /// Whether this number names a slot in use.
    pub fn holds(&self, i: u32) -> bool {
        self.slots.get(i as usize).is_some_and(|s| self.table.find(s.hash, |j| *j == i).is_some())
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

    /// Hash of a key in a space.
    #[inline]
    pub fn hash(self, space: u16, key: &[u8]) -> u64 {
        static SEED: SharedSeed = SharedSeed::from_u64(0x1a9_71e6);
        let mut hasher = FoldHasher::with_seed(self.secret ^ u64::from(space), &SEED);
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

/// The alert's id and revision that the next revision goes on from.
pub fn next_revision(body: &Match) -> (AlertId, u32) {
    (body.id, body.revision + 1)
}
