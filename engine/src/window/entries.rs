//! The counted events of a window, in their order: times, values, and what a reader sees of them.

use std::cell::RefCell;
use std::collections::VecDeque;

use lapwing_dsl::functions::Outcome;
use lapwing_dsl::ir::{Aggregate, Reach, Window, WindowKind};
use lapwing_dsl::value::{Type, Value};
use rust_decimal::prelude::ToPrimitive;

use super::column::{Column, insert, shrink};
use super::family::Raw;
use super::reach::{self, Look};
use super::running::Running;
use crate::Millis;
use crate::exact::{finite, float};
use crate::slot::KeyHasher;
use crate::store::codec::{Corrupt, Reader, Writer};

/// Tells fingerprints from other hashes of the same bytes.
const FINGERPRINT: u64 = 0xf1;

/// The entries of one window for one key.
#[derive(Clone, Debug)]
pub struct Entries {
    /// Ascending, of one time in processing order; or all in processing order.
    times: VecDeque<Millis>,
    column: Column,
    /// The value that the window began with, where it begins anew when that moves.
    began_with: Value<'static>,
    hasher: KeyHasher,
    /// How many entries went from the front: an entry's index counts from the first that ever was.
    first: u64,
    /// What is carried along for readers.
    running: RefCell<Running>,
}

