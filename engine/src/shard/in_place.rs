//! Judges runs where they stand, and begins runs there: what most events do to most runs needs no run taken out.

use lapwing_dsl::ir::{Closing, Reach, StepId};
use lapwing_dsl::value::Value;

use super::keys::Delivery;
use super::windows::SlotWindows;
use super::{At, Offered, Shard, hits_of};
use crate::Millis;
use crate::batch::{EventView, Hit, Row};
use crate::bound::BoundEvents;
use crate::eval::Scope;
use crate::limits::Cap;
use crate::planted::{Bug, bug};
use crate::rule_set::{ANY_EVENT, RuleEntry, RuleSet, Wait};
use crate::run::Run;
use crate::run::closing::Counted;
use crate::run::step::{Effect, Offer, Waiting};
use crate::slot::{Fate, Group, SlotId};
use crate::state::record::{self, Record};
use crate::state::starts::Starts;

impl Shard {
    /// Offers an event to gathered runs. Of those that it completes only the oldest counts: that is taken out, and the others end with
    /// its match.
    pub(super) fn offer_to_gathered(
        &mut self,
        offered: &Offered<'_>,
        at: At,
        slot: SlotId,
        taken: &mut Vec<(u32, Run)>,
        taken_out: &mut Vec<u32>,
    ) {
        let Offered { rules, delivery, event, .. } = *offered;
        let group = &mut self.groups[at.group as usize];
        if group.more(slot).is_none_or(|m| m.starts.is_empty()) {
            return;
        }
        let mut all = std::mem::take(&mut group.more_or_add(slot).starts);
        for (rule, starts) in &mut all {
            let (Some(begin), Some(gather)) = (&rules.begins[*rule as usize], &rules.gathers[*rule as usize]) else {
                continue;
            };
            starts.expire(self.time.clock.saturating_sub(gather.lasts));
            let wait = rules.wait(*rule, begin.state);
            if wait.event != event.row.event.0 || delivery.mask & 1 << wait.extraction == 0 {
                continue;
            }
            if !self.judged.all_hold(rules, wait, event, &self.errors) {
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

    /// Whether one of a rule's first steps may take the event, as far as the key's windows say.
    pub(super) fn may_begin(&self, offered: &Offered<'_>, at: At, hits: &[Hit]) -> bool {
        let Offered { rules, event, .. } = *offered;
        let entry = &rules.rules[hits[0].rule as usize];
        if let Some(closing) = &entry.program.rule.closing {
            return self.opens(offered, at, hits, closing);
        }
        let asks = |hit: &Hit| &entry.program.conditions[hit.step as usize].key;
        if hits.iter().any(|hit| asks(hit).is_empty()) || entry.program.rule.stop.is_some() {
            return true;
        }
        let windows = SlotWindows { shard: self, entry, at, event: Some(event), now: event.row.at };
        let none = BoundEvents::default();
        // Each of a thousand rules may come here: a scope is copied no oftener than it has to be.
        let mut scope = Scope::of_event(event, &none, &rules.data, &self.errors);
        scope.windows = &windows;
        scope.program = Some(&entry.program);
        hits.iter().any(|hit| {
            scope.step = StepId(hit.step);
            scope.all_hold(asks(hit))
        })
    }

    /// Whether an event opens a window of a rule, or makes a session longer.
    fn opens(&self, offered: &Offered<'_>, at: At, hits: &[Hit], closing: &Closing) -> bool {
        let Offered { event, sequence, .. } = *offered;
        let (rule, group) = (hits[0].rule, &self.groups[at.group as usize]);
        let counted =
            Counted { entry: &offered.rules.rules[rule as usize], event, sequence, clock: self.time.clock, hits };
        // Nothing is held of what is read for rows, until late events come.
        if closing.rows.is_some() {
            return counted.windows(&closing.reach).any(|(_, last)| last < self.time.clock);
        }
        let known = |(first, last): (Millis, Millis)| {
            let mut records = at.slot.into_iter().flat_map(|slot| group.records(slot));
            last >= self.time.clock && records.any(|r| r.rule() == rule && r.first_at() == first)
        };
        matches!(closing.reach, Reach::Session { .. }) || counted.windows(&closing.reach).any(|window| !known(window))
    }

    /// Decides what becomes of each run of a slot, and which rules' runs are to be taken out.
    pub(super) fn judge_in_place(
        &mut self,
        offered: &Offered<'_>,
        at: At,
        slot: SlotId,
        fates: &mut Vec<Fate>,
        taken_out: &mut Vec<u32>,
    ) {
        let Offered { rules, delivery, event, sequence, .. } = *offered;
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
    pub(super) fn begin_in_place(
        &mut self,
        offered: &Offered<'_>,
        at: At,
        fates: &mut [Fate],
        begun: &mut Vec<u64>,
        taken_out: &mut Vec<u32>,
    ) -> usize {
        let Offered { rules, delivery, event, sequence, .. } = *offered;
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
                let scope = Scope { windows: &windows, ..Scope::of_event(event, &none, &rules.data, &self.errors) };
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
                        cell.capped.add(Cap::GatheredPerKey, until);
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
            if let (Some(place), Some(slot)) = (begin.replaces, at.slot) {
                self.give_way(rules, at.group, slot, rule, place, fates);
            }
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

    /// `match last`: of the runs that wait at a place only the one that begins stays.
    fn give_way(&self, rules: &RuleSet, group: u16, slot: SlotId, rule: u32, place: u16, fates: &mut [Fate]) {
        let nfa = &rules.rules[rule as usize].program.nfa;
        for (fate, record) in fates.iter_mut().zip(self.groups[group as usize].records(slot)) {
            if record.rule() != rule || *fate == Fate::Gone {
                continue;
            }
            let (fresh, later) = nfa.state(record.state()).places;
            let waits_at = if record.is_fresh() && *fate != Fate::Waits { fresh } else { later };
            if waits_at == place {
                *fate = Fate::Gone;
            }
        }
    }

    pub(super) fn starts_of(&mut self, group: u16, slot: SlotId, rule: u32) -> Option<&mut Starts> {
        self.groups[group as usize].more_mut(slot)?.starts_of(rule)
    }
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
        let row = self.event.row;
        let number = self.rules.wait_number(record.rule(), record.state());
        let awaited = self.rules.awaited[number];
        if awaited == ANY_EVENT || self.shard.traced.is_some() {
            return self.fate_of_any(record);
        }
        if record.deadline() < self.shard.time.clock {
            return Some(Fate::Gone);
        }
        // Whether a run has passed over an event matters to none that is simple.
        if awaited != row.event.0 {
            return Some(Fate::Kept);
        }
        let wait = &self.rules.waits[number];
        let late = row.at > record.deadline() - Millis::from(bug(Bug::InPlace));
        let takes = self.mask & 1 << wait.extraction != 0 && !late && self.takes(wait, record);
        (!takes).then_some(Fate::Kept)
    }

    /// Whether the event meets the condition of the step that a run waits for.
    #[inline]
    fn takes(&self, wait: &Wait, record: Record<'_>) -> bool {
        let Shard { judged, errors, .. } = self.shard;
        if !judged.all_hold(self.rules, wait, self.event, errors) {
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
            ..Scope::of_event(self.event, &self.group.bound, &self.rules.data, errors)
        };
        scope.all_hold(&program.conditions[wait.step as usize].run)
    }

    fn fate_of_any(&self, record: Record<'_>) -> Option<Fate> {
        let entry = &self.rules.rules[record.rule() as usize];
        if entry.sees[self.event.row.event.0 as usize] & self.mask == 0 || entry.program.rule.closing.is_some() {
            return Some(Fate::Kept);
        }
        let Shard { traced, time, errors, .. } = self.shard;
        if !entry.plain || traced.is_some() {
            return None;
        }
        let windows =
            SlotWindows { shard: self.shard, entry, at: self.at, event: Some(self.event), now: self.event.row.at };
        let hits = hits_of(self.event.hits(), record.rule());
        let data = &self.rules.data;
        let mut offer =
            Offer::new(entry, self.event, self.sequence, time.clock, self.mask, hits, &windows, data, errors);
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

/// Which rules something was decided of, for the slot at hand.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    slot: u32,
    of: Vec<u32>,
}

impl Marks {
    /// Goes on to the next slot.
    pub(super) fn next(&mut self, rules: usize) {
        if self.of.len() != rules || self.slot == u32::MAX {
            *self = Marks { slot: 0, of: vec![0; rules] };
        }
        self.slot += 1;
    }

    pub(super) fn has(&self, rule: u32) -> bool {
        self.of[rule as usize] == self.slot
    }

    pub(super) fn set(&mut self, rule: u32) {
        self.of[rule as usize] = self.slot;
    }
}

/// Whether an event's hits may begin a rule's runs for a key.
pub(super) fn begins(entry: &RuleEntry, delivery: &Delivery, hits: &[Hit]) -> bool {
    entry.space == delivery.space && hits.iter().any(|h| entry.step_may_take(StepId(h.step), delivery.mask))
}
