//! A shard: the key groups it owns, their timers, and the step that moves them.
//!
//! Every shard is given the same events in the same order and acts on the keys of its own groups; outputs carry their place, so
//! that merging all shards' gives one order whatever their number.

use std::cell::Cell as Count;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lapwing_dsl::ir::{StepId, WindowId, WindowKey, WindowKind};
use lapwing_dsl::schema::{EventId, FieldId};
use lapwing_dsl::value::Value;
use smallvec::SmallVec;

use crate::Millis;
use crate::batch::{EventView, Hit};
use crate::bound::{BoundEvent, BoundEvents};
use crate::eval::{Scope, Windows, tuple};
use crate::limits::Limits;
use crate::order::Ordered;
use crate::output::{Match, Output, Place};
use crate::planted::{Bug, bug};
use crate::rule_set::{RuleEntry, RuleSet};
use crate::run::Run;
use crate::run::report::Reporter;
use crate::run::select::settle;
use crate::run::step::{Moved, Offer, Transition, time_passes};
use crate::slot::{Cell, GROUPS, Group, KeyHasher, WindowCell, group_of};
use crate::store::codec::Corrupt;
use crate::window::WindowState;

/// Slots are looked through for what has gone at most once in this time.
const SWEEP_GRAIN: Millis = 8_192;

/// What a shard counts; totals since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Faults in expressions, read as missing values.
    pub rule_errors: u64,
    /// Events that had no key for some rule.
    pub missing_keys: u64,
    /// Runs that a cap took.
    pub runs_capped: u64,
}

/// One shard.
pub struct Shard {
    pub(crate) rules: Arc<RuleSet>,
    limits: Limits,
    pub(crate) hasher: KeyHasher,
    sources: Arc<Vec<String>>,
    index: usize,
    of: usize,
    pub(crate) groups: Vec<Group>,
    pub(crate) timers: BTreeSet<Timer>,
    pub(crate) sweeps: BTreeMap<Millis, Vec<(u16, u32)>>,
    errors: Count<u64>,
    counters: Counters,
    pub(crate) clock: Millis,
    /// The first of `sweeps`, or earlier.
    next_sweep: Millis,
    deliveries: Vec<Delivery>,
    key_bytes: Vec<u8>,
    matches: Vec<Match>,
    traced: Option<BTreeSet<Transition>>,
    /// Memory for the runs that are being moved: all of a key, one rule's before, one rule's after.
    taken: Vec<(u32, Run)>,
    spare: Vec<Run>,
    moved: Vec<Run>,
}

/// When time has to move a rule's runs for a key. Timers of one instant fire in order of rule, then key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timer {
    deadline: Millis,
    rule: u32,
    key: Box<[u8]>,
    group: u16,
    slot: u32,
}

/// An event under one of its keys.
#[derive(Clone, Debug)]
struct Delivery {
    space: u16,
    group: u16,
    hash: u64,
    key: (u32, u32),
    /// The extractions that gave the key.
    mask: u64,
}

impl Shard {
    /// Shard `index` of `of`, without state.
    pub fn new(
        rules: Arc<RuleSet>,
        limits: Limits,
        hasher: KeyHasher,
        sources: Arc<Vec<String>>,
        index: usize,
        of: usize,
    ) -> Shard {
        Shard {
            rules,
            limits,
            hasher,
            sources,
            index,
            of,
            groups: (0..=GROUPS).map(|_| Group::default()).collect(),
            timers: BTreeSet::new(),
            sweeps: BTreeMap::new(),
            errors: Count::new(0),
            counters: Counters::default(),
            clock: Millis::MIN,
            next_sweep: Millis::MIN,
            deliveries: Vec::new(),
            key_bytes: Vec::new(),
            matches: Vec::new(),
            traced: None,
            taken: Vec::new(),
            spare: Vec::new(),
            moved: Vec::new(),
        }
    }

    /// Whether a key group is this shard's.
    pub fn owns(&self, group: usize) -> bool {
        group % self.of == self.index
    }

    /// What it has counted.
    pub fn counters(&self) -> Counters {
        Counters { rule_errors: self.errors.get(), ..self.counters }
    }

    /// How many keys hold state.
    pub fn keys(&self) -> usize {
        self.groups.iter().map(Group::len).sum()
    }

    /// How many runs are live.
    pub fn runs(&self) -> usize {
        self.groups.iter().map(Group::run_count).sum()
    }

