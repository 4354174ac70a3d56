//! A shard: the key groups it owns, their timers, and the step that moves them.
//!
//! Every shard is given the same events in the same order and acts on the keys of its own groups; outputs carry their place, so
//! that merging all shards' gives one order whatever their number.

pub mod outside;
mod time;
mod windows;

use std::cell::Cell as Count;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use lapwing_dsl::ir::StepId;
use lapwing_dsl::value::Value;
use smallvec::SmallVec;

use self::time::Timer;
use self::windows::{SlotWindows, windows_of};
use crate::Millis;
use crate::batch::{EventView, Hit, Row};
use crate::bound::BoundEvents;
use crate::eval::Scope;
use crate::limits::{Cap, Limits};
use crate::order::{Ordered, OrderedEvent};
use crate::output::{Match, Output, Place};
use crate::planted::{Bug, bug};
use crate::rule_set::{RuleEntry, RuleSet, Wait};
use crate::run::Run;
use crate::run::report::Reporter;
use crate::run::select::settle;
use crate::run::step::{Effect, Moved, Offer, Transition, Waiting};
use crate::slot::{Cell, Fate, GROUPS, Group, KeyHasher, PINNED, SlotId, group_of};
use crate::state::record::{self, Record};
use crate::state::starts::Starts;
use crate::store::codec::Corrupt;
use crate::terms::Judged;

/// So many events ahead, the memory of their keys' state is asked for.
const AHEAD: usize = 16;

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
    pub(crate) limits: Limits,
    pub(crate) hasher: KeyHasher,
    sources: Arc<Vec<String>>,
    index: usize,
    of: usize,
    pub(crate) groups: Vec<Group>,
    pub(crate) timers: BTreeSet<Timer>,
    /// When to look through which slots: groups with the 32 bits of the hash that find the slot.
    pub(crate) sweeps: BTreeMap<Millis, Vec<(u16, u32)>>,
    errors: Count<u64>,
    counters: Counters,
    pub(crate) clock: Millis,
    /// The first of `sweeps`, or earlier.
    next_sweep: Millis,
    /// The keys of the events ahead, in three stretches.
    ahead: [Ahead; 3],
    matches: Vec<Match>,
    traced: Option<BTreeSet<Transition>>,
    /// Memory for runs that are taken out: all with their rules, those of one rule, what becomes of these.
    taken: Vec<(u32, Run)>,
    spare: Vec<Run>,
    moved: Vec<Run>,
    /// The rules whose runs are taken out.
    taken_out: Vec<u32>,
    /// The rules whose runs are to be gathered.
    to_gather: Vec<u32>,
    /// Key groups and rules in them of which a cap may bite.
    over: Vec<(u16, u32)>,
    marks: Marks,
    tally: Tally,
    /// What is known of conditions for the event at hand.
    pub(crate) judged: Judged,
    /// What becomes of each record of the slot at hand.
    fates: Vec<Fate>,
    /// Records of runs that begin.
    begun: Vec<u64>,
}

/// Events with their keys.
#[derive(Clone, Debug, Default)]
struct Ahead {
    deliveries: Vec<Delivery>,
    key_bytes: Vec<u8>,
    /// For each event its deliveries.
    of_event: Vec<Range<usize>>,
}

impl Ahead {
    fn key(&self, delivery: &Delivery) -> &[u8] {
        &self.key_bytes[delivery.key.0 as usize..delivery.key.1 as usize]
    }
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
            ahead: Default::default(),
            matches: Vec::new(),
            traced: None,
            taken: Vec::new(),
            spare: Vec::new(),
            moved: Vec::new(),
            taken_out: Vec::new(),
            to_gather: Vec::new(),
            over: Vec::new(),
            marks: Marks::default(),
            tally: Tally::default(),
            judged: Judged::default(),
            fates: Vec::new(),
            begun: Vec::new(),
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