impl Entries {
    /// Nothing yet.
    pub fn new(spec: &Window, hasher: KeyHasher) -> Entries {
        let WindowKind::Over { aggregate, reach } = &spec.kind else {
            unreachable!("only a window over events has entries")
        };
        let types: Vec<&Type> = spec.values().0.iter().map(|a| &a.ty).collect();
        let sparse = reach::is_sparse(reach);
        let carried: &[&Type] = if *aggregate == Aggregate::Count && !sparse { &[] } else { &types };
        Entries {
            times: VecDeque::new(),
            column: Column::new(*aggregate, &types, sparse, hasher),
            began_with: Value::Missing,
            hasher,
            first: 0,
            running: RefCell::new(Running::new(*aggregate, carried)),
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
        let WindowKind::Over { aggregate, reach } = &spec.kind else { return false };
        if value.is_missing() && !spec.values().0.is_empty() && !reach::is_sparse(reach) {
            return false;
        }
        let value = match aggregate {
            // What the hash of a value says, no value says better.
            Aggregate::ApproxDistinct if !value.is_missing() => {
                Value::Int(self.hasher.hash(FINGERPRINT, &super::value_key(&value)) as i64)
            }
            _ => value,
        };
        let mut anew = false;
        match reach {
            // What the clock has passed is no session any more that this event could go on with.
            Reach::Session { .. } => self.expire(&spec.kind, clock),
            Reach::Delta { percent } if !moves.is_missing() => {
                anew = reach::has_moved(&self.began_with, &moves, *percent) && !self.began_with.is_missing();
                if anew {
                    self.clear();
                }
                if anew || self.began_with.is_missing() {
                    self.began_with = moves;
                }
            }
            _ => {}
        }
        let end = self.times.len();
        let place = if reach.is_by_time() { search(end, end, |i| self.times[i] <= at) } else { end };
        insert(&mut self.times, place, at);
        self.column.insert(place, value);
        if place < end {
            self.running.get_mut().inserted(self.first + place as u64, self.first, &self.column);
        }
        if let Reach::Last { n } = reach {
            while self.times.len() > *n as usize {
                self.drop_oldest();
            }
        }
        anew
    }

    fn clear(&mut self) {
        while !self.times.is_empty() {
            self.drop_oldest();
        }
        self.shrink();
    }

    fn shrink(&mut self) {
        shrink(&mut self.times);
        self.column.shrink();
    }

    /// Drops what no reader at `now` or later can see.
    pub fn expire(&mut self, kind: &WindowKind, now: Millis) {
        if let WindowKind::Over { reach: Reach::Session { gap }, .. } = kind {
            return self.expire_sessions(*gap, now);
        }
        let Some(from) = reach::seen_from(kind, now) else { return };
        let held = self.times.len();
        while self.times.front().is_some_and(|t| *t < from) {
            self.drop_oldest();
        }
        if self.times.len() < held {
            self.shrink();
        }
    }

    /// Drops the sessions that ended before a time.
    fn expire_sessions(&mut self, gap: Millis, now: Millis) {
        let ended = |last: Millis| last.saturating_add(gap) < now;
        while self.times.front().is_some_and(|t| ended(*t)) {
            let (_, to) = self.session(0, gap, &self.running.borrow());
            if !ended(self.times[to - 1]) {
                return;
            }
            for _ in 0..to {
                self.drop_oldest();
            }
            self.shrink();
        }
    }

    /// Drops the first entry.
    pub fn drop_oldest(&mut self) {
        self.running.get_mut().dropping(self.first, &self.column);
        self.times.pop_front();
        self.column.pop_front();
        self.first += 1;
        self.running.get_mut().dropped(self.first);
    }

    /// The time of the first entry.
    pub fn oldest(&self) -> Option<Millis> {
        self.times.front().copied()
    }

    /// The time of the newest entry.
    pub fn newest(&self) -> Option<Millis> {
        self.times.back().copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The times, ascending.
    pub fn times(&self) -> impl ExactSizeIterator<Item = Millis> {
        self.times.iter().copied()
    }

    /// The value of an entry, in a form that windows which count the same events can share.
    pub fn raw(&self, i: usize) -> Raw {
        self.column.raw(i)
    }

    /// What the window is worth as of a look. Costs what has moved since the last one.
    pub fn read(&self, kind: &WindowKind, ty: &Type, look: Look) -> Outcome {
        let WindowKind::Over { aggregate, reach } = kind else { return Ok(Value::Missing) };
        let mut running = self.running.borrow_mut();
        let (lo, hi) = self.seen(reach, look, &running);
        let (from, to) = ((lo - self.first) as usize, (hi - self.first) as usize);
        let values = || (from..to).map(|i| self.column.value(i)).filter(|v| !v.is_missing());
        let value = match aggregate {
            Aggregate::First => values().next().map_or(Value::Missing, Value::into_static),
            Aggregate::Last => values().next_back().map_or(Value::Missing, Value::into_static),
            Aggregate::ListOf(n) => {
                let mut last: Vec<_> = values().rev().take(*n as usize).map(Value::into_static).collect();
                last.reverse();
                Value::List(last.into())
            }
            Aggregate::Ema(alpha) => {
                let alpha = alpha.to_f64().unwrap_or(1.0);
                let last: Vec<f64> = values().rev().take(weighing(alpha)).map(|v| float(&v)).collect();
                let average = last.into_iter().rev().reduce(|sum, v| alpha * v + (1.0 - alpha) * sum);
                average.map_or(Ok(Value::Missing), finite)?
            }
            Aggregate::Rate => self.rate(reach, look, from, to),
            _ => return running.read(*aggregate, ty, (lo, hi), self.first, &self.column),
        };
        (running.lo, running.hi) = (lo, hi);
        Ok(value)
    }

    /// Entries a second: over the window's length, or where it has none from its first entry to its last.
    fn rate(&self, reach: &Reach, look: Look, from: usize, to: usize) -> Value<'static> {
        let (events, time) = match reach {
            Reach::Sliding { .. } | Reach::Aligned { .. } => return per_second(to - from, reach, look),
            Reach::Session { .. } | Reach::Last { .. } | Reach::Delta { .. } if to - from > 1 => {
                (to - from - 1, self.times[to - 1].saturating_sub(self.times[from]))
            }
            _ => (0, 0),
        };
        rate_of(events, time)
    }

    /// The indexes of the entries that a look sees: from the first on, up to before the second.
    fn seen(&self, reach: &Reach, look: Look, running: &Running) -> (u64, u64) {
        if let Reach::Session { gap } = reach {
            let (from, to) = self.session_of(look, *gap, running).unwrap_or_default();
            return (self.first + from as u64, self.first + to as u64);
        }
        let Some((from, to)) = reach::times(reach, look) else {
            return (self.first, self.first + self.times.len() as u64);
        };
        let lo = self.find(running.lo, from);
        (lo, self.find(running.hi, to).max(lo))
    }

    /// The index of the first entry of a time or later.
    fn find(&self, hint: u64, time: Millis) -> u64 {
        let hint = hint.saturating_sub(self.first) as usize;
        self.first + search(self.times.len(), hint, |i| self.times[i] < time) as u64
    }

    /// The session that a look sees: that of the last entry up to now, if it is no further back than the gap and the clock has not
    /// passed its end; else likewise that of the next entry.
    fn session_of(&self, look: Look, gap: Millis, running: &Running) -> Option<(usize, usize)> {
        let next = (self.find(running.hi, look.now.saturating_add(1)) - self.first) as usize;
        let near = |i: &usize| self.times.get(*i).is_some_and(|t| t.abs_diff(look.now) <= gap as u64);
        let open = |(_, to): &(usize, usize)| self.times[to - 1].saturating_add(gap) >= look.clock;
        let session = |i: usize| Some(self.session(i, gap, running)).filter(open);
        let before = next.checked_sub(1).filter(near).and_then(session);
        before.or_else(|| Some(next).filter(near).and_then(session))
    }

    /// The session of an entry. What the last reader saw was one, and still hangs together: only its ends are looked at.
    fn session(&self, i: usize, gap: Millis, running: &Running) -> (usize, usize) {
        let place = |index: u64| index.saturating_sub(self.first) as usize;
        let (lo, hi) = (place(running.lo), place(running.hi).min(self.times.len()));
        let (mut from, mut to) = if (lo..hi).contains(&i) { (lo, hi) } else { (i, i + 1) };
        let joined = |i: usize| self.times[i].saturating_sub(self.times[i - 1]) <= gap;
        while to < self.times.len() && joined(to) {
            to = if to == lo && lo < hi { hi } else { to + 1 };
        }
        while from > 0 && joined(from) {
            from = if from == hi && lo < hi { lo } else { from - 1 };
        }
        (from, to)
    }

    /// Writes them.
    pub fn save(&self, w: &mut Writer, kind: &WindowKind) {
        w.list(self.times.iter(), |w, t| w.i64(*t));
        if let WindowKind::Over { reach: Reach::Delta { .. }, .. } = kind {
            w.value(&self.began_with);
        }
        self.column.save(w);
    }

    /// Reads what a window of this kind wrote.
    pub fn load(&mut self, r: &mut Reader<'_>, kind: &WindowKind) -> Result<(), Corrupt> {
        self.times = r.list(|r| r.i64())?.into();
        let by_time = matches!(kind, WindowKind::Over { reach, .. } if reach.is_by_time());
        if by_time && !self.times.iter().is_sorted() {
            return Err(Corrupt("a window's entries do not stand in their order"));
        }
        if let WindowKind::Over { reach: Reach::Delta { .. }, .. } = kind {
            self.began_with = r.value()?;
        }
        self.column.load(r, self.times.len())
    }
}

/// Entries a second over the length of a window that has one.
pub(super) fn per_second(entries: usize, reach: &Reach, look: Look) -> Value<'static> {
    match reach {
        Reach::Sliding { .. } | Reach::Aligned { .. } => rate_of(entries, reach::length_of(reach, look)),
        Reach::Session { .. } | Reach::Last { .. } | Reach::Delta { .. } => Value::Missing,
    }
}

