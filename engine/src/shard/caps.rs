//! Keeps runs within their caps.

use super::{At, Shard};
use crate::limits::Cap;
use crate::slot::{Fate, GROUPS, PINNED, SlotId};
use crate::state::record::Record;

impl Shard {
    /// Notes a rule that has more runs than it may have in a key group, or will have with one more.
    pub(super) fn check_rule(&mut self, at: At, rule: u32) {
        let group = &self.groups[at.group as usize];
        let (rule_max, max) = self.group_caps(at.group);
        if group.runs_of(rule) >= rule_max || group.runs_of_all() >= max {
            self.over.push((at.group, rule));
        }
    }

    /// Keeps the runs of noted rules, and of all, within their caps: the oldest starts go first. A sixteenth goes at once, so that the
    /// walk over the group is not made for each run.
    pub(super) fn keep_within_caps(&mut self) {
        for (g, rule) in std::mem::take(&mut self.over) {
            let (rule_max, max) = self.group_caps(g);
            let group = &mut self.groups[g as usize];
            let mut gone = 0;
            if group.runs_of(rule) > rule_max {
                gone += group.end_oldest(Some(rule), rule_max - rule_max / 16, Cap::RunsPerRule, &self.rules);
            }
            if group.runs_of_all() > max {
                gone += group.end_oldest(None, max - max / 16, Cap::Runs, &self.rules);
            }
            self.counters.runs_capped += gone as u64;
            group.forget_caps(self.time.clock);
        }
    }

    /// How many runs of one rule, and of all, may live in a key group.
    fn group_caps(&self, group: u16) -> (usize, usize) {
        let times = if group as usize == PINNED { GROUPS } else { 1 };
        (self.limits.runs_per_rule_max.saturating_mul(times), self.limits.runs_max.saturating_mul(times))
    }

    /// Makes room for a run of a rule that has as many as it may have for a key: the oldest start goes.
    pub(super) fn make_room(&mut self, group: u16, slot: SlotId, rule: u32, fates: &mut [Fate]) {
        let group = &mut self.groups[group as usize];
        let lives = group.records(slot).zip(&*fates).enumerate();
        let lives = lives.filter(|(_, (r, fate))| r.rule() == rule && **fate != Fate::Gone).map(|(i, (r, _))| (i, r));
        let Some((i, record)) = lives.min_by_key(|(_, r)| r.first_sequence()) else { return };
        let deadline = record.deadline();
        fates[i] = Fate::Gone;
        self.counters.runs_capped += 1;
        group.cell_more_or_add(slot, rule).capped.add(Cap::RunsPerKey, deadline);
    }
}

/// How many runs of each rule live, for the slot at hand.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    slot: u32,
    of: Vec<(u32, u32)>,
}

impl Tally {
    pub(super) fn count<'r>(&mut self, rules: usize, runs: impl Iterator<Item = (Record<'r>, &'r Fate)>) {
        if self.of.len() != rules || self.slot == u32::MAX {
            *self = Tally { slot: 0, of: vec![(0, 0); rules] };
        }
        self.slot += 1;
        for (record, _) in runs.filter(|(_, fate)| **fate != Fate::Gone) {
            let (slot, count) = &mut self.of[record.rule() as usize];
            *count = if *slot == self.slot { *count + 1 } else { 1 };
            *slot = self.slot;
        }
    }

    pub(super) fn of(&self, rule: u32) -> usize {
        let (slot, count) = self.of[rule as usize];
        if slot == self.slot { count as usize } else { 0 }
    }
}
