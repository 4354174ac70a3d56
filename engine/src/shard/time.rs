//! What time does: timers fire, and what has gone is swept away.

use std::collections::{BTreeMap, BTreeSet};

use super::{At, Now, Shard};
use crate::Millis;
use crate::output::Output;
use crate::rule_set::{RuleEntry, RuleSet};
use crate::run::step::{Moved, time_passes};
use crate::slot::{Cell, CellMore, Fate, SWEEP_GRAIN, SWEPT_WITHIN, SlotId};
use crate::window::seen_until;
use lapwing_dsl::nfa::StateId;

/// When time has to move a rule's runs for a key. Timers of one instant fire in order of rule, then key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timer {
    pub(super) deadline: Millis,
    pub(super) rule: u32,
    pub(super) key: Box<[u8]>,
    pub(super) group: u16,
}

/// What time has still to do in one stratum.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    pub(super) stratum: u8,
    pub(super) timers: BTreeSet<Timer>,
    /// When to look through which slots: groups with the 32 bits of the hash that find the slot.
    pub(super) sweeps: BTreeMap<Millis, Vec<(u16, u32)>>,
    pub(crate) clock: Millis,
    /// The first of `sweeps`, or earlier.
    pub(super) next_sweep: Millis,
    /// Whether the closes for rows are planned.
    pub(super) rows_planned: bool,
}

impl Times {
    /// Nothing to do in any stratum of a rule set: in the lowest, and in each of the others.
    pub fn of(rules: &RuleSet, clock: Millis) -> (Times, Vec<Times>) {
        let none = |stratum| Times {
            stratum,
            timers: BTreeSet::new(),
            sweeps: BTreeMap::new(),
            clock,
            next_sweep: Millis::MIN,
            rows_planned: false,
        };
        (none(0), (1..rules.strata).map(none).collect())
    }
}

impl Shard {
    /// Puts what time has to do in a stratum at hand.
    pub(crate) fn in_stratum(&mut self, stratum: u8) {
        if self.time.stratum != stratum {
            let other = self.other_times.iter_mut().find(|other| other.stratum == stratum);
            std::mem::swap(&mut self.time, other.expect("each stratum of the rule set has its own"));
        }
    }

    /// The time that a run, a window or a report waits for, the least of them: once that is past it is due.
    pub fn waits_until(&self) -> Option<Millis> {
        let all = self.other_times.iter().chain([&self.time]);
        let unplanned = (self.rules.closes_rows && !self.time.rows_planned).then_some(self.time.clock);
        all.filter_map(|times| times.timers.first()).map(|timer| timer.deadline).chain(unplanned).min()
    }

    /// Fires what is due strictly before `clock`.
    pub(super) fn pass_time(&mut self, clock: Millis, sequence: u64, out: &mut Vec<Output>) {
        if self.rules.closes_rows && !self.time.rows_planned {
            self.plan_rows(clock);
        }
        while let Some(timer) = self.time.timers.first() {
            if timer.deadline >= clock {
                break;
            }
            let timer = self.time.timers.pop_first().expect("a first timer was seen");
            self.time.clock = self.time.clock.max(timer.deadline);
            match timer.is_for_rows() {
                true => self.close_rows(&timer, sequence, out),
                false => self.fire(&timer, sequence, out),
            }
        }
        self.time.clock = self.time.clock.max(clock);
        // At the end of time everything goes with the shard.
        if self.time.clock <= self.time.next_sweep || clock == Millis::MAX {
            return;
        }
        while let Some(entry) = self.time.sweeps.first_entry() {
            self.time.next_sweep = *entry.key();
            if *entry.key() >= self.time.clock {
                return;
            }
            for (group, tag) in entry.remove() {
                for slot in self.groups[group as usize].tagged(tag) {
                    self.sweep(group, slot);
                }
                self.groups[group as usize].thin_out();
            }
        }
        self.time.next_sweep = Millis::MAX;
    }

