//! Windows that close for each row of a list or table, events or not.
//!
//! Nothing is held of a row that had no event: when such a window closes, the rows of that moment are gone through in the order of their
//! keys, by each shard those of its own key groups. One timer a rule stands for all of its rows. When the next window closes follows from the
//! clock, so that a state holds nothing of it; only a rule that has come while events flow waits for the first window that begins after that.

use lapwing_dsl::ir::{Reach, Rows, StepId};

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
use crate::run::revise::say_of_window;
use crate::slot::{SlotId, group_of};
use crate::state::record;
use crate::window::next_close;

/// The key group of timers that stand for all rows.
const ALL_ROWS: u16 = u16::MAX;

/// For so many windows in which nobody had an event that the rule counts, windows close for rows. Then whatever told of them is silent
/// altogether, or time has leapt, and more alerts would say nothing more.
const SILENT_WINDOWS_MAX: i64 = 1_000;

/// What is known of a rule that closes windows for rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowsOf {
    /// Index of the rule.
    pub rule: u32,
    /// Its first window begins no earlier: it came while events flowed. [`Millis::MIN`] where it was there from the beginning.
    pub begins: Millis,
    /// The time of the latest event of a type that it counts, whatever its key; [`Millis::MIN`] before the first.
    pub counted: Millis,
    /// Whether its windows do not close before it counts something again.
    pub stopped: bool,
}

impl RowsOf {
    /// Nothing is known yet.
    pub fn new(rule: u32) -> RowsOf {
        RowsOf { rule, begins: Millis::MIN, counted: Millis::MIN, stopped: false }
    }
}

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
            self.plan_close(rule, self.time.clock.max(since));
        }
    }

    /// What is known of a rule that closes windows for rows.
    pub(super) fn rows_of(&self, rule: u32) -> RowsOf {
        self.rows.iter().find(|of| of.rule == rule).copied().unwrap_or(RowsOf::new(rule))
    }

    fn rows_of_mut(&mut self, rule: u32) -> &mut RowsOf {
        let at = self.rows.iter().position(|of| of.rule == rule).unwrap_or_else(|| {
            self.rows.push(RowsOf::new(rule));
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    /// An event came that some rules count, whatever its key.
    pub(super) fn counted_for_rows(&mut self, rules: &[u32], at: Millis) {
        for rule in rules {
            let of = self.rows_of_mut(*rule);
            of.counted = of.counted.max(at);
            if std::mem::take(&mut of.stopped) {
                self.plan_close(*rule, self.time.clock.max(at));
            }
        }
    }

    /// Plans the first close at or after a time. Where nothing has been counted for a long time, closes stop until something is.
    fn plan_close(&mut self, rule: u32, from: Millis) {
        let rules = self.rules.clone();
        let Some(closing) = &rules.rules[rule as usize].program.rule.closing else { return };
        let Reach::Aligned { every, .. } = closing.reach else { return };
        let of = self.rows_of(rule);
        let mut next = next_close(&closing.reach, from);
        while let Some((first, last)) = next.filter(|(first, _)| *first < of.begins) {
            next = next_close(&closing.reach, last.saturating_add(1)).filter(|(other, _)| *other > first);
        }
        let counted = of.counted.max(of.begins).max(self.span.0.unwrap_or(Millis::MIN));
        match next {
            Some((_, last)) if last.saturating_sub(counted) > every.saturating_mul(SILENT_WINDOWS_MAX) => {
                self.rows_of_mut(rule).stopped = true;
            }
            Some((_, deadline)) => {
                self.time.timers.insert(Timer { deadline, rule, key: Box::default(), group: ALL_ROWS });
            }
            None => {}
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
            let Some(body) = self.judge_window(timer.rule, at, &key, (first, last), None) else { continue };
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
        self.plan_close(timer.rule, last.saturating_add(1));
    }

    /// What leaves of a window that closed; none where `when` does not hold.
    pub(super) fn judge_window(
        &self,
        rule: u32,
        at: At,
        key: &[u8],
        (first, last): (Millis, Millis),
        version: Option<u32>,
    ) -> Option<Match> {
        let entry = &self.rules.rules[rule as usize];
        let end = end_of(entry.program.rule.closing.as_ref()?, last);
        let values = crate::key::decode(key, &self.rules.spaces[at.space as usize].types);
        let windows = SlotWindows { shard: self, entry, at, event: None, now: last };
        let reporter = Reporter {
            rule,
            entry,
            key: &values,
            key_bytes: key,
            sources: &self.sources,
            event: None,
            windows: &windows,
            data: &self.rules.data,
            now: last,
            errors: &self.errors,
        };
        reporter.close(first, end, version, &BoundEvents::default())
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
        say_of_window(&mut cell.more.get_or_insert_default().open, first, Some(body.clone()));
        let window = Window { first, last, step: StepId(0), origin: Origin::default() };
        cell.runs.push(window.settled(entry, sequence, &mut group.bound));
        self.set_timers(at.group, rule, entry, key, &cell);
        let (slot, spare) = self.groups[at.group as usize].put_cell(slot, cell);
        self.spare = spare;
        self.groups[at.group as usize].touch(slot);
        self.check_rule(At { slot: Some(slot), ..at }, rule);
        self.plan_sweep(at.group, slot);
    }

    /// What becomes of [`Shard::rows`] when the present rule set takes the place of another; each rule of that has a fate. What is new waits for
    /// the first window that begins from here on, if time has begun.
    pub(crate) fn rows_after(&self, fates: &[Fate]) -> Vec<RowsOf> {
        let mut kept = vec![None; self.rules.rules.len()];
        for (rule, fate) in fates.iter().enumerate() {
            match fate {
                Fate::Kept(index) | Fate::Closes(index) | Fate::Changed(index, _) => {
                    kept[*index as usize] = Some(rule as u32)
                }
                Fate::Removed | Fate::Restarted => {}
            }
        }
        let closes = |(_, entry): &(usize, &RuleEntry)| entry.closes_rows();
        let of = |(rule, _): (usize, &RuleEntry)| match kept[rule] {
            Some(before) => RowsOf { rule: rule as u32, stopped: false, ..self.rows_of(before) },
            None => RowsOf { begins: self.time.clock, ..RowsOf::new(rule as u32) },
        };
        let all = self.rules.rules.iter().enumerate().filter(closes).map(of);
        all.filter(|of| *of != RowsOf::new(of.rule)).collect()
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
