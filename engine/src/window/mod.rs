//! What a window keeps for one key, and what it is worth at a time.
//!
//! `reach` says which times a window holds as of now, `entries` keeps the counted events and what they are worth, `column` their values,
//! `running` what is carried along as entries come into and go out of what a reader sees: a read costs what has moved since the last
//! one, whatever the window's length. What is carried along is a function of the entries seen and is not state: it is not saved.
//!
//! That is for windows that hold much of a key. `family` says which windows count the same events, and `packed` keeps what little these hold of a key
//! together.

mod column;
mod entries;
mod extreme;
pub mod family;
mod interned;
pub mod packed;
mod reach;
mod running;
mod sorted;

use std::collections::{BTreeMap, VecDeque};

use lapwing_dsl::functions::Outcome;
use lapwing_dsl::ir::{Reach, Window, WindowKind};
use lapwing_dsl::value::Value;

use crate::Millis;
use crate::planted::{Bug, bug};
use crate::slot::KeyHasher;
use crate::store::codec::{Corrupt, Reader, Writer};

pub use self::entries::Entries;
pub use self::reach::{Look, last_end, next_close, open_at, seen_from, seen_until};

/// The state of one window for one key.
#[derive(Clone, Debug)]
pub enum WindowState {
    /// Counted events.
    Entries(Box<Entries>),
    /// The last values, newest at the end: the current one and `n` before it.
    Lag(VecDeque<Value<'static>>),
    /// The greatest time at which each value was seen.
    Seen(BTreeMap<Box<[u8]>, Millis>),
}

impl WindowState {
    /// Nothing yet.
    pub fn new(spec: &Window, hasher: KeyHasher) -> Self {
        match &spec.kind {
            WindowKind::Over { .. } => WindowState::Entries(Box::new(Entries::new(spec, hasher))),
            WindowKind::Lag { .. } => WindowState::Lag(VecDeque::new()),
            WindowKind::FirstSeen { .. } => WindowState::Seen(BTreeMap::new()),
        }
    }

    /// Counts an event; `moves` is the value whose moves begin the window anew. True where it has begun anew.
    pub fn add(
        &mut self,
        spec: &Window,
        at: Millis,
        clock: Millis,
        value: Value<'static>,
        moves: Value<'static>,
    ) -> bool {
        match self {
            WindowState::Entries(entries) => return entries.add(spec, at, clock, value, moves),
            WindowState::Lag(values) => {
                values.push_back(value);
                let WindowKind::Lag { n } = &spec.kind else { return false };
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
        false
    }

    /// Drops what no reader at `now` or later can see.
    pub fn expire(&mut self, kind: &WindowKind, now: Millis) {
        match self {
            WindowState::Entries(entries) => entries.expire(kind, now),
            WindowState::Seen(seen) => {
                let Some(from) = seen_from(kind, now) else { return };
                seen.retain(|_, t| *t >= from);
            }
            WindowState::Lag(_) => {}
        }
    }

    /// When the first entry goes; of a session, when all do if nothing follows.
    pub fn next_expiry(&self, kind: &WindowKind) -> Option<Millis> {
        let session = matches!(kind, WindowKind::Over { reach: Reach::Session { .. }, .. });
        let first = match self {
            WindowState::Entries(entries) if session => entries.newest(),
            WindowState::Entries(entries) => entries.oldest(),
            WindowState::Seen(seen) => seen.values().min().copied(),
            WindowState::Lag(_) => None,
        };
        first.map(|at| seen_until(kind, at)).filter(|t| *t < Millis::MAX)
    }

    /// The time of the newest entry; none where there is none, or entries have no times.
    pub fn newest(&self) -> Option<Millis> {
        match self {
            WindowState::Entries(entries) => entries.newest(),
            WindowState::Lag(_) => None,
            WindowState::Seen(v) => v.values().max().copied(),
        }
    }

    /// Drops the oldest entry: a cap bit.
    pub fn drop_oldest(&mut self) {
        match self {
            WindowState::Entries(entries) => entries.drop_oldest(),
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
            WindowState::Entries(entries) => entries.len(),
            WindowState::Lag(v) => v.len(),
            WindowState::Seen(v) => v.len(),
        }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its value as of a look. For `first_seen`, `asked` is the current event's value.
    pub fn read(&self, spec: &Window, look: Look, asked: &Value<'_>) -> Outcome {
        match (self, &spec.kind) {
            (WindowState::Entries(entries), kind) => entries.read(kind, &spec.ty, look),
            (WindowState::Lag(values), WindowKind::Lag { n }) => Ok(values
                .len()
                .checked_sub(usize::from(!bug(Bug::Lag)) + *n as usize)
                .map_or(Value::Missing, |i| values[i].clone())),
            (WindowState::Seen(seen), WindowKind::FirstSeen { length }) => Ok(if asked.is_missing() {
                Value::Missing
            } else {
                let since = |at: &Millis| look.now.max(look.clock).saturating_sub(*at);
                Value::Bool(seen.get(&*value_key(asked)).is_none_or(|at| since(at) > *length))
            }),
            _ => Ok(Value::Missing),
        }
    }

    /// Writes it.
    pub fn save(&self, w: &mut Writer, kind: &WindowKind) {
        match self {
            WindowState::Entries(entries) => entries.save(w, kind),
            WindowState::Lag(values) => w.list(values.iter(), |w, v| w.value(v)),
            WindowState::Seen(seen) => w.list(seen.iter(), |w, (k, t)| {
                w.slice(k);
                w.i64(*t);
            }),
        }
    }

    /// Reads what a window of this kind wrote.
    pub fn load(r: &mut Reader<'_>, spec: &Window, hasher: KeyHasher) -> Result<WindowState, Corrupt> {
        let mut state = WindowState::new(spec, hasher);
        match &mut state {
            WindowState::Entries(entries) => entries.load(r, &spec.kind)?,
            WindowState::Lag(values) => *values = r.list(|r| r.value())?.into(),
            WindowState::Seen(seen) => {
                *seen = r.list(|r| Ok((r.slice()?.into(), r.i64()?)))?.into_iter().collect();
            }
        }
        Ok(state)
    }
}

fn value_key(value: &Value<'_>) -> Box<[u8]> {
    let mut bytes = Vec::new();
    crate::key::push(&mut bytes, value, true);
    bytes.into_boxed_slice()
}
