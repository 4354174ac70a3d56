//! Counts events in windows, and reads them.

use std::cell::RefCell;

use lapwing_dsl::ir::{Expr, Reach, Window, WindowId, WindowKey, WindowKind};
use lapwing_dsl::schema::{EventId, FieldId};
use lapwing_dsl::value::Value;
use smallvec::SmallVec;

use super::keys::Delivery;
use super::{At, Shard};
use crate::Millis;
use crate::batch::EventView;
use crate::bound::{BoundEvents, BoundRef};
use crate::eval::{Scope, Windows, tuple};
use crate::planted::{Bug, bug};
use crate::rule_set::{EventPlan, RuleEntry, RuleSet, Sample};
use crate::slot::{Group, SlotId, WindowCell, group_of};
use crate::window::family::{Raw, Raws};
use crate::window::packed::{self, ENTRIES_MAX};
use crate::window::{Look, WindowState};

/// The windows that count an event under a key, those of `first_seen` last.
pub(super) fn windows_of(plan: &EventPlan, mask: u64) -> SmallVec<[u32; 4]> {
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

impl Shard {
    /// Whether a window takes an event that came behind the watermark.
    pub(super) fn window_takes_late(&self, window: u32) -> bool {
        self.rules.windows[window as usize].lateness > 0 && !bug(Bug::Late)
    }

    /// Counts an event in a window, or where this is the first of a family in all of it: `first_seen` once the rules have asked, the others
    /// before. Returns the slot's number.
    pub(super) fn count(
        &mut self,
        rules: &RuleSet,
        window: u32,
        event: EventView<'_>,
        group: u16,
        slot: SlotId,
        after: bool,
    ) -> SlotId {
        let spec = &rules.windows[window as usize].spec;
        let family = rules.family_of[window as usize];
        let with_the_first = family.is_some_and(|(_, member)| member > 0);
        if with_the_first || matches!(spec.kind, WindowKind::FirstSeen { .. }) != after {
            return slot;
        }
        if let Some(filter) = &spec.filter {
            let none = BoundEvents::default();
            if !Scope::of_event(event, &none, &rules.data, &self.errors).holds(filter) {
                return slot;
            }
        }
        match family {
            Some((number, _)) => self.count_in_family(rules, number, event, group, slot),
            None => {
                self.count_in_large(rules, window, event, group, slot);
                slot
            }
        }
    }

    fn count_in_family(
        &mut self,
        rules: &RuleSet,
        number: u32,
        event: EventView<'_>,
        group: u16,
        mut slot: SlotId,
    ) -> SlotId {
        let family = &rules.families[number as usize];
        let mut large = self.groups[group as usize].large_of(slot, family);
        if large != family.all() {
            let none = BoundEvents::default();
            let scope = Scope::of_event(event, &none, &rules.data, &self.errors);
            let columns = family.columns.iter().zip(&family.forms);
            let raws: Raws = columns.map(|(args, form)| Raw::new(*form, &value_of(&scope, args))).collect();
            let entry = (event.row.at, &*raws);
            let left = family.all() & !large;
            slot = self.count_in_small(rules, number, entry, (group, slot), &mut large, left);
        }
        for member in family.members(large) {
            self.count_in_large(rules, family.windows[member], event, group, slot);
        }
        slot
    }

    /// Counts an event in those windows of a family that are small. What is not small any more comes to `large`.
    fn count_in_small(
        &mut self,
        rules: &RuleSet,
        number: u32,
        (at, raws): (Millis, &[Raw]),
        (group, mut slot): (u16, SlotId),
        large: &mut u32,
        mut left: u32,
    ) -> SlotId {
        let family = &rules.families[number as usize];
        let (clock, hasher) = (self.time.clock, self.hasher);
        let fits = self.limits.window_entries_max > ENTRIES_MAX;
        let group = &mut self.groups[group as usize];
        let words = &mut self.packing;
        let mut place = 0;
        while let Some(packed) = group.packed_at(slot, place) {
            let (members, length) = (packed.members(), packed.words().len());
            if packed.family() != number {
                place += length;
                continue;
            }
            left &= !members;
            let from = rules.family_seen_from(number, members, clock);
            if at < from || !family.counts(members, raws) {
                place += length;
                continue;
            }
            let (own, forms) = family.own(members, raws);
            let added = fits && packed::add(packed, from, (at, &own), &forms, words).is_ok();
            let replaced = if added { group.replace_packed(slot, place, length, words) } else { None };
            match replaced {
                Some(new) => {
                    slot = new;
                    place += words.len();
                }
                None => {
                    *large |= members;
                    group.make_large(slot, place, rules, hasher, clock);
                }
            }
        }
        if left != 0 && family.counts(left, raws) && at >= rules.family_seen_from(number, left, clock) {
            let (own, forms) = family.own(left, raws);
            let built = fits && packed::build(number, left, (at, &own), &forms, words).is_ok();
            let appended = if built { group.append_packed(slot, words) } else { None };
            match appended {
                Some(new) => slot = new,
                None => *large |= left,
            }
        }
        slot
    }

    /// Counts an event in a window that keeps its entries itself.
    fn count_in_large(&mut self, rules: &RuleSet, window: u32, event: EventView<'_>, group: u16, slot: SlotId) {
        let none = BoundEvents::default();
        let scope = Scope::of_event(event, &none, &rules.data, &self.errors);
        let (values, moves) = rules.windows[window as usize].spec.values();
        let value = value_of(&scope, values).into_static();
        let moves = moves.map_or(Value::Missing, |m| scope.value(m).into_static());
        self.enter(rules, window, event.row.at, (group, slot), value, moves);
    }

    /// Samples what the rules of a key say of their features, once the event is counted everywhere.
    pub(super) fn sample(
        &mut self,
        rules: &RuleSet,
        samples: &[Sample],
        event: EventView<'_>,
        delivery: &Delivery,
        key: &[u8],
        at: &mut At,
    ) {
        self.read.next(rules.windows.len());
        for sample in samples.iter().filter(|sample| sample.mask & delivery.mask != 0) {
            let value = {
                let of = &rules.rules[sample.rule as usize];
                let windows = SlotWindows { shard: self, entry: of, at: *at, event: Some(event), now: event.row.at };
                let none = BoundEvents::default();
                let scope = Scope::of_event(event, &none, &rules.data, &self.errors);
                let scope = Scope { windows: &windows, ..scope };
                value_of(&scope, &rules.windows[sample.window as usize].spec.args).into_static()
            };
            let group = &mut self.groups[delivery.group as usize];
            let slot = at.slot.unwrap_or_else(|| group.find_or_add(delivery.space, delivery.hash, key, 2));
            at.slot = Some(slot);
            self.enter(rules, sample.window, event.row.at, (delivery.group, slot), value, Value::Missing);
        }
    }

    /// Puts a value into a window that keeps its entries itself.
    fn enter(
        &mut self,
        rules: &RuleSet,
        window: u32,
        at: Millis,
        (group, slot): (u16, SlotId),
        value: Value<'static>,
        moves: Value<'static>,
    ) {
        let entry = &rules.windows[window as usize];
        let spec = &entry.spec;
        let clock = entry.clock(self.time.clock);
        let more = self.groups[group as usize].more_or_add(slot);
        let i = more.windows.iter().position(|w| w.window == window).unwrap_or_else(|| {
            more.windows.reserve_exact(1);
            let state = WindowState::new(spec, self.hasher);
            more.windows.push(WindowCell { window, state, lost_until: Millis::MIN });
            more.windows.len() - 1
        });
        let cell = &mut more.windows[i];
        if cell.state.add(spec, at, clock, value, moves) {
            cell.lost_until = Millis::MIN;
        }
        if let WindowKind::Over { reach: Reach::Session { gap }, .. } = spec.kind
            && cell.lost_until >= at
        {
            // What the cap took was of this session, which goes on.
            cell.lost_until = cell.lost_until.max(at.saturating_add(gap + entry.lateness));
        }
        if cell.state.len() > self.limits.window_entries_max {
            // Alerts say so for as long as the entry would have counted.
            let until = cell.state.next_expiry(&spec.kind).unwrap_or(Millis::MAX);
            cell.lost_until = cell.lost_until.max(until.saturating_add(entry.lateness));
            cell.state.drop_oldest();
        }
    }
}

/// The value of an event that a window is of: of several expressions the tuple, of none nothing.
fn value_of<'s>(scope: &Scope<'s>, args: &'s [Expr]) -> Value<'s> {
    match args {
        [] => Value::Missing,
        [one] => scope.value(one),
        several => tuple(several.iter().map(|a| scope.value(a))),
    }
}

/// Reads the windows of one rule for one key.
pub(super) struct SlotWindows<'a> {
    pub shard: &'a Shard,
    pub entry: &'a RuleEntry,
    pub at: At,
    pub event: Option<EventView<'a>>,
    pub now: Millis,
}

