//! Puts a rule set in place of another, in one shard.

use std::cell::Cell as Count;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::renumber::in_numbers_of;
use super::replay::Replay;
use super::same::{Change, Fate, fate, windows_that_go_on};
use crate::Millis;
use crate::bound::BoundEvents;
use crate::eval::NoWindows;
use crate::limits::Limits;
use crate::output::{Match, Output, Place};
use crate::planted::{Bug, bug};
use crate::rule_set::{RuleEntry, RuleSet};
use crate::run::Run;
use crate::run::report::Reporter;
use crate::run::select::settle;
use crate::run::step::Moved;
use crate::shard::Shard;
use crate::slot::{Cell, Together, WindowCell, unpacked};
use crate::state::starts::Starts;
use crate::window::packed::Packed;

/// How many runs a swap kept, and how many it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swapped {
    /// Runs that live on.
    pub kept: u64,
    /// Runs that went.
    pub ended: u64,
}

impl Shard {
    /// Puts a rule set with the same programs in place: other lists and tables are asked from here on, and all that lives stays as it is.
    pub fn swap_data(&mut self, new: Arc<RuleSet>) {
        debug_assert!(new.shares_programs(&self.rules), "the programs are the same");
        self.rules = new;
    }

    /// Puts `new` in place of the rule set. What waits to be reported of rules that changed or went leaves in `out`; its rules
    /// are those of the old set.
    pub fn swap(&mut self, new: Arc<RuleSet>, out: &mut Vec<Output>) -> Swapped {
        let old = std::mem::replace(&mut self.rules, new.clone());
        self.judged.forget();
        let alike = in_numbers_of(&old, &new.schema);
        let fates: Vec<Fate> = alike.rules.iter().map(|r| fate(r, &alike, &new)).collect();
        let spaces: Vec<Option<u16>> =
            old.spaces.iter().map(|s| new.spaces.iter().position(|t| t == s).map(|i| i as u16)).collect();
        let windows = windows_that_go_on(&alike, &new);
        // What goes on under another length forgets first what the old one has.
        let resized = |window: u32| {
            let to = windows[window as usize]?;
            let (was, is) = (&old.windows[window as usize], &new.windows[to as usize]);
            (was.spec.kind != is.spec.kind || was.lateness != is.lateness).then_some(was)
        };
        let window = |window: u32| windows[window as usize].filter(|_| !bug(Bug::Carried));
        let (clock, hasher) = (self.time.clock, self.hasher);
        let goes_on = |cell: &mut WindowCell| {
            let Some(index) = window(cell.window) else { return false };
            if let Some(was) = resized(cell.window) {
                cell.state.expire(&was.spec.kind, was.clock(clock));
            }
            cell.window = index;
            true
        };
        // Windows that go on as they are stay together.
        let mut together: BTreeMap<(u32, u32), Option<Together>> = BTreeMap::new();
        let mut swapped = Swapped::default();
        let runs_max = self.limits.runs_per_key_max;
        for group in &mut self.groups {
            let index = |rule: &u32| match &fates[*rule as usize] {
                Fate::Kept(index) | Fate::Closes(index) | Fate::Changed(index, _) => Some(*index),
                Fate::Removed | Fate::Restarted => None,
            };
            let capped = group.all_capped().iter().filter_map(|(rule, c)| Some((index(rule)?, *c))).collect();
            group.set_capped(capped);
            for mut i in group.in_order() {
                let key = group.key(i).to_vec();
                let types = &old.spaces[group.space(i) as usize].types;
                let mut moved: Vec<Cell> = Vec::new();
                let mut gathered: Vec<(u32, Starts)> = Vec::new();
                for rule in group.rules(i) {
                    let starts = group.take_starts(i, rule);
                    let mut cell = group.take_cell(i, rule, &old, Vec::new());
                    if let Fate::Closes(_) = &fates[rule as usize] {
                        make_final(&mut cell, &old.rules[rule as usize], &mut group.bound);
                    }
                    let mut before = cell.runs.len();
                    if let Some(mut starts) = starts {
                        before += starts.len();
                        if let Fate::Kept(index) = &fates[rule as usize] {
                            let version = old.rules[rule as usize].version;
                            if version != new.rules[*index as usize].version {
                                starts.began_under(version);
                            }
                            swapped.kept += starts.len() as u64;
                            before -= starts.len();
                            gathered.push((*index, starts));
                        } else if let Some(begin) = &old.begins[rule as usize] {
                            group.part(begin, &starts, runs_max, &mut cell);
                        }
                    }
                    let mut move_cell =
                        MoveCell { old: &old, new: &new, key: &key, clock, bound: &mut group.bound, out: &mut *out };
                    let cell = match &fates[rule as usize] {
                        Fate::Kept(index) | Fate::Closes(index) => Some(move_cell.keep(cell, *index)),
                        Fate::Changed(index, change) => {
                            Some(move_cell.change(cell, *index, change, &crate::key::decode(&key, types)))
                        }
                        Fate::Removed | Fate::Restarted => {
                            let (_, runs) = move_cell.flush(cell);
                            runs.iter().for_each(|run| group.bound.release(run.last));
                            None
                        }
                    };
                    let after = cell.as_ref().map_or(0, |c| c.runs.len());
                    swapped.kept += after as u64;
                    swapped.ended += before.saturating_sub(after) as u64;
                    moved.extend(cell);
                }
                let space = spaces[group.space(i) as usize];
                let mut small = Vec::new();
                group.renumber_small(
                    i,
                    |p| {
                        let known = together.entry((p.family(), p.members()));
                        known.or_insert_with(|| go_on_together(p, &old, &new, window)).clone()
                    },
                    |p| {
                        if old.windows_of(p).any(|w| window(w).is_some()) {
                            small.extend(unpacked(p, &old, hasher, clock));
                        }
                    },
                );
                if let Some(more) = group.more_mut(i) {
                    more.windows.retain_mut(goes_on);
                }
                group.tidy(i);
                small.retain_mut(goes_on);
                i = group.put_windows(i, small, &new);
                // A slot without its space has nothing left: all that it held had the space's key.
                if let Some(space) = space {
                    group.set_space(i, space);
                }
                for cell in moved {
                    i = group.put_cell(i, cell).0;
                }
                if !gathered.is_empty() {
                    group.more_or_add(i).starts.append(&mut gathered);
                }
                if group.holds_nothing(i) {
                    group.remove(i);
                }
            }
        }
        self.rows = self.rows_after(&fates);
        self.plan_all();
        self.all_changed();
        swapped
    }
}