    fn fire(&mut self, timer: &Timer, sequence: u64, out: &mut Vec<Output>) {
        let rules = self.rules.clone();
        let entry = &rules.rules[timer.rule as usize];
        let hash = self.hasher.hash(rules.seeds[entry.space as usize], &timer.key);
        let group = &mut self.groups[timer.group as usize];
        let Some(slot) = group.find(entry.space, hash, &timer.key) else { return };
        let mut cell = group.take_cell(slot, timer.rule, &rules, std::mem::take(&mut self.spare));
        let mut at = At { group: timer.group, slot: Some(slot), space: entry.space };
        let mut moved = Moved::default();
        let mut bound = std::mem::take(&mut self.groups[at.group as usize].bound);
        time_passes(std::mem::take(&mut cell.runs), entry, timer.deadline, &mut bound, &mut moved);
        let now = Now { event: None, at: timer.deadline, sequence, deadline: timer.deadline };
        self.settle(&mut at, timer.rule, entry, &timer.key, cell, moved, now, bound, out);
        self.drop_if_empty(at);
    }

    /// Plans all timers and sweeps anew, from what the slots hold.
    pub(crate) fn plan_all(&mut self) {
        let rules = self.rules.clone();
        // Between two steps all strata are at one time.
        (self.time, self.other_times) = Times::of(&rules, self.time.clock);
        for g in 0..self.groups.len() {
            for slot in self.groups[g].in_order() {
                self.in_stratum(rules.spaces[self.groups[g].space(slot) as usize].stratum);
                self.groups[g].set_sweep_at(slot, None);
                let group = &self.groups[g];
                for record in group.records(slot) {
                    let (rule, deadline) = (record.rule(), record.deadline());
                    if is_timed(&rules.rules[rule as usize], record.state()) {
                        self.time.timers.insert(Timer { deadline, rule, key: group.key(slot).into(), group: g as u16 });
                    }
                }
                self.plan_sweep(g as u16, slot);
            }
        }
    }

    /// Whether time moves a run of a key, something of the key waits to be reported, or its windows are read when they close.
    pub(super) fn waits_for_time(&self, group_number: u16, slot: SlotId) -> bool {
        let group = &self.groups[group_number as usize];
        let timed = |rule: u32, state| is_timed(&self.rules.rules[rule as usize], state);
        let waits = |more: &CellMore| !more.candidates.is_empty() || !more.open.is_empty();
        group.records(slot).any(|r| timed(r.rule(), r.state()))
            || group.more(slot).is_some_and(|m| m.cells.iter().any(|(_, more)| waits(more)))
            || self.is_read_for_rows(group_number, slot)
    }

    pub(super) fn set_timers(&mut self, group: u16, rule: u32, entry: &RuleEntry, key: &[u8], cell: &Cell) {
        for run in &cell.runs {
            if is_timed(entry, run.state) {
                self.time.timers.insert(Timer { deadline: run.deadline, rule, key: key.into(), group });
            }
        }
    }

    /// Frees a slot that holds nothing; returns the slot that is left.
    pub(super) fn drop_if_empty(&mut self, at: At) -> Option<SlotId> {
        let slot = at.slot?;
        let group = &mut self.groups[at.group as usize];
        if group.holds_nothing(slot) {
            group.remove(slot);
            return None;
        }
        Some(slot)
    }

    /// The time before which what goes has been swept away, if its key was in memory all the time.
    pub(super) fn swept_until(&self) -> Millis {
        self.time.clock.saturating_sub(SWEPT_WITHIN)
    }