/// The current event of a window: the one at hand, or the last one bound where that is earlier.
enum Current<'a> {
    AtHand(EventView<'a>),
    Bound(BoundRef<'a>),
}

impl SlotWindows<'_> {
    /// The current event, and its type. A match that an absence completes has the last event bound as the current one.
    fn current<'c>(&'c self, last: Option<BoundRef<'c>>) -> Option<(EventId, Current<'c>)> {
        if let Some(node) = last {
            let ty = self.entry.program.rule.steps[node.step().0 as usize].event;
            let at_hand = |e: &EventView<'_>| e.row.origin == node.origin() && e.row.event == ty;
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
                let place = self.entry.program.capture(node.step(), field);
                place.map_or(Value::Missing, |i| node.captured(i))
            }
        }
    }
}

impl SlotWindows<'_> {
    /// Where a window of the current event's key is kept; an error where the event has no such key.
    fn place(&self, window: u32, last: Option<BoundRef<'_>>) -> Result<Option<(&Group, SlotId)>, NoKey> {
        Ok(match &self.shard.rules.windows[window as usize].spec.key {
            WindowKey::Rule(_) | WindowKey::Input => {
                self.at.slot.map(|slot| (&self.shard.groups[self.at.group as usize], slot))
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
                group.find(space, hash, &key).map(|slot| (group, slot))
            }
        })
    }
}