/// What was reported of windows is not revised any more.
fn make_final(cell: &mut Cell, entry: &RuleEntry, bound: &mut BoundEvents) {
    for run in cell.runs.extract_if(.., |run| entry.is_settled(run)) {
        bound.release(run.last);
    }
    cell.more.iter_mut().for_each(|more| more.open.clear());
}

/// How windows whose entries stand together go on, where those that do go on as they are.
fn go_on_together(
    packed: Packed<'_>,
    old: &RuleSet,
    new: &RuleSet,
    goes_on: impl Fn(u32) -> Option<u32>,
) -> Option<Together> {
    let family = &old.families[packed.family() as usize];
    let (mut to, mut members, mut columns) = (None, 0, Vec::new());
    for member in family.members(packed.members()) {
        let window = family.windows[member];
        let Some(index) = goes_on(window) else { continue };
        let (number, place) = new.family_of[index as usize]?;
        let (was, is) = (&old.windows[window as usize], &new.windows[index as usize]);
        if was.spec.kind != is.spec.kind || was.lateness != is.lateness || *to.get_or_insert(number) != number {
            return None;
        }
        members |= 1 << place;
        let read = new.families[number as usize].column_of[usize::from(place)];
        columns.extend(family.column_of[member].zip(read));
    }
    columns.sort_unstable();
    columns.dedup();
    if !columns.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1) {
        return None;
    }
    let there = family.columns_of(packed.members());
    let kept = |column: &u8| columns.iter().any(|(before, _)| before == column);
    let columns = there.iter().enumerate().filter(|(_, column)| kept(column)).map(|(place, _)| place).collect();
    Some(Together { family: to?, members, columns })
}

