//! One key as bytes: what its group would write of it, with the events that its own runs share.
//!
//! Runs come of runs of the same key, so no event is shared between keys. Where a cap of more than one key has bitten is the group's to say,
//! and stays there.

use std::collections::BTreeMap;

use super::FORMAT_VERSION;
use super::codec::{Corrupt, Reader, Writer};
use super::group::{Shared, hold_no_more, load_events, load_slot, save_slot};
use crate::rule_set::RuleSet;
use crate::slot::{Group, KeyHasher, SlotId};

/// Writes a key, with the generation of the programs that its numbers are of.
pub fn save(group: &Group, slot: SlotId, rules: &RuleSet) -> Vec<u8> {
    let mut shared = Shared { numbers: BTreeMap::new(), nodes: Writer::default() };
    let mut content = Writer::default();
    save_slot(&mut content, rules, group, slot, &mut shared);
    let mut w = Writer::default();
    w.u64(FORMAT_VERSION.into());
    w.u64(rules.since);
    w.len(shared.numbers.len());
    w.bytes.extend(shared.nodes.bytes);
    w.bytes.extend(content.bytes);
    w.bytes
}

/// Reads a key that was saved under `rules` into its group, which must not hold it yet. After an error the group may hold a part of it.
pub fn load(bytes: &[u8], rules: &RuleSet, hasher: KeyHasher, into: &mut Group) -> Result<SlotId, Corrupt> {
    let mut r = Reader::versioned(bytes)?;
    if r.u64()? != rules.since {
        return Err(Corrupt("a key was saved under another rule set"));
    }
    let events = load_events(&mut r, &mut into.bound)?;
    let slot = load_slot(&mut r, rules, into, hasher, &events)?;
    r.end()?;
    hold_no_more(events, &mut into.bound)?;
    Ok(slot)
}