/// The current event gives a window no key.
struct NoKey;

/// What windows are worth as of one event for one key: read once, however many rules ask.
#[derive(Debug, Default)]
pub(super) struct WindowReads {
    /// Counts events and keys.
    turn: u64,
    /// For each window of the rule set the turn of its last reading, and what that gave.
    known: RefCell<Vec<(u64, Value<'static>)>>,
}

impl WindowReads {
    /// Goes on to the next event, or the next key of one.
    pub(super) fn next(&mut self, windows: usize) {
        self.turn += 1;
        let known = self.known.get_mut();
        if known.len() != windows {
            known.clear();
            known.resize(windows, (0, Value::Missing));
        }
    }
}

impl Windows for SlotWindows<'_> {
    fn window(&self, id: WindowId, last: Option<BoundRef<'_>>) -> Value<'static> {
        let window = self.entry.window(id);
        let spec = &self.shard.rules.windows[window as usize].spec;
        let shared = self.is_shared(spec, last);
        let reads = &self.shard.read;
        if shared
            && let Some((turn, value)) = reads.known.borrow().get(window as usize)
            && *turn == reads.turn
        {
            return value.clone();
        }
        let value = self.read(window, spec, last);
        if shared && let Some(known) = reads.known.borrow_mut().get_mut(window as usize) {
            *known = (reads.turn, value.clone());
        }
        value
    }

    fn float(&self, id: WindowId, last: Option<BoundRef<'_>>) -> Option<f64> {
        let window = self.entry.window(id);
        let reads = &self.shard.read;
        if let Some((turn, value)) = reads.known.borrow().get(window as usize)
            && *turn == reads.turn
            && self.is_shared(&self.shard.rules.windows[window as usize].spec, last)
        {
            return value.as_float();
        }
        self.window(id, last).as_float()
    }

    fn lost(&self, last: Option<BoundRef<'_>>) -> bool {
        let lost = |window: &u32| match self.place(*window, last) {
            Ok(Some((group, slot))) => group.window(slot, *window).is_some_and(|cell| cell.lost_until >= self.now),
            _ => false,
        };
        self.entry.windows.iter().any(lost)
    }
}

impl SlotWindows<'_> {
    /// Whether a window is worth the same to every rule: an event asks for it by its own fields.
    fn is_shared(&self, spec: &Window, last: Option<BoundRef<'_>>) -> bool {
        self.event.is_some()
            && matches!(spec.kind, WindowKind::Over { .. })
            && (matches!(spec.key, WindowKey::Rule(_) | WindowKey::Input)
                || matches!(self.current(last), Some((_, Current::AtHand(_)))))
    }

    /// What a window is worth.
    fn read(&self, window: u32, spec: &Window, last: Option<BoundRef<'_>>) -> Value<'static> {
        let empty;
        let clock = self.shard.rules.windows[window as usize].clock(self.shard.time.clock);
        let look = Look { now: self.now, clock };
        let Ok(place) = self.place(window, last) else { return Value::Missing };
        let fault = |_| {
            self.shard.errors.set(self.shard.errors.get() + 1);
            Value::Missing
        };
        if let Some((group, slot)) = place
            && let Some((number, member)) = self.shard.rules.family_of[window as usize]
            && let Some(packed) = group.packed_of(slot, (number, member))
        {
            let family = &self.shard.rules.families[number as usize];
            return packed.read(family, member.into(), spec, look).unwrap_or_else(fault);
        }
        let state = match place.and_then(|(group, slot)| group.window(slot, window)) {
            Some(cell) => &cell.state,
            None => {
                empty = WindowState::new(spec, self.shard.hasher);
                &empty
            }
        };
        let asked = match spec.kind {
            WindowKind::FirstSeen { .. } => self.asked(spec, last),
            _ => Value::Missing,
        };
        state.read(spec, look, &asked).unwrap_or_else(fault)
    }

    /// The current event's value that `first_seen` asks about.
    fn asked(&self, spec: &Window, last: Option<BoundRef<'_>>) -> Value<'static> {
        let Some((ty, Current::AtHand(event))) = self.current(last) else { return Value::Missing };
        if ty != spec.event {
            return Value::Missing;
        }
        let none = BoundEvents::default();
        let scope = Scope::of_event(event, &none, &self.shard.rules.data, &self.shard.errors);
        value_of(&scope, &spec.args).into_static()
    }
}