    /// Remembers from now on which transitions runs take.
    pub fn trace(&mut self) {
        self.traced = Some(BTreeSet::new());
    }

    /// The transitions taken since [`Shard::trace`].
    pub fn traced(&self) -> BTreeSet<Transition> {
        self.traced.clone().unwrap_or_default()
    }

    /// Writes the state of a key group; none where it is not this shard's or holds nothing.
    pub fn save_group(&self, group: usize) -> Option<Vec<u8>> {
        let g = &self.groups[group];
        (self.owns(group) && !g.is_empty()).then(|| crate::store::group::save(g))
    }

    /// Takes over the state of a key group that was saved under the present rule set.
    pub fn load_group(&mut self, group: usize, bytes: &[u8]) -> Result<(), Corrupt> {
        let place = self.groups.get_mut(group).ok_or(Corrupt("a key group of a number too high"))?;
        let loaded = crate::store::group::load(bytes, &self.rules, self.hasher)?;
        let belongs = |slot: &u32| {
            let slot = loaded.slot(*slot);
            group_of(slot.hash, self.rules.spaces[slot.space as usize].pinned) == group
        };
        if !loaded.in_order().iter().all(belongs) {
            return Err(Corrupt("a key stands in another key group: the secret of the key hash has changed"));
        }
        *place = loaded;
        Ok(())
    }

    /// Goes on at a time, after all groups were loaded.
    pub fn resume(&mut self, clock: Millis) {
        self.clock = clock;
        self.plan_all();
    }

    /// Moves the shard over events and then to the time after them.
    pub fn step(&mut self, input: &Ordered, out: &mut Vec<Output>) {
        let rules = self.rules.clone();
        for event in &input.events {
            self.pass_time(event.clock, event.sequence, out);
            let batch = &*input.batches[event.batch as usize];
            let row = &batch.rows[event.row as usize];
            self.event(&rules, EventView { batch, row }, event.sequence, out);
        }
        self.pass_time(input.until, input.next_sequence, out);
    }

    /// Fires what is due strictly before `clock`.
    fn pass_time(&mut self, clock: Millis, sequence: u64, out: &mut Vec<Output>) {
        while let Some(timer) = self.timers.first() {
            if timer.deadline >= clock {
                break;
            }
            let timer = self.timers.pop_first().expect("a first timer was seen");
            self.clock = self.clock.max(timer.deadline);
            self.fire(&timer, sequence, out);
        }
        self.clock = self.clock.max(clock);
        // At the end of time everything goes with the shard.
        if self.clock <= self.next_sweep || clock == Millis::MAX {
            return;
        }
        while let Some(entry) = self.sweeps.first_entry() {
            self.next_sweep = *entry.key();
            if *entry.key() >= self.clock {
                return;
            }
            for (group, slot) in entry.remove() {
                self.sweep(group, slot);
            }
        }
        self.next_sweep = Millis::MAX;
    }

    fn fire(&mut self, timer: &Timer, sequence: u64, out: &mut Vec<Output>) {
        let group = &mut self.groups[timer.group as usize];
        if !group.holds(timer.slot) || *group.slot(timer.slot).key != *timer.key {
            return;
        }
        let mut cell = group.take_cell(timer.slot, timer.rule, std::mem::take(&mut self.spare));
        let at = At { group: timer.group, slot: Some(timer.slot), space: group.slot(timer.slot).space };
        let rules = self.rules.clone();
        let entry = &rules.rules[timer.rule as usize];
        let mut moved = Moved::default();
        let mut bound = std::mem::take(&mut self.groups[at.group as usize].bound);
        time_passes(std::mem::take(&mut cell.runs), &entry.program, timer.deadline, &mut bound, &mut moved);
        let now = Now { event: None, at: timer.deadline, sequence, deadline: timer.deadline };
        self.settle(at, timer.rule, entry, &timer.key, cell, moved, now, bound, out);
        self.drop_if_empty(at);
    }

    // --- one event -----------------------------------------------------------------------------

