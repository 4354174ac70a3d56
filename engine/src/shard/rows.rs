//! Windows that close for each row of a list or table, events or not.
//!
//! Nothing is held of a row that had no event: when such a window closes, the rows of that moment are gone through in the order of their
//! keys, by each shard those of its own key groups. One timer a rule stands for all of its rows. When the next window closes follows from the
//! clock, so that a state holds nothing of it; only a rule that has come while events flow waits for the first window that begins after that.

use lapwing_dsl::ir::{Rows, StepId};

use super::time::Timer;
use super::windows::SlotWindows;
use super::{At, Shard};
use crate::Millis;
use crate::batch::Origin;
use crate::bound::BoundEvents;
use crate::migrate::Fate;
use crate::output::{Match, Output, Place};
use crate::planted::{Bug, bug};
use crate::rule_set::RuleEntry;
use crate::run::closing::{Window, end_of};
use crate::run::report::Reporter;
use crate::run::revise::judge_window;
use crate::slot::{SlotId, group_of};
use crate::state::record;
use crate::window::next_close;

/// The key group of timers that stand for all rows.
const ALL_ROWS: u16 = u16::MAX;

impl Timer {
    /// Whether it is for all rows of a rule.
    pub(super) fn is_for_rows(&self) -> bool {
        self.group == ALL_ROWS
    }
}

impl Shard {
    /// Plans the closes of the rules of the stratum at hand, once time is past where it began.
    pub(super) fn plan_rows(&mut self, clock: Millis) {
        let Some(since) = self.span.0.filter(|since| *since < clock) else { return };
        self.time.rows_planned = true;
        let rules = self.rules.clone();
        let own = |entry: &RuleEntry| entry.stratum == self.time.stratum && entry.closes_rows();
        let planned: Vec<usize> = (0..rules.rules.len()).filter(|rule| own(&rules.rules[*rule])).collect();
        for rule in planned {
            let rule = rule as u32;
            let from = self.time.clock.max(since);
            match self.rows_from.iter().find(|(r, _)| *r == rule) {
                None => self.plan_close(rule, from, Millis::MIN),
                Some((_, begins)) => self.plan_close(rule, from, *begins),
            }
        }
    }

    /// Plans the first close at or after a time of a window that begins no earlier than another.
    fn plan_close(&mut self, rule: u32, from: Millis, begins: Millis) {
        let rules = self.rules.clone();
        let Some(closing) = &rules.rules[rule as usize].program.rule.closing else { return };
        let mut next = next_close(&closing.reach, from);
        while let Some((first, last)) = next.filter(|(first, _)| *first < begins) {
            next = next_close(&closing.reach, last.saturating_add(1)).filter(|(other, _)| *other > first);
        }
        if let Some((_, deadline)) = next {
            self.time.timers.insert(Timer { deadline, rule, key: Box::default(), group: ALL_ROWS });
        }
    }

