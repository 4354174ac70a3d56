//! A shard: the key groups it owns, their timers, and the step that moves them.
//!
//! Every shard is given the same events in the same order and acts on the keys of its own groups; outputs carry their place, so
//! that merging all shards' gives one order whatever their number.

mod caps;
mod in_place;
mod keys;
pub mod outside;
mod revise;
mod rows;
pub mod saving;
mod time;
mod windows;

use std::cell::Cell as Count;
use std::collections::BTreeSet;
use std::sync::Arc;

use smallvec::SmallVec;

use self::caps::Tally;
use self::in_place::{Marks, begins};
use self::keys::{Ahead, Delivery};
pub use self::rows::RowsOf;
use self::saving::Saving;
use self::time::Times;
use self::windows::{SlotWindows, WindowReads, windows_of};
use crate::Millis;
use crate::batch::{EventView, Hit};
use crate::bound::BoundEvents;
use crate::eval::Scope;
use crate::limits::Limits;
use crate::order::{Ordered, OrderedEvent};
use crate::output::{Match, Output, Place};
use crate::planted::{Bug, bug};
use crate::rule_set::{RuleEntry, RuleSet};
use crate::run::Run;
use crate::run::closing::Counted;
use crate::run::report::Reporter;
use crate::run::select::settle;
use crate::run::step::{Moved, Offer, Transition};
use crate::slot::{Cell, Fate, GROUPS, Group, KeyHasher, SlotId, group_of};
use crate::state::record;
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
    /// What time has to do in the stratum at hand, and in the others.
    pub(crate) time: Times,
    other_times: Vec<Times>,
    errors: Count<u64>,
    counters: Counters,
    /// The earliest and the latest time of an event that was taken.
    span: (Option<Millis>, Option<Millis>),
    /// What is known of rules that close windows for rows.
    pub(crate) rows: Vec<RowsOf>,
    /// The keys of the events ahead, in three stretches.
    ahead: [Ahead; 3],
    matches: Vec<Match>,
    /// The rule whose transitions are remembered, with those.
    traced: Option<(u32, BTreeSet<Transition>)>,
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
    /// What windows are worth as of the event at hand, for the key at hand.
    read: WindowReads,
    /// What windows hold of a key, on its way.
    packing: Vec<u64>,
    /// How much of its state the last save knows.
    saving: Saving,
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
        let (time, other_times) = Times::of(&rules, Millis::MIN);
        Shard {
            rules,
            limits,
            hasher,
            sources,
            index,
            of,
            groups: (0..=GROUPS).map(|_| Group::default()).collect(),
            time,
            other_times,
            errors: Count::new(0),
            counters: Counters::default(),
            span: (None, None),
            rows: Vec::new(),
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
            read: WindowReads::default(),
            packing: Vec::new(),
            saving: Saving::default(),
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

    /// For each rule how many runs are live, gathered ones too.
    pub fn runs_by_rule(&self) -> Vec<usize> {
        let mut runs = vec![0; self.rules.rules.len()];
        for group in &self.groups {
            for slot in group.slots() {
                group.records(slot).for_each(|record| runs[record.rule() as usize] += 1);
                let starts = group.more(slot).into_iter().flat_map(|more| &more.starts);
                starts.for_each(|(rule, starts)| runs[*rule as usize] += starts.len());
            }
        }
        runs
    }

    /// Remembers from now on which transitions the runs of a rule take.
    pub fn trace(&mut self, rule: u32) {
        self.traced = Some((rule, BTreeSet::new()));
    }

    /// The transitions taken since [`Shard::trace`].
    pub fn traced(&self) -> BTreeSet<Transition> {
        self.traced.as_ref().map(|(_, taken)| taken.clone()).unwrap_or_default()
    }

    /// Writes the state of a key group; none where it is not this shard's or holds nothing.
    pub fn save_group(&self, group: usize) -> Option<Vec<u8>> {
        self.owns(group).then(|| crate::store::group::save(&self.groups[group], &self.rows, &self.rules)).flatten()
    }

    /// Writes what a key group holds beside its keys; none where it is not this shard's or that is nothing.
    pub fn save_group_without_keys(&self, group: usize) -> Option<Vec<u8>> {
        let g = &self.groups[group];
        let holds = !g.all_capped().is_empty() || !self.rows.is_empty();
        (self.owns(group) && holds).then(|| crate::store::group::save_without_keys(g, &self.rows, &self.rules))
    }

    /// Takes over the state of a key group that was saved under the present rule set.
    pub fn load_group(&mut self, group: usize, bytes: &[u8]) -> Result<(), Corrupt> {
        let place = self.groups.get_mut(group).ok_or(Corrupt("a key group of a number too high"))?;
        let (loaded, rows) = crate::store::group::load(bytes, &self.rules, self.hasher)?;
        let belongs = |slot: &SlotId| {
            let space = loaded.space(*slot) as usize;
            let hash = self.hasher.hash(self.rules.seeds[space], loaded.key(*slot));
            group_of(hash, self.rules.spaces[space].pinned) == group
        };
        if !loaded.in_order().iter().all(belongs) {
            return Err(Corrupt("a key stands in another key group: the secret of the key hash has changed"));
        }
        *place = loaded;
        self.rows = rows;
        Ok(())
    }

    /// Goes on at a time, after all groups were loaded.
    pub fn resume(&mut self, clock: Millis) {
        self.time.clock = clock;
        self.plan_all();
    }

    /// Moves the shard's rules of one stratum over events and then to the time after them.
    pub fn step(&mut self, input: &Ordered, out: &mut Vec<Output>) {
        let rules = self.rules.clone();
        self.in_stratum(input.stratum);
        self.span = (input.since, input.newest);
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
                let place = (event.sequence, event.late);
                self.event(&rules, view(event), place, &now.deliveries[of.clone()], &now, out);
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
        (sequence, late): (u64, bool),
        deliveries: &[Delivery],
        ahead: &Ahead,
        out: &mut Vec<Output>,
    ) {
        let plan = &rules.events[event.row.event.0 as usize];
        if !late && !plan.counted_for_rows.is_empty() {
            self.counted_for_rows(&plan.counted_for_rows, event.row.at);
        }
        let mut places: SmallVec<[At; 4]> = SmallVec::new();
        for delivery in deliveries {
            let mut windows = windows_of(plan, delivery.mask);
            if late {
                windows.retain(|window| self.window_takes_late(*window));
            }
            let group = &mut self.groups[delivery.group as usize];
            let key = ahead.key(delivery);
            let mut slot = if windows.is_empty() {
                group.find(delivery.space, delivery.hash, key)
            } else {
                // Small windows with one entry.
                Some(group.find_or_add(delivery.space, delivery.hash, key, 6))
            };
            for window in windows {
                slot = slot.map(|slot| self.count(rules, window, event, delivery.group, slot, false));
            }
            places.push(At { group: delivery.group, slot, space: delivery.space });
        }
        if !plan.samples.is_empty() && !late {
            for (delivery, at) in deliveries.iter().zip(&mut places) {
                self.sample(rules, &plan.samples, event, delivery, ahead.key(delivery), at);
            }
        }
        for (delivery, at) in deliveries.iter().zip(&mut places) {
            let offered = Offered { rules, delivery, key: ahead.key(delivery), event, sequence, late };
            if late {
                self.offer_late(&offered, at, out);
            } else {
                self.offer(&offered, at, out);
            }
        }
        for (delivery, mut at) in deliveries.iter().zip(places) {
            for window in windows_of(plan, delivery.mask) {
                if late && !self.window_takes_late(window) {
                    continue;
                }
                at.slot = at.slot.map(|slot| self.count(rules, window, event, delivery.group, slot, true));
            }
            if let Some(slot) = self.drop_if_empty(at) {
                self.groups[delivery.group as usize].touch(slot);
                self.plan_sweep(delivery.group, slot);
            }
        }
        if !self.over.is_empty() {
            self.keep_within_caps();
        }
        deliveries.iter().for_each(|delivery| self.groups[delivery.group as usize].thin_out());
    }

    /// Offers an event to the rules of one key. What only waits on, ends or begins is judged where it stands; the runs of a rule
    /// of which more is to be said are taken out.
    fn offer(&mut self, offered: &Offered<'_>, at: &mut At, out: &mut Vec<Output>) {
        let Offered { rules, delivery, key, event, .. } = *offered;
        let mut fates = std::mem::take(&mut self.fates);
        let mut taken_out = std::mem::take(&mut self.taken_out);
        fates.clear();
        taken_out.clear();
        self.marks.next(rules.rules.len());
        self.read.next(rules.windows.len());
        // Rules that begin in a way of their own do not begin where they stand.
        for hits in event.hits().chunk_by(|a, b| a.rule == b.rule) {
            let rule = hits[0].rule;
            let usual = rules.begins[rule as usize].is_some() && self.traced.is_none();
            let entry = &rules.rules[rule as usize];
            if !usual && begins(entry, delivery, hits) && self.may_begin(offered, *at, hits) {
                self.marks.set(rule);
                taken_out.push(rule);
            }
        }
        let mut taken = std::mem::take(&mut self.taken);
        if let Some(slot) = at.slot {
            self.offer_to_gathered(offered, *at, slot, &mut taken, &mut taken_out);
            self.judge_in_place(offered, *at, slot, &mut fates, &mut taken_out);
        }
        let mut begun = std::mem::take(&mut self.begun);
        begun.clear();
        let count = self.begin_in_place(offered, *at, &mut fates, &mut begun, &mut taken_out);
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
            group.gather(slot, begin, starts, rules);
        }
        self.fates = fates;
        self.begun = begun;
        if !taken_out.is_empty() {
            self.offer_to_taken_out(offered, at, &mut taken, &mut taken_out, out);
        }
        self.taken = taken;
        self.taken_out = taken_out;
    }

    /// Offers an event to the rules whose runs were taken out.
    fn offer_to_taken_out(
        &mut self,
        offered: &Offered<'_>,
        at: &mut At,
        taken: &mut Vec<(u32, Run)>,
        taken_out: &mut Vec<u32>,
        out: &mut Vec<Output>,
    ) {
        let Offered { event, .. } = *offered;
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
            self.offer_to(offered, cell, at, hits_of(event.hits(), rule), out);
        }
    }

    fn offer_to(&mut self, offered: &Offered<'_>, mut cell: Cell, at: &mut At, hits: &[Hit], out: &mut Vec<Output>) {
        let Offered { rules, delivery, key, event, sequence, late } = *offered;
        let rule = cell.rule;
        let entry = &rules.rules[rule as usize];
        let mut bound = std::mem::take(&mut self.groups[at.group as usize].bound);
        let runs = std::mem::take(&mut self.moved);
        let mut moved = Moved { runs, taken: self.traced.is_some().then(Vec::new), ..Moved::default() };
        {
            let windows = SlotWindows { shard: self, entry, at: *at, event: Some(event), now: event.row.at };
            let (data, errors) = (&rules.data, &self.errors);
            let mut offer =
                Offer::new(entry, event, sequence, self.time.clock, delivery.mask, hits, &windows, data, errors);
            if let Some(closing) = &entry.program.rule.closing {
                let counted = Counted { entry, event, sequence, clock: self.time.clock, hits };
                counted.advance(closing, cell.runs.drain(..).collect(), &mut bound, &mut moved);
                if let Some(mut revision) = moved.revision.take() {
                    let changed = (&mut cell, &mut *revision, &mut moved.runs);
                    self.judge_again(entry, closing, key, *at, changed, (sequence, &mut bound));
                    moved.revision = Some(revision);
                }
            } else if late {
                offer.revise(cell.runs.drain(..), &mut bound, &mut moved);
            } else if entry.input[event.row.event.0 as usize] & delivery.mask != 0 {
                offer.advance(cell.runs.drain(..), &mut bound, &mut moved);
            } else {
                // An event that only stops is not part of the input.
                moved.runs.append(&mut cell.runs);
            }
            if late {
                // It ends nothing else, and begins nothing.
            } else if self.stops(entry, delivery.mask, event) {
                for run in moved.runs.extract_if(.., |run| !entry.is_settled(run)) {
                    bound.release(run.last);
                }
            } else if !hits.is_empty() && entry.program.rule.closing.is_none() {
                offer.begin(&mut bound, &mut moved);
            }
        }
        if let (Some((of, traced)), Some(taken)) = (&mut self.traced, moved.taken.take())
            && *of == rule
        {
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
        stop.filter.as_ref().is_none_or(|f| Scope::of_event(event, &none, &self.rules.data, &self.errors).holds(f))
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
        if moved.complete.is_empty() && moved.revision.is_none() && cell.more.is_none() && moved.runs.len() <= 1 {
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
                data: &self.rules.data,
                now: now.at,
                errors: &self.errors,
            };
            let capped = settle(&mut cell, moved, &reporter, &mut bound, &self.limits, &mut matches);
            self.counters.runs_capped += capped;
            let caps = self.groups[at.group as usize].capped(rule, now.at);
            for (i, mut body) in matches.drain(..).enumerate() {
                body.caps |= caps;
                let key = if bug(Bug::KeyOrder) { Vec::new() } else { key.to_vec() };
                let place = Place {
                    sequence: now.sequence,
                    deadline: now.deadline,
                    stratum: entry.stratum,
                    given: if now.event.is_some() { 0 } else { u32::MAX },
                    rule,
                    key,
                    index: i as u32,
                };
                out.push(Output { place, body });
            }
            self.matches = matches;
        }
        if let Some(more) = &mut cell.more {
            more.capped.forget(self.time.clock);
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

/// An event as it is offered to the rules of one of its keys.
#[derive(Clone, Copy)]
struct Offered<'a> {
    rules: &'a RuleSet,
    delivery: &'a Delivery,
    /// The key's bytes.
    key: &'a [u8],
    event: EventView<'a>,
    /// Its number in processing order.
    sequence: u64,
    /// Whether it came behind the watermark.
    late: bool,
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