    fn event(&mut self, rules: &RuleSet, event: EventView<'_>, sequence: u64, out: &mut Vec<Output>) {
        let plan = &rules.events[event.row.event.0 as usize];
        self.find_keys(rules, event);
        let deliveries = std::mem::take(&mut self.deliveries);
        let keys = std::mem::take(&mut self.key_bytes);
        let key_of = |d: &Delivery| &keys[d.key.0 as usize..d.key.1 as usize];
        let mut slots: SmallVec<[Option<u32>; 4]> = SmallVec::new();
        for delivery in &deliveries {
            let windows = windows_of(plan, delivery.mask);
            let group = &mut self.groups[delivery.group as usize];
            let slot = if windows.is_empty() {
                group.find(delivery.space, delivery.hash, key_of(delivery))
            } else {
                Some(group.find_or_add(delivery.space, delivery.hash, key_of(delivery)))
            };
            slots.push(slot);
            for window in windows {
                self.count(rules, window, event, delivery.group, slot, false);
            }
        }
        for (delivery, slot) in deliveries.iter().zip(&mut slots) {
            let at = At { group: delivery.group, slot: *slot, space: delivery.space };
            *slot = self.offer(rules, at, delivery, key_of(delivery), event, sequence, out);
        }
        for (delivery, slot) in deliveries.iter().zip(&slots) {
            for window in windows_of(plan, delivery.mask) {
                self.count(rules, window, event, delivery.group, *slot, true);
            }
            let at = At { group: delivery.group, slot: *slot, space: delivery.space };
            if let Some(slot) = self.drop_if_empty(at) {
                self.plan_sweep(delivery.group, slot);
            }
        }
        self.deliveries = deliveries;
        self.key_bytes = keys;
    }

    /// Fills `deliveries` with the event's keys in this shard's groups.
    fn find_keys(&mut self, rules: &RuleSet, event: EventView<'_>) {
        self.deliveries.clear();
        self.key_bytes.clear();
        for (i, extraction) in rules.events[event.row.event.0 as usize].extractions.iter().enumerate() {
            let space = &rules.spaces[extraction.space as usize];
            let start = self.key_bytes.len();
            let present = extraction
                .fields
                .iter()
                .zip(&space.optional)
                .all(|(field, optional)| crate::key::push(&mut self.key_bytes, &event.field(*field), *optional));
            if !present {
                self.key_bytes.truncate(start);
                // All shards see the event; one counts it.
                self.counters.missing_keys += u64::from(self.index == 0);
                continue;
            }
            let hash = self.hasher.hash(rules.seeds[extraction.space as usize], &self.key_bytes[start..]);
            let group = group_of(hash, space.pinned);
            if !self.owns(group) {
                self.key_bytes.truncate(start);
                continue;
            }
            let bytes = &self.key_bytes;
            let same = self.deliveries.iter_mut().find(|d| {
                d.hash == hash
                    && d.space == extraction.space
                    && bytes[d.key.0 as usize..d.key.1 as usize] == bytes[start..]
            });
            match same {
                Some(delivery) => {
                    delivery.mask |= 1 << i;
                    self.key_bytes.truncate(start);
                }
                None => self.deliveries.push(Delivery {
                    space: extraction.space,
                    group: group as u16,
                    hash,
                    key: (start as u32, self.key_bytes.len() as u32),
                    mask: 1 << i,
                }),
            }
        }
    }

    /// Counts an event in a window: `first_seen` once the rules have asked, the others before.
    fn count(
        &mut self,
        rules: &RuleSet,
        window: u32,
        event: EventView<'_>,
        group: u16,
        slot: Option<u32>,
        after: bool,
    ) {
        let spec = &rules.windows[window as usize].spec;
        let Some(slot) = slot else { return };
        if matches!(spec.kind, WindowKind::FirstSeen { .. }) != after {
            return;
        }
        let none = BoundEvents::default();
        let scope = Scope::of_event(event, &none, &self.errors);
        if spec.filter.as_ref().is_some_and(|f| !scope.holds(f)) {
            return;
        }
        let value = match spec.args.as_slice() {
            [] => Value::Missing,
            [one] => scope.value(one).into_static(),
            several => tuple(several.iter().map(|a| scope.value(a))),
        };
        let slot = self.groups[group as usize].slot_mut(slot).more.get_or_insert_default();
        let i = slot.windows.iter().position(|w| w.window == window).unwrap_or_else(|| {
            slot.windows.reserve_exact(1);
            let state = WindowState::new(&spec.kind, !spec.args.is_empty());
            slot.windows.push(WindowCell { window, state, lost_until: Millis::MIN });
            slot.windows.len() - 1
        });
        let cell = &mut slot.windows[i];
        cell.state.add(&spec.kind, event.row.at, value);
        if cell.state.len() > self.limits.window_entries_max {
            // Alerts say so for as long as the entry would have counted.
            cell.lost_until = cell.lost_until.max(cell.state.next_expiry(&spec.kind).unwrap_or(Millis::MAX));
            cell.state.drop_oldest();
        }
    }

