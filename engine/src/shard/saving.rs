//! What has changed since the last save, key by key.
//!
//! A save holds each key as bytes of its own, and beside the keys the rest of the state. [`Shard::changes`] gives what a save that follows another
//! has to write: the keys that were touched since, and the names of those that have gone. What a save holds and memory has not changed may be
//! dropped from memory ([`Shard::drop_saved`]): it is outside then, and comes back as any other key does.

use super::Shard;
use super::outside::{KeyName, ends};
use crate::Millis;
use crate::planted::{Bug, bug};
use crate::slot::{Group, Known, PINNED, SWEPT_WITHIN, SlotId};
use crate::store::codec::Corrupt;
use crate::store::group::says_nothing;
use crate::store::key;

/// How much of a shard's state the last save knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Saving {
    /// Nobody saves changes.
    #[default]
    Not,
    /// Nothing: all that is there has changed.
    Nothing,
    /// All but what was noted.
    Noted,
}

/// What became of a key since the last save.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which key.
    pub name: KeyName,
    /// What the last save knows of it.
    pub before: Known,
    /// What is held of it; none where it has gone.
    pub now: Option<Held>,
}

/// What is held of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Once time is past this nothing of it counts any more: it may be forgotten.
    pub ends: Millis,
    /// Whether it has to be in memory: time moves it, or other keys read it.
    pub stays: bool,
    /// All that is held.
    pub bytes: Vec<u8>,
}

impl Shard {
    /// Notes from here on what changes, for saves; as of now there is none, so that all has changed.
    pub fn note_changes(&mut self) {
        self.saving = Saving::Nothing;
    }

    /// A save holds nothing of what is there any more: all has other numbers.
    pub(crate) fn all_changed(&mut self) {
        if self.saving == Saving::Noted {
            self.saving = Saving::Nothing;
        }
    }

    /// Whether a save knows what is there, but for what was noted.
    pub(super) fn is_saved(&self) -> bool {
        self.saving == Saving::Noted
    }

    /// Whether the next save has to hold all: what the last one holds is nothing worth.
    pub fn saves_all(&self) -> bool {
        self.saving == Saving::Nothing
    }

    /// What a save has to write that follows the last one, ascending. From here on that save is the last one. There are none where nobody asked to have
    /// them noted.
    pub fn changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.saving == Saving::Not {
            return changes;
        }
        let all = std::mem::replace(&mut self.saving, Saving::Noted) == Saving::Nothing;
        for group in (0..self.groups.len()).filter(|group| self.owns(*group)).collect::<Vec<_>>() {
            if all {
                self.groups[group].note_changes();
            }
            self.changes_of(group as u16, &mut changes);
        }
        changes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        changes
    }

    fn changes_of(&mut self, number: u16, changes: &mut Vec<Change>) {
        let (touched, mut gone) = self.groups[number as usize].take_changed();
        for slot in touched {
            let now = self.held(number, slot);
            let group = &mut self.groups[number as usize];
            let key = (group.space(slot), Box::from(group.key(slot)));
            // One that went and came again has forgotten that it was saved.
            let before = gone.remove(&key).unwrap_or(group.known(slot));
            group.set_known(slot, now.as_ref().map_or(Known::Nothing, Held::known));
            if now.is_some() || before != Known::Nothing {
                changes.push(Change { name: KeyName { group: number, space: key.0, key: key.1 }, before, now });
            }
        }
        let name = |space, key| KeyName { group: number, space, key };
        let gone = gone.into_iter().filter(|_| !bug(Bug::Forgotten));
        changes.extend(gone.map(|((space, key), before)| Change { name: name(space, key), before, now: None }));
    }

    fn held(&self, number: u16, slot: SlotId) -> Option<Held> {
        let group = &self.groups[number as usize];
        (!says_nothing(group, slot, &self.rules)).then(|| Held {
            ends: ends(group, slot, &self.rules).saturating_add(SWEPT_WITHIN),
            stays: number as usize == PINNED || self.waits_for_time(number, slot),
            bytes: key::save(group, slot, &self.rules),
        })
    }

    /// Takes in what a save holds of a key, before [`Shard::resume`]. That has to be all keys that have to be in memory; others may stay outside.
    /// From here on that save is the last one.
    pub fn load_saved(&mut self, name: &KeyName, bytes: &[u8]) -> Result<(), Corrupt> {
        self.go_on_saving();
        let slot = self.load_key(name, bytes)?;
        if name.group as usize == PINNED || self.waits_for_time(name.group, slot) {
            self.groups[name.group as usize].set_known(slot, Known::Stays);
        }
        Ok(())
    }

    /// A save knows what is there: notes from here on what changes.
    pub fn go_on_saving(&mut self) {
        if self.saving != Saving::Noted {
            self.saving = Saving::Noted;
            self.groups.iter_mut().for_each(Group::note_changes);
        }
    }

    /// Drops keys from memory that the last save holds as they are and that `cold` chooses, as [`Shard::evict`] does. Returns how many went.
    pub fn drop_saved(&mut self, mut cold: impl FnMut(Millis) -> bool) -> usize {
        if !self.is_saved() {
            return 0;
        }
        let rules = self.rules.clone();
        let mut count = 0;
        for stratum in 0..rules.strata {
            self.in_stratum(stratum);
            let may = |g: &Group, slot| g.known(slot) == Known::Cold && !g.is_touched(slot);
            self.evict_in_stratum(&rules, may, &mut cold, &mut |_, _, _| count += 1);
        }
        count
    }

    /// About how many bytes of memory each key takes, with the time of the newest event that its state remembers where [`Shard::drop_saved`] may
    /// drop it.
    pub fn sizes(&self, mut each: impl FnMut(Option<Millis>, usize)) {
        for group in &self.groups {
            for slot in group.slots() {
                let goes = group.known(slot) == Known::Cold && !group.is_touched(slot) && self.is_saved();
                let newest = goes.then(|| group.newest(slot).unwrap_or(Millis::MIN));
                each(newest, group.bytes_of(slot));
            }
        }
    }
}

impl Held {
    fn known(&self) -> Known {
        if self.stays { Known::Stays } else { Known::Cold }
    }
}
