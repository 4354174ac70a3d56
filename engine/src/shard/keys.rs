//! Which keys an event has in this shard, and asking for the memory of their state before it is needed.

use std::ops::Range;

use super::Shard;
use crate::batch::EventView;
use crate::rule_set::RuleSet;
use crate::slot::group_of;

/// Events with their keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Ahead {
    pub deliveries: Vec<Delivery>,
    pub key_bytes: Vec<u8>,
    /// For each event its deliveries.
    pub of_event: Vec<Range<usize>>,
}

impl Ahead {
    pub fn key(&self, delivery: &Delivery) -> &[u8] {
        &self.key_bytes[delivery.key.0 as usize..delivery.key.1 as usize]
    }
}

/// An event under one of its keys.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub space: u16,
    pub group: u16,
    pub hash: u64,
    pub key: (u32, u32),
    /// The extractions that gave the key.
    pub mask: u64,
}

impl Shard {
    /// Asks for the memory of the state of keys whose places were asked for.
    pub(super) fn ask_for_state(&self, ahead: &Ahead) {
        for delivery in &ahead.deliveries {
            self.groups[delivery.group as usize].prefetch_slot(delivery.hash);
        }
    }

    /// Finds the keys of events, and asks for the memory that says where their state is.
    pub(super) fn look_ahead<'e>(
        &mut self,
        rules: &RuleSet,
        events: impl Iterator<Item = EventView<'e>>,
        ahead: &mut Ahead,
    ) {
        ahead.deliveries.clear();
        ahead.key_bytes.clear();
        ahead.of_event.clear();
        for event in events {
            let from = ahead.deliveries.len();
            let missing = self.find_keys(rules, self.time.stratum, event, ahead);
            // All shards see the event; one counts it.
            self.counters.missing_keys += if self.index == 0 { missing } else { 0 };
            ahead.of_event.push(from..ahead.deliveries.len());
        }
        for delivery in &ahead.deliveries {
            self.groups[delivery.group as usize].prefetch_place(delivery.hash);
        }
    }

    /// Appends the event's keys of a stratum in this shard's groups. Returns how many are missing.
    pub(super) fn find_keys(&self, rules: &RuleSet, stratum: u8, event: EventView<'_>, ahead: &mut Ahead) -> u64 {
        let mut missing = 0;
        let first = ahead.deliveries.len();
        let bytes = &mut ahead.key_bytes;
        for (i, extraction) in rules.events[event.row.event.0 as usize].extractions.iter().enumerate() {
            let space = &rules.spaces[extraction.space as usize];
            if space.stratum != stratum {
                continue;
            }
            let start = bytes.len();
            let mut parts = extraction.fields.iter().zip(&space.optional);
            let present = parts.all(|(field, optional)| crate::key::push(bytes, &event.field(*field), *optional));
            if !present {
                bytes.truncate(start);
                missing += 1;
                continue;
            }
            let hash = self.hasher.hash(rules.seeds[extraction.space as usize], &bytes[start..]);
            let group = group_of(hash, space.pinned);
            if !self.owns(group) {
                bytes.truncate(start);
                continue;
            }
            let same = ahead.deliveries[first..].iter_mut().find(|d| {
                d.hash == hash
                    && d.space == extraction.space
                    && bytes[d.key.0 as usize..d.key.1 as usize] == bytes[start..]
            });
            match same {
                Some(delivery) => {
                    delivery.mask |= 1 << i;
                    bytes.truncate(start);
                }
                None => ahead.deliveries.push(Delivery {
                    space: extraction.space,
                    group: group as u16,
                    hash,
                    key: (start as u32, bytes.len() as u32),
                    mask: 1 << i,
                }),
            }
        }
        missing
    }
}