    /// Offers an event to the rules of one key. Returns the key's slot, if it has one now.
    #[expect(clippy::too_many_arguments, reason = "an event, its key and where that stands")]
    fn offer(
        &mut self,
        rules: &RuleSet,
        mut at: At,
        delivery: &Delivery,
        key: &[u8],
        event: EventView<'_>,
        sequence: u64,
        out: &mut Vec<Output>,
    ) -> Option<u32> {
        let hits = event.hits();
        let sees = |rule: u32| rules.rules[rule as usize].sees[event.row.event.0 as usize] & delivery.mask != 0;
        let mut live: SmallVec<[u32; 8]> = SmallVec::new();
        if let Some(slot) = at.slot {
            live = self.groups[at.group as usize].rules(slot);
            live.retain(|rule| sees(*rule));
        }
        if let (Some(slot), false) = (at.slot, live.is_empty()) {
            let mut taken = std::mem::take(&mut self.taken);
            self.groups[at.group as usize].take_runs(slot, &mut taken);
            let mut runs = taken.drain(..).peekable();
            // What does not see the event goes back as it is.
            let mut rules_here = live.iter().copied().peekable();
            while let Some(rule) = [rules_here.peek().copied(), runs.peek().map(|r| r.0)].into_iter().flatten().min() {
                let mut own = std::mem::take(&mut self.spare);
                own.clear();
                while let Some((_, run)) = runs.next_if(|(r, _)| *r == rule) {
                    own.push(run);
                }
                let group = &mut self.groups[at.group as usize];
                if rules_here.next_if_eq(&rule).is_some() {
                    let cell = Cell { rule, runs: own, more: group.take_more(slot, rule) };
                    self.offer_to(rules, cell, &mut at, delivery, key, event, hits_of(hits, rule), sequence, out);
                } else {
                    self.spare = group.put_cell(slot, Cell { rule, runs: own, more: None });
                }
            }
            drop(runs);
            self.taken = taken;
        }
        let mut i = 0;
        while i < hits.len() {
            let rule = hits[i].rule;
            let own = hits_of(&hits[i..], rule);
            i += own.len();
            let entry = &rules.rules[rule as usize];
            let here =
                entry.space == delivery.space && own.iter().any(|h| entry.step_may_take(StepId(h.step), delivery.mask));
            if here && live.binary_search(&rule).is_err() {
                let mut cell = Cell { rule, ..Cell::default() };
                if let Some(slot) = at.slot {
                    cell.more = self.groups[at.group as usize].take_more(slot, rule);
                }
                self.offer_to(rules, cell, &mut at, delivery, key, event, own, sequence, out);
            }
        }
        at.slot
    }

    #[expect(clippy::too_many_arguments, reason = "an event, its key, where that stands and for which rule")]
    fn offer_to(
        &mut self,
        rules: &RuleSet,
        mut cell: Cell,
        at: &mut At,
        delivery: &Delivery,
        key: &[u8],
        event: EventView<'_>,
        hits: &[Hit],
        sequence: u64,
        out: &mut Vec<Output>,
    ) {
        let rule = cell.rule;
        let entry = &rules.rules[rule as usize];
        let mut bound = std::mem::take(&mut self.groups[at.group as usize].bound);
        let runs = std::mem::take(&mut self.moved);
        let mut moved = Moved { runs, taken: self.traced.is_some().then(Vec::new), ..Moved::default() };
        {
            let windows = SlotWindows { shard: self, entry, at: *at, event: Some(event), now: event.row.at };
            let mut offer = Offer::new(entry, event, sequence, self.clock, delivery.mask, hits, &windows, &self.errors);
            if entry.input[event.row.event.0 as usize] & delivery.mask != 0 {
                offer.advance(cell.runs.drain(..), &mut bound, &mut moved);
            } else {
                // An event that only stops is not part of the input.
                moved.runs.append(&mut cell.runs);
            }
            if self.stops(entry, delivery.mask, event) {
                moved.runs.drain(..).for_each(|r| bound.release(r.last));
            } else if !hits.is_empty() {
                offer.begin(&mut bound, &mut moved);
            }
        }
        if let (Some(traced), Some(taken)) = (&mut self.traced, moved.taken.take()) {
            traced.extend(taken);
        }
        if moved.complete.is_empty() && moved.runs.is_empty() && cell.more.is_none() && at.slot.is_none() {
            self.groups[at.group as usize].bound = bound;
            self.moved = moved.runs;
            return;
        }
        self.moved = std::mem::take(&mut cell.runs);
        if at.slot.is_none() {
            at.slot = Some(self.groups[at.group as usize].find_or_add(delivery.space, delivery.hash, key));
        }
        let now = Now { event: Some(event), at: event.row.at, sequence, deadline: Millis::MAX };
        self.settle(*at, rule, entry, key, cell, moved, now, bound, out);
    }