    pub(super) fn plan_sweep(&mut self, group: u16, slot: SlotId) {
        let g = &mut self.groups[group as usize];
        if g.sweep_at(slot).is_some() {
            return;
        }
        let runs = g.records(slot).map(|r| r.deadline()).min();
        let windows = &self.rules.windows;
        let window_ends = g.windows(slot).iter().filter_map(|w| {
            let entry = &windows[w.window as usize];
            Some(w.state.next_expiry(&entry.spec.kind)?.saturating_add(entry.lateness))
        });
        // An event that comes drops what has gone itself: a look is worth while once an eighth has.
        let small_ends = g.packed(slot).filter_map(|p| {
            let eighth = p.time(p.len() / 8);
            let entries = self.rules.windows_of(p).map(|w| &windows[w as usize]);
            entries.map(|entry| seen_until(&entry.spec.kind, eighth).saturating_add(entry.lateness)).max()
        });
        let starts = g.more(slot).into_iter().flat_map(|m| &m.starts).filter_map(|(rule, starts)| {
            let lasts = self.rules.gathers[*rule as usize].map_or(0, |g| g.lasts);
            Some(starts.oldest_at()?.saturating_add(lasts))
        });
        let ends = small_ends.chain(window_ends).chain(runs).chain(starts);
        let Some(next) = ends.min().filter(|t| *t < Millis::MAX) else { return };
        let at = next.max(self.time.clock).div_euclid(SWEEP_GRAIN).saturating_add(1).saturating_mul(SWEEP_GRAIN);
        let tag = g.tag(slot);
        if let Some(at) = g.set_sweep_at(slot, Some(at)) {
            self.time.next_sweep = self.time.next_sweep.min(at);
            self.time.sweeps.entry(at).or_default().push((group, tag));
        }
    }

    /// Drops what has gone from a slot, if a look at it is due. Nothing that this does can be seen from outside.
    fn sweep(&mut self, group: u16, slot: SlotId) {
        let clock = self.time.clock;
        let g = &mut self.groups[group as usize];
        // A key has the same place in each stratum, and those above are not at this time yet.
        let others = self.rules.spaces[g.space(slot) as usize].stratum != self.time.stratum;
        if others || g.sweep_at(slot).is_none_or(|at| at > clock) {
            return;
        }
        g.set_sweep_at(slot, None);
        if let Some(slot) = self.drop_gone(group, slot, clock) {
            self.plan_sweep(group, slot);
        }
    }

    /// Drops from a slot what had gone at a time; returns the slot that is left.
    pub(super) fn drop_gone(&mut self, group: u16, slot: SlotId, clock: Millis) -> Option<SlotId> {
        let g = &mut self.groups[group as usize];
        let rules = &self.rules;
        // Of rules that time moves, timers see to it.
        let fate = |rule: u32, deadline| match deadline < clock && !rules.rules[rule as usize].timed {
            true => Fate::Gone,
            false => Fate::Kept,
        };
        self.fates.clear();
        self.fates.extend(g.records(slot).map(|r| fate(r.rule(), r.deadline())));
        g.apply(slot, &self.fates, rules, &mut Vec::new());
        if let Some(more) = g.more_mut(slot) {
            for (_, cell) in &mut more.cells {
                cell.capped.forget(clock);
            }
            for window in &mut more.windows {
                let entry = &rules.windows[window.window as usize];
                window.state.expire(&entry.spec.kind, entry.clock(clock));
            }
            more.windows.retain(|w| !w.state.is_empty());
            for (rule, starts) in &mut more.starts {
                let lasts = rules.gathers[*rule as usize].map_or(0, |g| g.lasts);
                starts.expire(clock.saturating_sub(lasts));
            }
            g.tidy(slot);
        }
        let slot = g.drop_small(slot, rules, clock);
        let space = g.space(slot);
        let slot = self.drop_if_empty(At { group, slot: Some(slot), space })?;
        Some(self.groups[group as usize].fit(slot))
    }
}

/// Whether time moves a run: it waits only for time, or a report waits for its end.
fn is_timed(entry: &RuleEntry, state: StateId) -> bool {
    let late = entry.program.rule.report != lapwing_dsl::syntax::ast::Report::Early;
    late || entry.program.nfa.state(state).is_pending()
}