fn rate_of(entries: usize, time: Millis) -> Value<'static> {
    if time > 0 { Value::Float(entries as f64 * 1000.0 / time as f64) } else { Value::Missing }
}

/// How many of the last values weigh anything in an exponential moving average: all before weigh less than 2⁻⁶⁰ together.
fn weighing(alpha: f64) -> usize {
    let (mut n, mut weight) = (1, 1.0 - alpha);
    while weight >= f64::EPSILON / 256.0 {
        weight *= 1.0 - alpha;
        n += 1;
    }
    n
}

/// The first of `len` places that `before` does not hold for, which holds for all before it. Looks around `hint` first: costs the logarithm of the
/// way from there.
pub(super) fn search(len: usize, hint: usize, before: impl Fn(usize) -> bool) -> usize {
    let hint = hint.min(len);
    let (mut low, mut high, mut step) = (0, len, 1);
    if hint < len && before(hint) {
        // INVARIANT: `before` holds below `low`.
        low = hint + 1;
        while hint + step < len {
            let probe = hint + step;
            if !before(probe) {
                high = probe;
                break;
            }
            low = probe + 1;
            step *= 2;
        }
    } else {
        // INVARIANT: `before` does not hold from `high` on.
        high = hint;
        while high > 0 {
            let probe = hint.saturating_sub(step);
            if before(probe) {
                low = probe + 1;
                break;
            }
            high = probe;
            step *= 2;
        }
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_finds_the_place_from_any_hint() {
        for len in 0..40 {
            for place in 0..=len {
                for hint in 0..=len + 1 {
                    assert_eq!(search(len, hint, |i| i < place), place, "of {len} from {hint}");
                }
            }
        }
    }
}