    /// Whether the event is the rule's `stop on`.
    fn stops(&self, entry: &RuleEntry, mask: u64, event: EventView<'_>) -> bool {
        let (Some(stop), Some((of, extraction))) = (&entry.program.rule.stop, entry.stop_extraction) else {
            return false;
        };
        if of != event.row.event || mask & (1 << extraction) == 0 {
            return false;
        }
        let none = BoundEvents::default();
        stop.filter.as_ref().is_none_or(|f| Scope::of_event(event, &none, &self.errors).holds(f))
    }

    /// Selects what is reported, and puts the cell and the bound events back.
    #[expect(clippy::too_many_arguments, reason = "a rule's state for a key, taken out and put back")]
    fn settle(
        &mut self,
        at: At,
        rule: u32,
        entry: &RuleEntry,
        key: &[u8],
        mut cell: Cell,
        moved: Moved,
        now: Now<'_>,
        mut bound: BoundEvents,
        out: &mut Vec<Output>,
    ) {
        if moved.complete.is_empty() && cell.more.is_none() && moved.runs.len() <= 1 {
            cell.runs = moved.runs;
        } else {
            let mut matches = std::mem::take(&mut self.matches);
            let key_values = if moved.complete.is_empty() {
                Vec::new()
            } else {
                crate::key::decode(key, &self.rules.spaces[at.space as usize].types)
            };
            let windows = SlotWindows { shard: self, entry, at, event: now.event, now: now.at };
            let reporter = Reporter {
                rule,
                entry,
                key: &key_values,
                key_bytes: key,
                sources: &self.sources,
                event: now.event,
                windows: &windows,
                errors: &self.errors,
            };
            settle(&mut cell, moved, &reporter, &mut bound, &self.limits, &mut matches);
            for (i, body) in matches.drain(..).enumerate() {
                let key = if bug(Bug::KeyOrder) { Vec::new() } else { key.to_vec() };
                let place = Place { sequence: now.sequence, deadline: now.deadline, rule, key, index: i as u32 };
                out.push(Output { place, body });
            }
            self.matches = matches;
        }
        if let Some(more) = &mut cell.more {
            more.forget_caps(self.clock);
        }
        if entry.timed
            && let Some(slot) = at.slot
        {
            self.set_timers(at.group, slot, rule, entry, key, &cell);
        }
        let group = &mut self.groups[at.group as usize];
        group.bound = bound;
        if let Some(slot) = at.slot {
            self.spare = group.put_cell(slot, cell);
        }
    }

    /// Plans all timers and sweeps anew, from what the slots hold.
    pub(crate) fn plan_all(&mut self) {
        self.timers.clear();
        self.sweeps.clear();
        let rules = self.rules.clone();
        for g in 0..self.groups.len() {
            for slot in self.groups[g].in_order() {
                self.groups[g].slot_mut(slot).sweep_at = Millis::MAX;
                let group = &self.groups[g];
                for (rule, run) in group.runs(slot).filter(|(rule, run)| is_timed(&rules.rules[*rule as usize], run)) {
                    let key = group.slot(slot).key.to_vec().into_boxed_slice();
                    self.timers.insert(Timer { deadline: run.deadline, rule, key, group: g as u16, slot });
                }
                self.plan_sweep(g as u16, slot);
            }
        }
    }

    fn set_timers(&mut self, group: u16, slot: u32, rule: u32, entry: &RuleEntry, key: &[u8], cell: &Cell) {
        for run in &cell.runs {
            if is_timed(entry, run) {
                self.timers.insert(Timer { deadline: run.deadline, rule, key: key.into(), group, slot });
            }
        }
    }