/// Moves what one rule holds of one key.
struct MoveCell<'a> {
    old: &'a RuleSet,
    new: &'a RuleSet,
    key: &'a [u8],
    clock: Millis,
    bound: &'a mut BoundEvents,
    out: &'a mut Vec<Output>,
}

impl MoveCell<'_> {
    /// A rule that means the same.
    fn keep(&self, mut cell: Cell, index: u32) -> Cell {
        let started = self.started(cell.rule, index);
        cell.rule = index;
        for run in &mut cell.runs {
            begun_under(run, started);
        }
        if let Some(more) = &mut cell.more {
            let candidates = more.candidates.iter_mut().map(|c| &mut c.body);
            for body in candidates.chain(more.open.iter_mut().map(|o| &mut o.body)) {
                body.rule = index;
                body.started_version = body.started_version.or(started);
            }
        }
        cell
    }

    /// A rule that has changed.
    fn change(&mut self, cell: Cell, index: u32, change: &Change, key: &[lapwing_dsl::value::Value<'static>]) -> Cell {
        let started = self.started(cell.rule, index);
        let old = &self.old.rules[cell.rule as usize];
        let new = &self.new.rules[index as usize];
        let (cell, runs) = self.flush(cell);
        let data = &self.new.data;
        let mut runs = Replay::new(change, &old.program, &new.program, key, data, self.clock).lead(runs, self.bound);
        runs.iter_mut().for_each(|run| begun_under(run, started));
        let mut cell = Cell { rule: index, ..cell };
        let moved = Moved { runs, ..Moved::default() };
        self.settle(&mut cell, moved, index, new);
        cell
    }

    /// Lets what waits to be reported leave; gives the runs that do not go with it.
    fn flush(&mut self, mut cell: Cell) -> (Cell, Vec<Run>) {
        let mut runs = std::mem::take(&mut cell.runs);
        let waiting: Vec<_> =
            cell.more.iter().flat_map(|m| &m.candidates).map(|c| (c.body.id, c.last_sequence)).collect();
        let (rule, entry) = (cell.rule, &self.old.rules[cell.rule as usize]);
        let reported = self.settle(&mut cell, Moved::default(), rule, entry);
        let is_reported = |id| reported.iter().any(|body| body.id == id);
        let until = waiting.iter().filter(|(id, _)| is_reported(*id)).map(|(_, last)| *last).max();
        let bound = &mut *self.bound;
        runs.retain(|run| {
            let goes = run.tag() != 0 || until.is_some_and(|until| run.first_sequence <= until);
            if goes {
                bound.release(run.last);
            }
            !goes
        });
        for (i, body) in reported.into_iter().enumerate() {
            let stratum = self.old.rules[rule as usize].stratum;
            let place = Place { rule, key: self.key.to_vec(), index: i as u32, ..Place::of_event(0, stratum) };
            self.out.push(Output { place, body });
        }
        (cell, runs)
    }

    /// With nothing that completes: reports what no run stands behind any more, and selects among runs.
    fn settle(&mut self, cell: &mut Cell, moved: Moved, rule: u32, entry: &RuleEntry) -> Vec<Match> {
        let errors = Count::new(0);
        let reporter = Reporter {
            rule,
            entry,
            key: &[],
            key_bytes: self.key,
            sources: &[],
            event: None,
            windows: &NoWindows,
            data: &self.new.data,
            now: self.clock,
            errors: &errors,
        };
        let mut matches = Vec::new();
        let no_limits = Limits { runs_per_key_max: usize::MAX, ..Limits::default() };
        settle(cell, moved, &reporter, self.bound, &no_limits, &mut matches);
        matches
    }

    /// The version that runs of the rule began under, where that is not the one they go on under.
    fn started(&self, rule: u32, index: u32) -> Option<u32> {
        let version = self.old.rules[rule as usize].version;
        (version != self.new.rules[index as usize].version).then_some(version)
    }
}

fn begun_under(run: &mut Run, started: Option<u32>) {
    if started.is_some() && run.started_version().is_none() {
        run.more.get_or_insert_default().started_version = started;
    }
}
