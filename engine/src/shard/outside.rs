//! Keys outside memory: what a batch needs of them, how they come in and how they go out.
//!
//! The engine never waits: [`Shard::needs`] names the keys that a batch asks for and that are not in memory, the caller reads them from wherever it
//! keeps them, [`Shard::load_keys`] takes them in, and [`Shard::step`] goes on. [`Shard::evict`] takes cold keys out as bytes, one
//! value a key. What comes out of the shard is the same whether keys were outside in between or not, but for the caps of more than one key (see
//! [`Shard::evict`]).

use std::collections::{BTreeMap, BTreeSet};

use super::{Ahead, Shard};
use crate::Millis;
use crate::batch::EventView;
use crate::order::Ordered;
use crate::planted::{Bug, bug};
use crate::rule_set::RuleSet;
use crate::slot::{Group, Known, PINNED, SWEPT_WITHIN, SlotId, group_of};
use crate::store::codec::Corrupt;
use crate::store::key;
use crate::window::last_end;
use crate::window::packed::Packed;

/// Names a key under one rule set, which its space is a number of. Names are ordered so that those of a group stand together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName {
    /// The key group.
    pub group: u16,
    /// Index of the key space.
    pub space: u16,
    /// The key's bytes.
    pub key: Box<[u8]>,
}

/// A key taken out of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cold {
    /// Which.
    pub name: KeyName,
    /// Once time is past this nothing of it counts any more: it may be forgotten.
    pub ends: Millis,
    /// All that is held of it.
    pub bytes: Vec<u8>,
}

/// So many planned looks of one kind are no longer needed, by group and tag.
type Gone = BTreeMap<(u16, u32), usize>;

impl Shard {
    /// The keys of a batch's events that are not in memory, ascending, each once. Whether there is anything of them outside is for the
    /// caller to find out: a key that is nowhere is new. One that is outside and is not taken in before the step begins anew, and is
    /// refused when it is taken in later.
    pub fn needs(&self, input: &Ordered) -> Vec<KeyName> {
        let mut needed = BTreeSet::new();
        let mut keys = Ahead::default();
        for event in &input.events {
            let batch = &*input.batches[event.batch as usize];
            keys.deliveries.clear();
            keys.key_bytes.clear();
            self.find_keys(
                &self.rules,
                input.stratum,
                EventView { batch, row: &batch.rows[event.row as usize] },
                &mut keys,
            );
            for delivery in &keys.deliveries {
                let (group, space, key) = (delivery.group, delivery.space, keys.key(delivery));
                let of = &self.groups[group as usize];
                let here = || of.find(space, delivery.hash, key).is_some() || of.is_gone(space, key);
                if group as usize != PINNED && !here() {
                    needed.insert(KeyName { group, space, key: key.into() });
                }
            }
        }
        needed.into_iter().take(if bug(Bug::Needed) { 1 } else { usize::MAX }).collect()
    }

