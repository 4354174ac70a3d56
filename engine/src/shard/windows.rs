//! Counts events in windows, and reads them.

use std::cell::RefCell;

use lapwing_dsl::ir::{Reach, Window, WindowId, WindowKey, WindowKind};
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
use crate::rule_set::{EventPlan, RuleEntry, RuleSet, Sample, WindowEntry};
use crate::slot::{Group, SMALL_ENTRIES_MAX, SlotId, WindowCell, group_of};
use crate::window::{Look, WindowState, count_of, keeps_times};

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

    /// Counts an event in a window: `first_seen` once the rules have asked, the others before. Returns the slot's number.
    pub(super) fn count(
        &mut self,
        rules: &RuleSet,
        window: u32,
        event: EventView<'_>,
        group: u16,
        slot: SlotId,
        after: bool,
    ) -> SlotId {
        let entry = &rules.windows[window as usize];
        let spec = &entry.spec;
        if matches!(spec.kind, WindowKind::FirstSeen { .. }) != after {
            return slot;
        }
        let none = BoundEvents::default();
        let scope = Scope::of_event(event, &none, &rules.data, &self.errors);
        if spec.filter.as_ref().is_some_and(|f| !scope.holds(f)) {
            return slot;
        }
        let (values, moves) = spec.values();
        let value = match values {
            [] => Value::Missing,
            [one] => scope.value(one).into_static(),
            several => tuple(several.iter().map(|a| scope.value(a))),
        };
        let moves = moves.map_or(Value::Missing, |m| scope.value(m).into_static());
        self.enter(entry, window, event, (group, slot), value, moves)
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
            let entry = &rules.windows[sample.window as usize];
            let value = {
                let of = &rules.rules[sample.rule as usize];
                let windows = SlotWindows { shard: self, entry: of, at: *at, event: Some(event), now: event.row.at };
                let none = BoundEvents::default();
                let scope = Scope::of_event(event, &none, &rules.data, &self.errors);
                let scope = Scope { windows: &windows, ..scope };
                tuple(entry.spec.args.iter().map(|a| scope.value(a)))
            };
            let group = &mut self.groups[delivery.group as usize];
            let slot = at.slot.unwrap_or_else(|| group.find_or_add(delivery.space, delivery.hash, key, 2));
            at.slot = Some(self.enter(entry, sample.window, event, (delivery.group, slot), value, Value::Missing));
        }
    }

    /// Puts an event's value into a window. Returns the slot's number.
    fn enter(
        &mut self,
        entry: &WindowEntry,
        window: u32,
        event: EventView<'_>,
        (group, slot): (u16, SlotId),
        value: Value<'static>,
        moves: Value<'static>,
    ) -> SlotId {
        let spec = &entry.spec;
        let clock = entry.clock(self.time.clock);
        let group = &mut self.groups[group as usize];
        let only_counts = keeps_times(spec);
        let mut small = Vec::new();
        if only_counts && group.window(slot, window).is_none() && self.limits.window_entries_max > SMALL_ENTRIES_MAX {
            if let Some(slot) = group.add_to_small(slot, window, event.row.at) {
                return slot;
            }
            small = group.take_small(slot, window);
        }
        let more = group.more_or_add(slot);
        let i = more.windows.iter().position(|w| w.window == window).unwrap_or_else(|| {
            more.windows.reserve_exact(1);
            let mut state = WindowState::new(spec, self.hasher);
            for at in small {
                state.add(spec, at, clock, Value::Missing, Value::Missing);
            }
            more.windows.push(WindowCell { window, state, lost_until: Millis::MIN });
            more.windows.len() - 1
        });
        let cell = &mut more.windows[i];
        if cell.state.add(spec, event.row.at, clock, value, moves) {
            cell.lost_until = Millis::MIN;
        }
        if let WindowKind::Over { reach: Reach::Session { gap }, .. } = spec.kind
            && cell.lost_until >= event.row.at
        {
            // What the cap took was of this session, which goes on.
            cell.lost_until = cell.lost_until.max(event.row.at.saturating_add(gap + entry.lateness));
        }
        if cell.state.len() > self.limits.window_entries_max {
            // Alerts say so for as long as the entry would have counted.
            let until = cell.state.next_expiry(&spec.kind).unwrap_or(Millis::MAX);
            cell.lost_until = cell.lost_until.max(until.saturating_add(entry.lateness));
            cell.state.drop_oldest();
        }
        slot
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
        // What an event asks for by its own fields is worth the same to every rule.
        let shared = self.event.is_some()
            && matches!(spec.kind, WindowKind::Over { .. })
            && (matches!(spec.key, WindowKey::Rule(_) | WindowKey::Input)
                || matches!(self.current(last), Some((_, Current::AtHand(_)))));
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

    fn lost(&self, last: Option<BoundRef<'_>>) -> bool {
        let lost = |window: &u32| match self.place(*window, last) {
            Ok(Some((group, slot))) => group.window(slot, *window).is_some_and(|cell| cell.lost_until >= self.now),
            _ => false,
        };
        self.entry.windows.iter().any(lost)
    }
}

impl SlotWindows<'_> {
    /// What a window is worth.
    fn read(&self, window: u32, spec: &Window, last: Option<BoundRef<'_>>) -> Value<'static> {
        let empty;
        let clock = self.shard.rules.windows[window as usize].clock(self.shard.time.clock);
        let look = Look { now: self.now, clock };
        let Ok(place) = self.place(window, last) else { return Value::Missing };
        if let Some(times) = place.and_then(|(group, slot)| group.small_window(slot, window)) {
            return count_of(times, &spec.kind, look);
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
        state.read(spec, look, &asked).unwrap_or_else(|_| {
            self.shard.errors.set(self.shard.errors.get() + 1);
            Value::Missing
        })
    }

    /// The current event's value that `first_seen` asks about.
    fn asked(&self, spec: &Window, last: Option<BoundRef<'_>>) -> Value<'static> {
        let Some((ty, Current::AtHand(event))) = self.current(last) else { return Value::Missing };
        if ty != spec.event {
            return Value::Missing;
        }
        let none = BoundEvents::default();
        let scope = Scope::of_event(event, &none, &self.shard.rules.data, &self.shard.errors);
        match spec.args.as_slice() {
            [one] => scope.value(one).into_static(),
            several => tuple(several.iter().map(|a| scope.value(a))),
        }
    }
}
