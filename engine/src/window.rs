//! What a window keeps for one key, and what it is worth at a time.

use std::collections::{BTreeMap, VecDeque};

use lapwing_dsl::functions::Outcome;
use lapwing_dsl::ir::{Aggregate, WindowKind};
use lapwing_dsl::value::{Type, Value};

use crate::Millis;
use crate::aggregate::{aggregate, distinct};
use crate::planted::{Bug, bug};

/// The state of one window for one key.
#[derive(Clone, Debug, PartialEq)]
pub enum WindowState {
    /// Times of counted events, ascending.
    Times(VecDeque<Millis>),
    /// Times and values of counted events, ascending by time; of one time, in processing order.
    Values(VecDeque<(Millis, Value<'static>)>),
    /// The last values, newest at the end: the current one and `n` before it.
    Lag(VecDeque<Value<'static>>),
    /// The greatest time at which each value was seen.
    Seen(BTreeMap<Box<[u8]>, Millis>),
}

/// The time past which no reader sees any entry, the newest of which has this time.
pub fn last_end(kind: &WindowKind, newest: Option<Millis>) -> Millis {
    let length = match kind {
        WindowKind::Sliding { length, offset, .. } => length.saturating_add(*offset),
        WindowKind::FirstSeen { length } => *length,
        WindowKind::Lag { .. } => return Millis::MAX,
    };
    newest.map_or(Millis::MIN, |at| at.saturating_add(length))
}

impl WindowState {
    /// Nothing yet.
    pub fn new(kind: &WindowKind, has_args: bool) -> Self {
        match kind {
            WindowKind::Sliding { .. } if !has_args => WindowState::Times(VecDeque::new()),
            WindowKind::Sliding { .. } => WindowState::Values(VecDeque::new()),
            WindowKind::Lag { .. } => WindowState::Lag(VecDeque::new()),
            WindowKind::FirstSeen { .. } => WindowState::Seen(BTreeMap::new()),
        }
    }

    /// Counts an event.
    pub fn add(&mut self, kind: &WindowKind, at: Millis, value: Value<'static>) {
        match self {
            WindowState::Times(times) => {
                let place = times.partition_point(|t| *t <= at);
                times.insert(place, at);
            }
            WindowState::Values(values) => {
                if !value.is_missing() {
                    let place = values.partition_point(|(t, _)| *t <= at);
                    values.insert(place, (at, value));
                }
            }
            WindowState::Lag(values) => {
                values.push_back(value);
                let WindowKind::Lag { n } = kind else { return };
                while values.len() > *n as usize + 1 {
                    values.pop_front();
                }
            }
            WindowState::Seen(seen) => {
                if !value.is_missing() {
                    let entry = seen.entry(value_key(&value)).or_insert(at);
                    *entry = (*entry).max(at);
                }
            }
        }
    }

    /// Drops what no reader at `now` or later can see.
    pub fn expire(&mut self, kind: &WindowKind, now: Millis) {
        let Some(from) = WindowState::seen_from(kind, now) else { return };
        match self {
            WindowState::Times(times) => {
                while times.front().is_some_and(|t| *t < from) {
                    times.pop_front();
                }
                shrink(times);
            }
            WindowState::Values(values) => {
                while values.front().is_some_and(|(t, _)| *t < from) {
                    values.pop_front();
                }
                shrink(values);
            }
            WindowState::Seen(seen) => {
                seen.retain(|_, t| *t >= from);
            }
            WindowState::Lag(_) => {}
        }
    }

    /// When entries that a look at `now` or later cannot see have come; none where they never go.
    pub fn seen_from(kind: &WindowKind, now: Millis) -> Option<Millis> {
        match kind {
            WindowKind::Sliding { length, offset, .. } => Some(now.saturating_sub(length.saturating_add(*offset))),
            WindowKind::FirstSeen { length } => Some(now.saturating_sub(*length)),
            WindowKind::Lag { .. } => None,
        }
    }

    /// When the first entry goes.
    pub fn next_expiry(&self, kind: &WindowKind) -> Option<Millis> {
        let (length, first) = match (self, kind) {
            (WindowState::Times(v), WindowKind::Sliding { length, offset, .. }) => {
                (length.saturating_add(*offset), v.front().copied())
            }
            (WindowState::Values(v), WindowKind::Sliding { length, offset, .. }) => {
                (length.saturating_add(*offset), v.front().map(|(t, _)| *t))
            }
            (WindowState::Seen(v), WindowKind::FirstSeen { length }) => (*length, v.values().min().copied()),
            _ => return None,
        };
        first.map(|t| t.saturating_add(length))
    }

    /// The time of the newest entry; none where there is none, or entries have no times.
    pub fn newest(&self) -> Option<Millis> {
        match self {
            WindowState::Times(v) => v.back().copied(),
            WindowState::Values(v) => v.back().map(|(t, _)| *t),
            WindowState::Lag(_) => None,
            WindowState::Seen(v) => v.values().max().copied(),
        }
    }

    /// Drops the oldest entry: a cap bit.
    pub fn drop_oldest(&mut self) {
        match self {
            WindowState::Times(v) => drop(v.pop_front()),
            WindowState::Values(v) => drop(v.pop_front()),
            WindowState::Lag(v) => drop(v.pop_front()),
            WindowState::Seen(v) => {
                if let Some(oldest) = v.iter().min_by_key(|(_, t)| **t).map(|(k, _)| k.clone()) {
                    v.remove(&oldest);
                }
            }
        }
    }

    /// How many entries it holds.
    pub fn len(&self) -> usize {
        match self {
            WindowState::Times(v) => v.len(),
            WindowState::Values(v) => v.len(),
            WindowState::Lag(v) => v.len(),
            WindowState::Seen(v) => v.len(),
        }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its value for an event of the time `now`, which may be behind the clock: what the clock has passed is gone. For `first_seen`, `asked` is
    /// the current event's value.
    pub fn read(&self, kind: &WindowKind, ty: &Type, now: Millis, clock: Millis, asked: &Value<'_>) -> Outcome {
        match (self, kind) {
            (WindowState::Times(times), WindowKind::Sliding { length, offset, .. }) => {
                let (from, to) = bounds(now, clock, *length, *offset);
                Ok(count(times.partition_point(|t| *t < to), times.partition_point(|t| *t < from)))
            }
            (WindowState::Values(values), WindowKind::Sliding { aggregate: kind, length, offset }) => {
                let (from, to) = bounds(now, clock, *length, *offset);
                let range = values.partition_point(|(t, _)| *t < from)..values.partition_point(|(t, _)| *t < to);
                let inside = values.range(range).map(|(_, v)| v.borrow()).collect();
                if *kind == Aggregate::Distinct {
                    return Ok(Value::Int(distinct(inside) as i64));
                }
                aggregate(*kind, inside, ty)
            }
            (WindowState::Lag(values), WindowKind::Lag { n }) => Ok(values
                .len()
                .checked_sub(usize::from(!bug(Bug::Lag)) + *n as usize)
                .map_or(Value::Missing, |i| values[i].clone())),
            (WindowState::Seen(seen), WindowKind::FirstSeen { length }) => Ok(if asked.is_missing() {
                Value::Missing
            } else {
                let since = |at: &Millis| now.max(clock).saturating_sub(*at);
                Value::Bool(seen.get(&*value_key(asked)).is_none_or(|at| since(at) > *length))
            }),
            _ => Ok(Value::Missing),
        }
    }
}

/// What a window is worth at `now` that counts entries of these times, ascending.
pub fn count_of(times: &[Millis], kind: &WindowKind, now: Millis, clock: Millis) -> Value<'static> {
    let WindowKind::Sliding { length, offset, .. } = kind else { return Value::Missing };
    let (from, to) = bounds(now, clock, *length, *offset);
    count(times.partition_point(|t| *t < to), times.partition_point(|t| *t < from))
}

fn count(to: usize, from: usize) -> Value<'static> {
    Value::Int(to.saturating_sub(from) as i64)
}

/// Entries from the first time to before the second count: `offset < now − at ≤ offset + length`, and without an offset also those ahead of `now`.
fn bounds(now: Millis, clock: Millis, length: Millis, offset: Millis) -> (Millis, Millis) {
    let from =
        now.max(clock).saturating_sub(offset).saturating_sub(length).saturating_add(Millis::from(bug(Bug::Window)));
    let to = if offset == 0 { Millis::MAX } else { now.saturating_sub(offset) };
    (from, to.max(from))
}

fn value_key(value: &Value<'_>) -> Box<[u8]> {
    let mut bytes = Vec::new();
    crate::key::push(&mut bytes, value, true);
    bytes.into_boxed_slice()
}

/// Gives memory back once a burst has left the window.
fn shrink<T>(values: &mut VecDeque<T>) {
    if values.capacity() > 16 && values.len() * 4 < values.capacity() {
        values.shrink_to(values.len() * 2);
    }
}