    // --- what goes -----------------------------------------------------------------------------

    /// Frees a slot that holds nothing; returns the slot that is left.
    fn drop_if_empty(&mut self, at: At) -> Option<u32> {
        let slot = at.slot?;
        let group = &mut self.groups[at.group as usize];
        if group.slot(slot).is_empty() {
            group.remove(slot);
            return None;
        }
        Some(slot)
    }

    fn plan_sweep(&mut self, group: u16, slot: u32) {
        let g = &self.groups[group as usize];
        let s = g.slot(slot);
        if s.sweep_at != Millis::MAX {
            return;
        }
        let runs = g.runs(slot).map(|(_, r)| r.deadline).min();
        let windows = &self.rules.windows;
        let window_ends =
            s.windows().iter().filter_map(|w| w.state.next_expiry(&windows[w.window as usize].spec.kind)).min();
        let Some(next) = runs.into_iter().chain(window_ends).min().filter(|t| *t < Millis::MAX) else { return };
        let at = next.max(self.clock).div_euclid(SWEEP_GRAIN).saturating_add(1).saturating_mul(SWEEP_GRAIN);
        self.groups[group as usize].slot_mut(slot).sweep_at = at;
        self.next_sweep = self.next_sweep.min(at);
        self.sweeps.entry(at).or_default().push((group, slot));
    }

    /// Drops what has gone from a slot. Nothing that this does can be seen from outside.
    fn sweep(&mut self, group: u16, slot: u32) {
        let g = &mut self.groups[group as usize];
        if !g.holds(slot) || g.slot(slot).sweep_at > self.clock {
            return;
        }
        let clock = self.clock;
        g.slot_mut(slot).sweep_at = Millis::MAX;
        for rule in g.rules(slot) {
            if self.rules.rules[rule as usize].timed {
                // Its timers see to it.
                continue;
            }
            let mut cell = g.take_cell(slot, rule, std::mem::take(&mut self.spare));
            let bound = &mut g.bound;
            cell.runs.retain(|run| {
                let lives = run.deadline >= clock;
                if !lives {
                    bound.release(run.last);
                }
                lives
            });
            if let Some(more) = &mut cell.more {
                more.forget_caps(clock);
            }
            self.spare = g.put_cell(slot, cell);
        }
        let s = g.slot_mut(slot);
        if let Some(more) = &mut s.more {
            for window in &mut more.windows {
                window.state.expire(&self.rules.windows[window.window as usize].spec.kind, clock);
            }
            more.windows.retain(|w| !w.state.is_empty());
        }
        s.tidy();
        let space = s.space;
        if self.drop_if_empty(At { group, slot: Some(slot), space }).is_some() {
            self.plan_sweep(group, slot);
        }
    }
}

/// Whether time moves a run: it waits only for time, or a report waits for its end.
fn is_timed(entry: &RuleEntry, run: &crate::run::Run) -> bool {
    let late = entry.program.rule.report != lapwing_dsl::syntax::ast::Report::Early;
    late || entry.program.nfa.state(run.state).is_pending()
}

/// Where a key's state stands.
#[derive(Clone, Copy)]
struct At {
    group: u16,
    slot: Option<u32>,
    space: u16,
}

/// What moves a rule's runs: an event, or a deadline.
struct Now<'a> {
    event: Option<EventView<'a>>,
    at: Millis,
    sequence: u64,
    deadline: Millis,
}

/// The windows that count an event under a key, those of `first_seen` last.
fn windows_of(plan: &crate::rule_set::EventPlan, mask: u64) -> SmallVec<[u32; 4]> {
    let mut windows = SmallVec::new();
    for (i, extraction) in plan.extractions.iter().enumerate() {
        if mask & (1 << i) != 0 {
            for window in &extraction.windows {
                if !windows.contains(window) {
                    windows.push(*window);
                }
            }
        }
    }
    windows
}

/// The hits of one rule; they stand together, in order of rules.
fn hits_of(hits: &[Hit], rule: u32) -> &[Hit] {
    let start = hits.partition_point(|h| h.rule < rule);
    let end = hits.partition_point(|h| h.rule <= rule);
    &hits[start..end]
}

/// Reads the windows of one rule for one key.
struct SlotWindows<'a> {
    shard: &'a Shard,
    entry: &'a RuleEntry,
    at: At,
    event: Option<EventView<'a>>,
    now: Millis,
}