    /// Takes keys in that [`Shard::evict`] gave, before the step over the batch that needs them; each comes back once. The rule set must
    /// be the one under which they went out. After an error the shard may hold a part of a key, and must not go on.
    pub fn load_keys<'b>(&mut self, loaded: impl IntoIterator<Item = (&'b KeyName, &'b [u8])>) -> Result<(), Corrupt> {
        for (name, bytes) in loaded {
            let slot = self.load_key(name, bytes)?;
            self.in_stratum(self.rules.spaces[name.space as usize].stratum);
            if self.waits_for_time(name.group, slot) && !bug(Bug::Evicted) {
                return Err(Corrupt("a key that time moves was outside memory"));
            }
            if let Some(slot) = self.drop_gone(name.group, slot, self.swept_until()) {
                self.plan_sweep(name.group, slot);
            }
        }
        Ok(())
    }

    /// Reads a key into its group.
    pub(super) fn load_key(&mut self, name: &KeyName, bytes: &[u8]) -> Result<SlotId, Corrupt> {
        let rules = self.rules.clone();
        let space = rules.spaces.get(name.space as usize).ok_or(Corrupt("a key is of an unknown space"))?;
        let hash = self.hasher.hash(rules.seeds[name.space as usize], &name.key);
        if group_of(hash, space.pinned) != name.group as usize || !self.owns(name.group as usize) {
            return Err(Corrupt("a key stands in another key group: the secret of the key hash has changed"));
        }
        let is_saved = self.is_saved();
        let group = &mut self.groups[name.group as usize];
        let slot = key::load(bytes, &rules, self.hasher, group)?;
        if group.space(slot) != name.space || *group.key(slot) != *name.key {
            return Err(Corrupt("a key stands under the name of another"));
        }
        if is_saved {
            group.set_known(slot, Known::Cold);
        }
        Ok(slot)
    }

    /// Whether a key is in memory, or known to have gone.
    pub fn knows(&self, name: &KeyName) -> bool {
        let Some(seed) = self.rules.seeds.get(name.space as usize) else { return false };
        let group = &self.groups[name.group as usize];
        group.find(name.space, self.hasher.hash(*seed, &name.key), &name.key).is_some()
            || group.is_gone(name.space, &name.key)
    }

    /// Takes keys out of memory that `cold` chooses, as bytes, ascending. `cold` is given the time of the newest event that the key's state
    /// remembers, the earliest time where that has none. What a sweep would have dropped is not written; a key of which nothing is left
    /// just goes.
    ///
    /// In memory stay keys of pinned rules and windows, which other keys' rules read, and keys that time moves: of which a run waits for its
    /// end, or something waits to be reported.
    ///
    /// The caps of more than one key ([`crate::limits::Limits::runs_per_rule_max`], [`crate::limits::Limits::runs_max`]) bound memory:
    /// they count and end only runs that are in memory.
    ///
    /// A change of the rule set gives spaces, rules and windows other numbers: before [`Shard::swap`] all keys have to be loaded.
    ///
    /// Walks all keys. The memory that goes is used again by the shard; it is not given back to the system.
    pub fn evict(&mut self, mut cold: impl FnMut(Millis) -> bool) -> Vec<Cold> {
        let rules = self.rules.clone();
        let mut out = Vec::new();
        let mut write = |g: &Group, group: u16, slot: SlotId| {
            let name = KeyName { group, space: g.space(slot), key: g.key(slot).into() };
            let ends = ends(g, slot, &rules).saturating_add(SWEPT_WITHIN);
            out.push(Cold { name, ends, bytes: key::save(g, slot, &rules) });
        };
        for stratum in 0..rules.strata {
            self.in_stratum(stratum);
            self.evict_in_stratum(&rules, |_, _| true, &mut cold, &mut write);
        }
        out.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        out
    }

    /// Takes keys out of the stratum at hand that `may` go and that are cold; `goes` sees each before.
    pub(super) fn evict_in_stratum(
        &mut self,
        rules: &RuleSet,
        may: impl Fn(&Group, SlotId) -> bool,
        cold: &mut impl FnMut(Millis) -> bool,
        goes: &mut impl FnMut(&Group, u16, SlotId),
    ) {
        let mut looks: BTreeMap<Millis, Gone> = BTreeMap::new();
        for group in 0..PINNED as u16 {
            for slot in self.groups[group as usize].slots() {
                let g = &self.groups[group as usize];
                if rules.spaces[g.space(slot) as usize].stratum != self.time.stratum || !may(g, slot) {
                    continue;
                }
                if (self.waits_for_time(group, slot) && !bug(Bug::Evicted))
                    || !cold(g.newest(slot).unwrap_or(Millis::MIN))
                {
                    continue;
                }
                if let Some(at) = g.sweep_at(slot) {
                    *looks.entry(at).or_default().entry((group, g.tag(slot))).or_default() += 1;
                }
                let Some(slot) = self.drop_gone(group, slot, self.swept_until()) else { continue };
                let g = &mut self.groups[group as usize];
                goes(g, group, slot);
                // It has not gone for good: nobody has to be told.
                g.set_known(slot, Known::Nothing);
                g.discard(slot, rules);
            }
            self.groups[group as usize].thin_out();
        }
        self.look_no_more(looks);
    }

    /// Forgets planned looks at slots that are there no more, so that a key that comes and goes does not leave one each time.
    fn look_no_more(&mut self, looks: BTreeMap<Millis, Gone>) {
        for (at, mut gone) in looks {
            let Some(planned) = self.time.sweeps.get_mut(&at) else { continue };
            planned.retain(|look| match gone.get_mut(look) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    false
                }
                _ => true,
            });
            if planned.is_empty() {
                self.time.sweeps.remove(&at);
            }
        }
    }
}

/// The time past which nothing of a key counts any more.
pub(super) fn ends(group: &Group, slot: SlotId, rules: &RuleSet) -> Millis {
    let runs = group.records(slot).map(|r| r.deadline());
    let end = |window: u32, newest: Option<Millis>| {
        let entry = &rules.windows[window as usize];
        last_end(&entry.spec.kind, newest).saturating_add(entry.lateness)
    };
    let small_ends = |p: Packed<'_>| rules.windows_of(p).map(|w| end(w, Some(p.newest()))).max();
    let small = group.packed(slot).filter_map(small_ends);
    let windows = group.windows(slot).iter().map(|w| end(w.window, w.state.newest()).max(w.lost_until));
    let more = group.more(slot);
    let cells = more.into_iter().flat_map(|m| &m.cells).map(|(_, cell)| cell.capped.until);
    let starts = more.into_iter().flat_map(|m| &m.starts).map(|(rule, starts)| {
        let lasts = rules.gathers[*rule as usize].map_or(0, |g| g.lasts);
        starts.newest_at().map_or(Millis::MIN, |at| at.saturating_add(lasts))
    });
    runs.chain(small).chain(windows).chain(cells).chain(starts).max().unwrap_or(Millis::MIN)
}