    /// How many keys hold state in memory.
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
        let holds = !g.is_empty() || !g.all_capped().is_empty();
        (self.owns(group) && holds).then(|| crate::store::group::save(g, &self.rules))
    }

    /// Takes over the state of a key group that was saved under the present rule set.
    pub fn load_group(&mut self, group: usize, bytes: &[u8]) -> Result<(), Corrupt> {
        let place = self.groups.get_mut(group).ok_or(Corrupt("a key group of a number too high"))?;
        let loaded = crate::store::group::load(bytes, &self.rules, self.hasher)?;
        let belongs = |slot: &SlotId| {
            let space = loaded.space(*slot) as usize;
            let hash = self.hasher.hash(self.rules.seeds[space], loaded.key(*slot));
            group_of(hash, self.rules.spaces[space].pinned) == group
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
        let view = |event: &OrderedEvent| {
            let batch = &*input.batches[event.batch as usize];
            EventView { batch, row: &batch.rows[event.row as usize] }
        };
        // Three stretches of events are under way: the place of a key's state is asked for, then the state, then it is moved.
        let [mut now, mut next, mut later] = std::mem::take(&mut self.ahead);
        let mut stretches = input.events.chunks(AHEAD);
        let mut look_ahead = |shard: &mut Shard, ahead: &mut Ahead| {
            let events = stretches.next().unwrap_or_default();
            shard.look_ahead(&rules, events.iter().map(view), ahead);
        };
        look_ahead(self, &mut now);
        look_ahead(self, &mut next);
        for events in input.events.chunks(AHEAD) {
            look_ahead(self, &mut later);
            self.ask_for_state(&next);
            for (event, of) in events.iter().zip(&now.of_event) {
                self.pass_time(event.clock, event.sequence, out);
                self.judged.next_event(&rules.terms);
                self.event(&rules, view(event), event.sequence, &now.deliveries[of.clone()], &now, out);
            }
            (now, next, later) = (next, later, now);
        }
        self.ahead = [now, next, later];
        self.pass_time(input.until, input.next_sequence, out);
    }

    // --- one event -----------------------------------------------------------------------------

    fn event(
        &mut self,
        rules: &RuleSet,
        event: EventView<'_>,
        sequence: u64,
        deliveries: &[Delivery],
        ahead: &Ahead,
        out: &mut Vec<Output>,
    ) {
        let plan = &rules.events[event.row.event.0 as usize];
        let mut places: SmallVec<[At; 4]> = SmallVec::new();
        for delivery in deliveries {
            let windows = windows_of(plan, delivery.mask);
            let group = &mut self.groups[delivery.group as usize];
            let key = ahead.key(delivery);
            let mut slot = if windows.is_empty() {
                group.find(delivery.space, delivery.hash, key)
            } else {
                // A small window with one entry.
                Some(group.find_or_add(delivery.space, delivery.hash, key, 2))
            };
            for window in windows {
                slot = slot.map(|slot| self.count(rules, window, event, delivery.group, slot, false));
            }
            places.push(At { group: delivery.group, slot, space: delivery.space });
        }
        for (delivery, at) in deliveries.iter().zip(&mut places) {
            self.offer(rules, at, delivery, ahead.key(delivery), event, sequence, out);
        }
        for (delivery, mut at) in deliveries.iter().zip(places) {
            for window in windows_of(plan, delivery.mask) {
                at.slot = at.slot.map(|slot| self.count(rules, window, event, delivery.group, slot, true));
            }
            if let Some(slot) = self.drop_if_empty(at) {
                self.plan_sweep(delivery.group, slot);
            }
        }
        if !self.over.is_empty() {
            self.keep_within_caps();
        }
    }

    /// Asks for the memory of the state of keys whose places were asked for.
    fn ask_for_state(&self, ahead: &Ahead) {
        for delivery in &ahead.deliveries {
            self.groups[delivery.group as usize].prefetch_slot(delivery.hash);
        }
    }

    /// Finds the keys of events, and asks for the memory that says where their state is.
    fn look_ahead<'e>(&mut self, rules: &RuleSet, events: impl Iterator<Item = EventView<'e>>, ahead: &mut Ahead) {
        ahead.deliveries.clear();
        ahead.key_bytes.clear();
        ahead.of_event.clear();
        for event in events {
            let from = ahead.deliveries.len();
            let missing = self.find_keys(rules, event, ahead);
            // All shards see the event; one counts it.
            self.counters.missing_keys += if self.index == 0 { missing } else { 0 };
            ahead.of_event.push(from..ahead.deliveries.len());
        }
        for delivery in &ahead.deliveries {
            self.groups[delivery.group as usize].prefetch_place(delivery.hash);
        }
    }

    /// Appends the event's keys in this shard's groups. Returns how many are missing.
    fn find_keys(&self, rules: &RuleSet, event: EventView<'_>, ahead: &mut Ahead) -> u64 {
        let mut missing = 0;
        let first = ahead.deliveries.len();
        let bytes = &mut ahead.key_bytes;
        for (i, extraction) in rules.events[event.row.event.0 as usize].extractions.iter().enumerate() {
            let space = &rules.spaces[extraction.space as usize];
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

    /// Offers an event to the rules of one key. What only waits on, ends or begins is judged where it stands; the runs of a rule
    /// of which more is to be said are taken out.
    #[expect(clippy::too_many_arguments, reason = "an event, its key and where that stands")]
    fn offer(
        &mut self,
        rules: &RuleSet,
        at: &mut At,
        delivery: &Delivery,
        key: &[u8],
        event: EventView<'_>,
        sequence: u64,
        out: &mut Vec<Output>,
    ) {
        let mut fates = std::mem::take(&mut self.fates);
        let mut taken_out = std::mem::take(&mut self.taken_out);
        fates.clear();
        taken_out.clear();
        self.marks.next(rules.rules.len());
        // Rules that begin in a way of their own do not begin where they stand.
        for hits in event.hits().chunk_by(|a, b| a.rule == b.rule) {
            let rule = hits[0].rule;
            let usual = rules.begins[rule as usize].is_some() && self.traced.is_none();
            if !usual && begins(&rules.rules[rule as usize], delivery, hits) {
                self.marks.set(rule);
                taken_out.push(rule);
            }
        }
        let mut taken = std::mem::take(&mut self.taken);
        if let Some(slot) = at.slot {
            self.offer_to_gathered(rules, *at, slot, delivery, event, sequence, &mut taken, &mut taken_out);
            self.judge_in_place(rules, *at, slot, delivery, event, sequence, &mut fates, &mut taken_out);
        }
        let mut begun = std::mem::take(&mut self.begun);
        begun.clear();
        let count = self.begin_in_place(rules, *at, delivery, event, sequence, &mut fates, &mut begun, &mut taken_out);
        let group = &mut self.groups[at.group as usize];
        if let Some(slot) = at.slot
            && fates.iter().any(|f| *f != Fate::Kept)
        {
            group.apply(slot, &fates, rules, &mut taken);
        }
        if count > 0 {
            let slot = at.slot.unwrap_or_else(|| group.find_or_add(delivery.space, delivery.hash, key, begun.len()));
            at.slot = Some(group.add_records(slot, &begun));
        }
        for rule in self.to_gather.drain(..) {
            let (Some(slot), Some(begin), Some(gather)) =
                (at.slot, &rules.begins[rule as usize], &rules.gathers[rule as usize])
            else {
                continue;
            };
            let starts = Starts::new(begin.captured.len(), gather.by.map(|(_, captured)| captured), self.hasher);
            group.gather(slot, begin, starts);
        }
        self.fates = fates;
        self.begun = begun;
        // The sort is stable: runs of one rule keep their order.
        taken.sort_by_key(|(rule, _)| *rule);
        taken_out.sort_unstable();
        let mut runs = taken.drain(..).peekable();
        for rule in taken_out.drain(..) {
            let mut own = std::mem::take(&mut self.spare);
            own.clear();
            while let Some((_, run)) = runs.next_if(|(r, _)| *r == rule) {
                own.push(run);
            }
            let more = at.slot.and_then(|slot| self.groups[at.group as usize].take_more(slot, rule));
            let cell = Cell { rule, runs: own, more };
            self.offer_to(rules, cell, at, delivery, key, event, hits_of(event.hits(), rule), sequence, out);
        }
        drop(runs);
        self.taken = taken;
        self.taken_out = taken_out;
    }

    /// Offers an event to gathered runs. Of those that it completes only the oldest counts: that is taken out, and the others end with
    /// its match.
    #[expect(clippy::too_many_arguments, reason = "an event, its key, where that stands, and what is found")]
    fn offer_to_gathered(
        &mut self,
        rules: &RuleSet,
        at: At,
        slot: SlotId,
        delivery: &Delivery,
        event: EventView<'_>,
        sequence: u64,
        taken: &mut Vec<(u32, Run)>,
        taken_out: &mut Vec<u32>,
    ) {
        let group = &mut self.groups[at.group as usize];
        if group.more(slot).is_none_or(|m| m.starts.is_empty()) {
            return;
        }
        let mut all = std::mem::take(&mut group.more_or_add(slot).starts);
        for (rule, starts) in &mut all {
            let (Some(begin), Some(gather)) = (&rules.begins[*rule as usize], &rules.gathers[*rule as usize]) else {
                continue;
            };
            starts.expire(self.clock.saturating_sub(gather.lasts));
            if rules.rules[*rule as usize].input[event.row.event.0 as usize] & delivery.mask != 0 {
                starts.see(sequence);
            }
            let wait = rules.wait(*rule, begin.state);
            if wait.event != event.row.event.0 || delivery.mask & 1 << wait.extraction == 0 {
                continue;
            }
            let terms = &rules.wait_terms[wait.terms.0 as usize..wait.terms.1 as usize];
            if !terms.iter().all(|t| self.judged.holds(&rules.terms, *t, event, &self.errors)) {
                continue;
            }
            let value = gather.by.map_or(Value::Missing, |(field, _)| event.field(field));
            let from = event.row.at.saturating_sub(gather.lasts);
            if let Some(start) = starts.find(from, &value) {
                taken.push((*rule, group.run_of_start(begin, &start)));
                self.marks.set(*rule);
                taken_out.push(*rule);
            }
        }
        let ended = all.iter().any(|(_, starts)| starts.is_empty());
        group.more_or_add(slot).starts = all;
        if ended {
            group.tidy(slot);
        }
    }

    /// Decides what becomes of each run of a slot, and which rules' runs are to be taken out.
    #[expect(clippy::too_many_arguments, reason = "an event, its key, where that stands, and what is found")]
    fn judge_in_place(
        &mut self,
        rules: &RuleSet,
        at: At,
        slot: SlotId,
        delivery: &Delivery,
        event: EventView<'_>,
        sequence: u64,
        fates: &mut Vec<Fate>,
        taken_out: &mut Vec<u32>,
    ) {
        let first = taken_out.len();
        let mut marks = std::mem::take(&mut self.marks);
        let group = &self.groups[at.group as usize];
        let judge = Judge { shard: self, rules, group, at, event, sequence, mask: delivery.mask };
        for record in group.records(slot) {
            let fate = if marks.has(record.rule()) { Some(Fate::TakenOut) } else { judge.fate(record) };
            let fate = fate.unwrap_or_else(|| {
                marks.set(record.rule());
                taken_out.push(record.rule());
                Fate::TakenOut
            });
            fates.push(fate);
        }
        if taken_out.len() > first {
            // Runs of these rules that were judged before the first of which there is more to be said go with it.
            for (fate, record) in fates.iter_mut().zip(group.records(slot)) {
                if marks.has(record.rule()) {
                    *fate = Fate::TakenOut;
                }
            }
        }
        // Where a run is completed, gathered or not, that ends those that are gathered.
        if !bug(Bug::Gathered)
            && let Some(more) = self.groups[at.group as usize].more_mut(slot)
        {
            more.starts.iter_mut().filter(|(rule, _)| marks.has(*rule)).for_each(|(_, starts)| starts.clear());
        }
        if let Some(more) = self.groups[at.group as usize].more(slot) {
            for (rule, _) in &more.cells {
                let entry = &rules.rules[*rule as usize];
                let sees = entry.sees[event.row.event.0 as usize] & delivery.mask != 0;
                if sees && !entry.plain && !marks.has(*rule) {
                    marks.set(*rule);
                    taken_out.push(*rule);
                }
            }
        }
        self.marks = marks;
    }

    /// Appends the records of the runs that begin in the usual way. Returns how many.
    #[expect(clippy::too_many_arguments, reason = "an event, its key, where that stands, and what is found")]
    fn begin_in_place(
        &mut self,
        rules: &RuleSet,
        at: At,
        delivery: &Delivery,
        event: EventView<'_>,
        sequence: u64,
        fates: &mut [Fate],
        begun: &mut Vec<u64>,
        taken_out: &mut Vec<u32>,
    ) -> usize {
        let mut count = 0;
        let full = fates.len() >= self.limits.runs_per_key_max.min(self.limits.gathered_from);
        if let (true, Some(slot)) = (full, at.slot) {
            self.tally.count(rules.rules.len(), self.groups[at.group as usize].records(slot).zip(&*fates));
        }
        let gathered_max = self.limits.gathered_per_key_max;
        // Only the usual way in has one step, and so one hit.
        for hit in event.hits() {
            let rule = hit.rule;
            let Some(begin) = &rules.begins[rule as usize] else { continue };
            let here = begin.space == delivery.space && delivery.mask & 1 << begin.extraction != 0;
            if !here || self.marks.has(rule) {
                continue;
            }
            if begin.asks_windows {
                let entry = &rules.rules[rule as usize];
                let windows = SlotWindows { shard: self, entry, at, event: Some(event), now: event.row.at };
                let none = BoundEvents::default();
                let scope = Scope { windows: &windows, ..Scope::of_event(event, &none, &self.errors) };
                let scope = Scope { program: Some(&entry.program), step: begin.step, ..scope };
                if !scope.all_hold(&entry.program.conditions[begin.step.0 as usize].key) {
                    continue;
                }
            }
            let fields = begin.captured.iter().map(|f| event.field(*f));
            let Row { at: time, origin, .. } = *event.row;
            if rules.gathers[rule as usize].is_some()
                && let Some(starts) = at.slot.and_then(|slot| self.starts_of(at.group, slot, rule))
                && starts.newest_at().is_none_or(|newest| newest <= time)
            {
                starts.push(time, sequence, origin, fields);
                if starts.len() > gathered_max {
                    let until = starts.oldest_at().map_or(time, |at| at.saturating_add(begin.lasts));
                    starts.drop_oldest();
                    self.counters.runs_capped += 1;
                    if let Some(slot) = at.slot {
                        let cell = self.groups[at.group as usize].cell_more_or_add(slot, rule);
                        cell.capped(Cap::GatheredPerKey, until);
                    }
                }
                continue;
            }
            if !record::begin(begin, time, sequence, origin, fields, begun) {
                // More text than a record holds.
                taken_out.push(rule);
                let group = &self.groups[at.group as usize];
                for (fate, record) in fates.iter_mut().zip(at.slot.into_iter().flat_map(|s| group.records(s))) {
                    if record.rule() == rule {
                        *fate = Fate::TakenOut;
                    }
                }
                continue;
            }
            count += 1;
            self.check_rule(at, rule);
            if let Some(slot) = at.slot
                && full
            {
                let gathers = rules.gathers[rule as usize].is_some()
                    && self.starts_of(at.group, slot, rule).is_none()
                    && self.tally.of(rule) >= self.limits.gathered_from;
                if gathers {
                    self.to_gather.push(rule);
                } else if self.tally.of(rule) >= self.limits.runs_per_key_max {
                    self.make_room(at.group, slot, rule, fates);
                }
            }
        }
        count
    }

    /// Notes a rule that has more runs than it may have in a key group, or will have with one more.
    fn check_rule(&mut self, at: At, rule: u32) {
        let group = &self.groups[at.group as usize];
        let times = if at.group as usize == PINNED { GROUPS } else { 1 };
        if group.runs_of(rule) >= self.limits.runs_per_rule_max.saturating_mul(times)
            || group.runs_of_all() >= self.limits.runs_max.saturating_mul(times)
        {
            self.over.push((at.group, rule));
        }
    }

    /// Keeps the runs of noted rules, and of all, within their caps: the oldest starts go first. A sixteenth goes at once, so that the
    /// walk over the group is not made for each run.
    fn keep_within_caps(&mut self) {
        for (g, rule) in std::mem::take(&mut self.over) {
            let group = &mut self.groups[g as usize];
            let times = if g as usize == PINNED { GROUPS } else { 1 };
            let rule_max = self.limits.runs_per_rule_max.saturating_mul(times);
            let max = self.limits.runs_max.saturating_mul(times);
            let mut gone = 0;
            if group.runs_of(rule) > rule_max {
                gone += group.end_oldest(Some(rule), rule_max - rule_max / 16, Cap::RunsPerRule, &self.rules);
            }
            if group.runs_of_all() > max {
                gone += group.end_oldest(None, max - max / 16, Cap::Runs, &self.rules);
            }
            self.counters.runs_capped += gone as u64;
            group.forget_caps(self.clock);
        }
    }

    fn starts_of(&mut self, group: u16, slot: SlotId, rule: u32) -> Option<&mut Starts> {
        self.groups[group as usize].more_mut(slot)?.starts_of(rule)
    }

    /// Makes room for a run of a rule that has as many as it may have for a key: the oldest start goes.
    fn make_room(&mut self, group: u16, slot: SlotId, rule: u32, fates: &mut [Fate]) {
        let group = &mut self.groups[group as usize];
        let lives = group.records(slot).zip(&*fates).enumerate();
        let lives = lives.filter(|(_, (r, fate))| r.rule() == rule && **fate != Fate::Gone).map(|(i, (r, _))| (i, r));
        let Some((i, record)) = lives.min_by_key(|(_, r)| r.first_sequence()) else { return };
        let deadline = record.deadline();
        fates[i] = Fate::Gone;
        self.counters.runs_capped += 1;
        group.cell_more_or_add(slot, rule).capped(Cap::RunsPerKey, deadline);
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
            self.spare = cell.runs;
            return;
        }
        self.moved = std::mem::take(&mut cell.runs);
        if at.slot.is_none() {
            at.slot = Some(self.groups[at.group as usize].find_or_add(
                delivery.space,
                delivery.hash,
                key,
                record::LONGEST_BARE,
            ));
        }
        let now = Now { event: Some(event), at: event.row.at, sequence, deadline: Millis::MAX };
        self.settle(at, rule, entry, key, cell, moved, now, bound, out);
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
        at: &mut At,
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
            let windows = SlotWindows { shard: self, entry, at: *at, event: now.event, now: now.at };
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
            let caps = self.groups[at.group as usize].capped(rule, now.at);
            for (i, mut body) in matches.drain(..).enumerate() {
                body.caps |= caps;
                let key = if bug(Bug::KeyOrder) { Vec::new() } else { key.to_vec() };
                let place = Place { sequence: now.sequence, deadline: now.deadline, rule, key, index: i as u32 };
                out.push(Output { place, body });
            }
            self.matches = matches;
        }
        if let Some(more) = &mut cell.more {
            more.forget_caps(self.clock);
        }
        if entry.timed {
            self.set_timers(at.group, rule, entry, key, &cell);
        }
        let group = &mut self.groups[at.group as usize];
        group.bound = bound;
        if let Some(slot) = at.slot {
            let (slot, spare) = group.put_cell(slot, cell);
            at.slot = Some(slot);
            self.spare = spare;
            self.check_rule(*at, rule);
        }
    }
}