    /// A window closes for all rows of a rule.
    pub(super) fn close_rows(&mut self, timer: &Timer, sequence: u64, out: &mut Vec<Output>) {
        let rules = self.rules.clone();
        let entry = &rules.rules[timer.rule as usize];
        let Some(closing) = &entry.program.rule.closing else { return };
        let Some((first, last)) = next_close(&closing.reach, timer.deadline) else { return };
        // At the end of time what has begun is closed, and nothing more begins.
        if self.span.1.is_none_or(|newest| first > newest) {
            return;
        }
        let seed = rules.seeds[entry.space as usize];
        let pinned = rules.spaces[entry.space as usize].pinned;
        let rows = match &closing.rows {
            Some(Rows::List { id, .. }) => rules.data.lists[id.0 as usize].keys(last),
            Some(Rows::Table { id, .. }) => rules.data.tables[id.0 as usize].keys(),
            None => return,
        };
        let none = BoundEvents::default();
        for key in rows {
            let hash = self.hasher.hash(seed, &key);
            let group = group_of(hash, pinned);
            if !self.owns(group) {
                continue;
            }
            let slot = self.groups[group].find(entry.space, hash, &key);
            if slot.is_none() && bug(Bug::Rows) {
                continue;
            }
            let at = At { group: group as u16, slot, space: entry.space };
            let values = crate::key::decode(&key, &rules.spaces[entry.space as usize].types);
            let windows = SlotWindows { shard: self, entry, at, event: None, now: last };
            let reporter = Reporter {
                rule: timer.rule,
                entry,
                key: &values,
                key_bytes: &key,
                sources: &self.sources,
                event: None,
                windows: &windows,
                data: &rules.data,
                now: last,
                errors: &self.errors,
            };
            let Some(body) = reporter.close(first, end_of(closing, last), None, &none) else { continue };
            let place = Place {
                sequence,
                deadline: last,
                stratum: entry.stratum,
                given: u32::MAX,
                rule: timer.rule,
                key: key.clone(),
                index: 0,
            };
            let lateness = entry.program.rule.lateness;
            if lateness > 0 {
                self.settle_row(at, entry, timer.rule, (hash, &key), (first, last), (sequence, &body));
            }
            out.push(Output { place, body });
        }
        // For as long as late events come it is known which windows nobody was asked of.
        let known = first.saturating_sub(entry.program.rule.lateness);
        self.rows_from.retain(|(rule, begins)| *rule != timer.rule || *begins > known);
        self.plan_close(timer.rule, last.saturating_add(1), Millis::MIN);
    }

    /// The alert of a window that closed for a row is remembered with the row's key for as long as a late event may revise it.
    fn settle_row(
        &mut self,
        at: At,
        entry: &RuleEntry,
        rule: u32,
        (hash, key): (u64, &[u8]),
        (first, last): (Millis, Millis),
        (sequence, body): (u64, &Match),
    ) {
        let rules = self.rules.clone();
        let group = &mut self.groups[at.group as usize];
        let slot = at.slot.unwrap_or_else(|| group.find_or_add(at.space, hash, key, record::LONGEST_BARE));
        let mut cell = group.take_cell(slot, rule, &rules, std::mem::take(&mut self.spare));
        judge_window(&mut cell.more.get_or_insert_default().open, first, Some(body.clone()));
        let window = Window { first, last, step: StepId(0), origin: Origin::default() };
        cell.runs.push(window.settled(entry, sequence, &mut group.bound));
        self.set_timers(at.group, rule, entry, key, &cell);
        let (slot, spare) = self.groups[at.group as usize].put_cell(slot, cell);
        self.spare = spare;
        self.check_rule(At { slot: Some(slot), ..at }, rule);
        self.plan_sweep(at.group, slot);
    }

    /// What becomes of [`Shard::rows_from`] when the present rule set takes the place of another; each rule of that has a fate. What is new waits for
    /// the first window that begins from here on, if time has begun.
    pub(crate) fn rows_after(&self, fates: &[Fate]) -> Vec<(u32, Millis)> {
        let mut kept = vec![None; self.rules.rules.len()];
        for (rule, fate) in fates.iter().enumerate() {
            if let Fate::Kept(index) = fate {
                kept[*index as usize] = Some(rule as u32);
            }
        }
        let from = |(rule, entry): (usize, &RuleEntry)| {
            let begins = match kept[rule] {
                Some(before) => self.rows_from.iter().find(|(r, _)| *r == before).map(|(_, begins)| *begins)?,
                None => self.time.clock,
            };
            (entry.closes_rows() && begins > Millis::MIN).then_some((rule as u32, begins))
        };
        self.rules.rules.iter().enumerate().filter_map(from).collect()
    }

    /// Whether a window of a key is read for a row when it closes: then the key stays in memory.
    pub(super) fn is_read_for_rows(&self, group: u16, slot: SlotId) -> bool {
        if !self.rules.closes_rows {
            return false;
        }
        let group = &self.groups[group as usize];
        let read = |window: u32| self.rules.row_windows.contains(&window);
        group.windows(slot).iter().any(|w| read(w.window))
            || group.packed(slot).any(|p| self.rules.windows_of(p).any(read))
    }
}