/// The current event of a window: the one at hand, or the last one bound where that is earlier.
enum Current<'a> {
    AtHand(EventView<'a>),
    Bound(&'a BoundEvent),
}

impl SlotWindows<'_> {
    /// The current event, and its type. A match that an absence completes has the last event bound as the current one.
    fn current<'c>(&'c self, last: Option<&'c BoundEvent>) -> Option<(EventId, Current<'c>)> {
        if let Some(node) = last {
            let ty = self.entry.program.rule.steps[node.step.0 as usize].event;
            let at_hand = |e: &EventView<'_>| e.row.origin == node.origin && e.row.event == ty;
            if !self.event.as_ref().is_some_and(at_hand) {
                return Some((ty, Current::Bound(node)));
            }
        }
        self.event.map(|event| (event.row.event, Current::AtHand(event)))
    }

    fn field<'c>(&self, current: &Current<'c>, field: FieldId) -> Value<'c> {
        match current {
            Current::AtHand(event) => event.field(field),
            Current::Bound(node) => {
                let place = self.entry.program.capture(node.step, field);
                place.map_or(Value::Missing, |i| node.captured[i].borrow())
            }
        }
    }
}

impl SlotWindows<'_> {
    /// What a window holds for the current event's key; an error where the event has no such key.
    fn cell(&self, window: u32, last: Option<&BoundEvent>) -> Result<Option<&WindowCell>, NoKey> {
        Ok(match &self.shard.rules.windows[window as usize].spec.key {
            WindowKey::Rule(_) => {
                self.at.slot.and_then(|s| self.shard.groups[self.at.group as usize].slot(s).window(window))
            }
            WindowKey::Fields { reader, optional, .. } => {
                let (ty, current) = self.current(last).ok_or(NoKey)?;
                let (_, fields) = reader.iter().find(|(e, _)| *e == ty).ok_or(NoKey)?;
                let mut key = Vec::new();
                let whole = fields
                    .iter()
                    .zip(optional)
                    .all(|(f, optional)| crate::key::push(&mut key, &self.field(&current, *f), *optional));
                if !whole {
                    return Err(NoKey);
                }
                let space = self.shard.rules.windows[window as usize].space;
                let hash = self.shard.hasher.hash(self.shard.rules.seeds[space as usize], &key);
                let group = &self.shard.groups[group_of(hash, true)];
                group.find(space, hash, &key).and_then(|s| group.slot(s).window(window))
            }
        })
    }
}

/// The current event gives a window no key.
struct NoKey;

impl Windows for SlotWindows<'_> {
    fn window(&self, id: WindowId, last: Option<&BoundEvent>) -> Value<'static> {
        let window = self.entry.window(id);
        let spec = &self.shard.rules.windows[window as usize].spec;
        let empty;
        let Ok(cell) = self.cell(window, last) else { return Value::Missing };
        let state = match cell {
            Some(cell) => &cell.state,
            None => {
                empty = WindowState::new(&spec.kind, !spec.args.is_empty());
                &empty
            }
        };
        let asked = match spec.kind {
            WindowKind::FirstSeen { .. } => self.asked(spec, last),
            _ => Value::Missing,
        };
        state.read(&spec.kind, &spec.ty, self.now, &asked).unwrap_or_else(|_| {
            self.shard.errors.set(self.shard.errors.get() + 1);
            Value::Missing
        })
    }

    fn lost(&self, last: &BoundEvent) -> bool {
        let lost =
            |window: &u32| matches!(self.cell(*window, Some(last)), Ok(Some(cell)) if cell.lost_until >= self.now);
        self.entry.windows.iter().any(lost)
    }
}

impl SlotWindows<'_> {
    /// The current event's value that `first_seen` asks about.
    fn asked(&self, spec: &lapwing_dsl::ir::Window, last: Option<&BoundEvent>) -> Value<'static> {
        let Some((ty, Current::AtHand(event))) = self.current(last) else { return Value::Missing };
        if ty != spec.event {
            return Value::Missing;
        }
        let none = BoundEvents::default();
        let scope = Scope::of_event(event, &none, &self.shard.errors);
        match spec.args.as_slice() {
            [one] => scope.value(one).into_static(),
            several => tuple(several.iter().map(|a| scope.value(a))),
        }
    }
}