/// Whether an event's hits may begin a rule's runs for a key.
fn begins(entry: &RuleEntry, delivery: &Delivery, hits: &[Hit]) -> bool {
    entry.space == delivery.space && hits.iter().any(|h| entry.step_may_take(StepId(h.step), delivery.mask))
}

/// Judges the runs of a slot where they stand.
struct Judge<'a> {
    shard: &'a Shard,
    rules: &'a RuleSet,
    group: &'a Group,
    at: At,
    event: EventView<'a>,
    sequence: u64,
    mask: u64,
}

impl Judge<'_> {
    /// What becomes of a run; none where more is to be done than can be done where it stands.
    #[inline]
    fn fate(&self, record: Record<'_>) -> Option<Fate> {
        let wait = self.rules.wait(record.rule(), record.state());
        if !wait.simple || self.shard.traced.is_some() {
            return self.fate_of_any(record);
        }
        if record.deadline() < self.shard.clock {
            return Some(Fate::Gone);
        }
        let row = self.event.row;
        let late = row.at > record.deadline() - Millis::from(bug(Bug::InPlace));
        if wait.event == row.event.0 && self.mask & 1 << wait.extraction != 0 && !late && self.takes(wait, record) {
            return None;
        }
        let input = |rule: u32| self.rules.rules[rule as usize].input[row.event.0 as usize];
        let seen = record.is_fresh() && input(record.rule()) & self.mask != 0;
        Some(if seen { Fate::Waits } else { Fate::Kept })
    }

    /// Whether the event meets the condition of the step that a run waits for.
    #[inline]
    fn takes(&self, wait: &Wait, record: Record<'_>) -> bool {
        let terms = &self.rules.wait_terms[wait.terms.0 as usize..wait.terms.1 as usize];
        let Shard { judged, errors, .. } = self.shard;
        if !terms.iter().all(|t| judged.holds(&self.rules.terms, *t, self.event, errors)) {
            return false;
        }
        if !wait.asks_run {
            return true;
        }
        let program = &*self.rules.rules[record.rule() as usize].program;
        let scope = Scope {
            program: Some(program),
            step: StepId(wait.step),
            last: Some(record.last(&self.group.bound)),
            ..Scope::of_event(self.event, &self.group.bound, errors)
        };
        scope.all_hold(&program.conditions[wait.step as usize].run)
    }

    fn fate_of_any(&self, record: Record<'_>) -> Option<Fate> {
        let entry = &self.rules.rules[record.rule() as usize];
        if entry.sees[self.event.row.event.0 as usize] & self.mask == 0 {
            return Some(Fate::Kept);
        }
        let Shard { traced, clock, errors, .. } = self.shard;
        if !entry.plain || traced.is_some() {
            return None;
        }
        let windows =
            SlotWindows { shard: self.shard, entry, at: self.at, event: Some(self.event), now: self.event.row.at };
        let hits = hits_of(self.event.hits(), record.rule());
        let mut offer = Offer::new(entry, self.event, self.sequence, *clock, self.mask, hits, &windows, errors);
        let waiting = Waiting {
            state: record.state(),
            fresh: record.is_fresh(),
            deadline: record.deadline(),
            first_at: record.first_at(),
            last: record.last(&self.group.bound),
        };
        match offer.effect(&waiting, &self.group.bound) {
            Effect::Stays if waiting.fresh => Some(Fate::Waits),
            Effect::Stays => Some(Fate::Kept),
            Effect::Ends => Some(Fate::Gone),
            Effect::StaysUntil(_) | Effect::Takes { .. } | Effect::Completes(_) => None,
        }
    }
}

