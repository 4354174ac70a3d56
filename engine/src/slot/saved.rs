//! Which keys have changed since the last save.
//!
//! A slot says itself whether it has been touched since, and what the save holds of its key; a list names those that were touched, so that nobody
//! has to walk all. What a sweep drops is no change: nobody sees it. Where no one asks for changes nothing is noted.

use std::collections::BTreeMap;

use super::{Group, SlotId};
use crate::state::blocks::Blocks;

/// It was touched since the last save.
const TOUCHED: u64 = 1 << 16;
/// The last save holds something of its key ...
const SAVED: u64 = 1 << 17;
/// ... that has to be in memory.
const STAYS: u64 = 1 << 18;

/// What the last save knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    Nothing,
    /// It holds something of it, which may be outside memory ...
    Cold,
    /// ... or has to be in memory.
    Stays,
}

/// What has changed in a group since the last save.
#[derive(Clone, Debug, Default)]
pub(super) struct Changed {
    /// Whether anybody asks.
    asked: bool,
    /// The 32 bits by which touched slots are found.
    touched: Vec<u32>,
    /// Keys that the last save holds and that have gone from memory, with their space; and whether the save says that they have to be there.
    gone: BTreeMap<(u16, Box<[u8]>), bool>,
}

fn known(words: &[u64]) -> Known {
    match (words[2] & SAVED != 0, words[2] & STAYS != 0) {
        (false, _) => Known::Nothing,
        (true, false) => Known::Cold,
        (true, true) => Known::Stays,
    }
}

impl Group {
    /// Notes from here on what changes. As of now no save knows anything of any key.
    pub fn note_changes(&mut self) {
        self.changed = Changed { asked: true, ..Changed::default() };
        for slot in self.slots() {
            self.blocks.get_mut(slot)[2] &= !(SAVED | STAYS | TOUCHED);
            self.touch(slot);
        }
    }

    /// Something of a key has changed.
    #[inline]
    pub fn touch(&mut self, slot: SlotId) {
        if self.changed.asked {
            touch(&mut self.blocks, slot, &mut self.changed.touched);
        }
    }

    /// Whether a key has changed since the last save.
    pub fn is_touched(&self, slot: SlotId) -> bool {
        self.blocks.get(slot)[2] & TOUCHED != 0
    }

    /// What the last save knows of a key.
    pub fn known(&self, slot: SlotId) -> Known {
        known(self.blocks.get(slot))
    }

    /// A save knows this of a key, as it is now.
    pub fn set_known(&mut self, slot: SlotId, is: Known) {
        let word = &mut self.blocks.get_mut(slot)[2];
        let bits = match is {
            Known::Nothing => 0,
            Known::Cold => SAVED,
            Known::Stays => SAVED | STAYS,
        };
        *word = *word & !(TOUCHED | SAVED | STAYS) | bits;
    }

    /// Whether the last save holds a key that has gone since.
    pub fn is_gone(&self, space: u16, key: &[u8]) -> bool {
        !self.changed.gone.is_empty() && self.changed.gone.contains_key(&(space, Box::from(key)))
    }

    /// The slots that were touched since this was asked last, and the keys that have gone since then, with what the save knows of those.
    pub fn take_changed(&mut self) -> (Vec<SlotId>, BTreeMap<(u16, Box<[u8]>), Known>) {
        let mut touched = std::mem::take(&mut self.changed.touched);
        touched.sort_unstable();
        touched.dedup();
        let slots = touched.iter().flat_map(|tag| self.table.all(*tag)).filter(|slot| self.is_touched(*slot)).collect();
        let gone = std::mem::take(&mut self.changed.gone).into_iter();
        (slots, gone.map(|(key, stays)| (key, if stays { Known::Stays } else { Known::Cold })).collect())
    }

    /// A slot goes: if a save holds its key, the next one has to say so.
    pub(super) fn note_gone(&mut self, slot: SlotId) {
        let known = self.known(slot);
        if known != Known::Nothing {
            let key = (self.space(slot), Box::from(self.key(slot)));
            self.changed.gone.insert(key, known == Known::Stays);
        }
    }
}

#[inline]
fn touch(blocks: &mut Blocks, slot: SlotId, touched: &mut Vec<u32>) {
    let words = blocks.get_mut(slot);
    if words[2] & TOUCHED == 0 {
        words[2] |= TOUCHED;
        touched.push(words[0] as u32);
    }
}