/// How many runs of each rule live, for the slot at hand.
#[derive(Clone, Debug, Default)]
struct Tally {
    slot: u32,
    of: Vec<(u32, u32)>,
}

impl Tally {
    fn count<'r>(&mut self, rules: usize, runs: impl Iterator<Item = (Record<'r>, &'r Fate)>) {
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

    fn of(&self, rule: u32) -> usize {
        let (slot, count) = self.of[rule as usize];
        if slot == self.slot { count as usize } else { 0 }
    }
}

/// Which rules something was decided of, for the slot at hand.
#[derive(Clone, Debug, Default)]
struct Marks {
    slot: u32,
    of: Vec<u32>,
}

impl Marks {
    /// Goes on to the next slot.
    fn next(&mut self, rules: usize) {
        if self.of.len() != rules || self.slot == u32::MAX {
            *self = Marks { slot: 0, of: vec![0; rules] };
        }
        self.slot += 1;
    }

    fn has(&self, rule: u32) -> bool {
        self.of[rule as usize] == self.slot
    }

    fn set(&mut self, rule: u32) {
        self.of[rule as usize] = self.slot;
    }
}

/// Where a key's state stands.
#[derive(Clone, Copy)]
struct At {
    group: u16,
    slot: Option<SlotId>,
    space: u16,
}

/// What moves a rule's runs: an event, or a deadline.
struct Now<'a> {
    event: Option<EventView<'a>>,
    at: Millis,
    sequence: u64,
    deadline: Millis,
}

/// The hits of one rule; they stand together, in order of rules.
fn hits_of(hits: &[Hit], rule: u32) -> &[Hit] {
    let start = hits.partition_point(|h| h.rule < rule);
    let end = hits.partition_point(|h| h.rule <= rule);
    &hits[start..end]
}
