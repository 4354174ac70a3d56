//! Which times a window holds: as of a look, and when an entry is past them all.

use lapwing_dsl::ir::{Reach, WindowKind};
use lapwing_dsl::value::Value;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::Millis;
use crate::exact::{float, int};
use crate::planted::{Bug, bug};

/// A look at a window.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The time of the current event, which may be behind the clock.
    pub now: Millis,
    /// The clock: what it has passed is gone.
    pub clock: Millis,
}

/// The times that a look sees, where they alone say it: from the first on, up to before the second.
///
/// - Sliding: `offset < now − at ≤ offset + length`, and without an offset also those ahead of `now`.
/// - Aligned: the window of now, or of the clock where that is ahead; with an offset as it was then, what came later left out.
pub(super) fn times(reach: &Reach, look: Look) -> Option<(Millis, Millis)> {
    let late = Millis::from(bug(Bug::Window));
    let latest = look.now.max(look.clock);
    let (from, to) = match reach {
        Reach::Sliding { length, offset } => {
            let to = if *offset == 0 { Millis::MAX } else { look.now.saturating_sub(*offset) };
            (latest.saturating_sub(length.saturating_add(*offset)), to)
        }
        Reach::Aligned { offset, .. } => {
            let (from, end) = window(reach, oldest_open(reach, ago(reach, latest)));
            (from, if *offset == 0 { end } else { ago(reach, look.now).min(end) })
        }
        Reach::Session { .. } | Reach::Last { .. } | Reach::Delta { .. } => return None,
    };
    let from = from.saturating_add(late);
    Some((from, to.max(from)))
}

/// The number of that aligned window that holds a time and closes first. Windows are numbered by their beginnings.
fn oldest_open(reach: &Reach, at: Millis) -> i64 {
    let Reach::Aligned { length, every, origin, calendar, .. } = reach else { return 0 };
    match calendar {
        // The first beginning later than a whole length ago.
        None => at.saturating_sub(*length).saturating_sub(*origin).div_euclid(*every).saturating_add(1),
        Some(calendar) => calendar.number(at).saturating_add(1).saturating_sub(length / every),
    }
}

/// An aligned window by its number: its beginning, and its end, which is the first moment past it.
fn window(reach: &Reach, number: i64) -> (Millis, Millis) {
    let Reach::Aligned { length, every, origin, calendar, .. } = reach else { return (Millis::MAX, Millis::MAX) };
    match calendar {
        None => {
            let begin = number.saturating_mul(*every).saturating_add(*origin);
            (begin, begin.saturating_add(*length))
        }
        Some(calendar) => (calendar.beginning(number), calendar.beginning(number.saturating_add(length / every))),
    }
}

/// The time that an aligned window of now is about.
fn ago(reach: &Reach, now: Millis) -> Millis {
    match reach {
        Reach::Aligned { offset: 0, .. } => now,
        Reach::Aligned { offset, calendar: Some(calendar), .. } => calendar.ago(now, *offset),
        Reach::Aligned { offset, .. } => now.saturating_sub(*offset),
        _ => now,
    }
}

/// The length of the aligned window that a look sees, which in a zone may be an hour more or less than the others.
pub(super) fn length_of(reach: &Reach, look: Look) -> Millis {
    match reach {
        Reach::Sliding { length, .. } | Reach::Aligned { length, calendar: None, .. } => *length,
        _ => {
            let (begin, end) = window(reach, oldest_open(reach, ago(reach, look.now.max(look.clock))));
            end.saturating_sub(begin)
        }
    }
}

/// The aligned windows that hold a time, as their first and last moments, in the order in which they close.
pub fn open_at(reach: &Reach, at: Millis) -> impl Iterator<Item = (Millis, Millis)> {
    let all = (oldest_open(reach, at)..).map(|number| window(reach, number));
    all.take_while(move |(begin, _)| *begin <= at).map(|(begin, end)| (begin, end.saturating_sub(1)))
}

/// The first moment at or after a time that is the last of an aligned window, with the window's first.
pub fn next_close(reach: &Reach, from: Millis) -> Option<(Millis, Millis)> {
    open_at(reach, from).next()
}

/// When entries that a look at `now` or later can see have come; none where their times do not say it.
pub fn seen_from(kind: &WindowKind, now: Millis) -> Option<Millis> {
    match kind {
        WindowKind::Over { reach: Reach::Sliding { length, offset }, .. } => {
            Some(now.saturating_sub(length.saturating_add(*offset)))
        }
        WindowKind::Over { reach: reach @ Reach::Aligned { .. }, .. } => {
            Some(window(reach, oldest_open(reach, ago(reach, now))).0)
        }
        WindowKind::Over { .. } => None,
        WindowKind::FirstSeen { length } => Some(now.saturating_sub(*length)),
        WindowKind::Lag { .. } => None,
    }
}

/// The last time at which an entry of a time is seen; of a session at which one that nothing follows is.
pub fn seen_until(kind: &WindowKind, at: Millis) -> Millis {
    let WindowKind::Over { reach, .. } = kind else {
        return match kind {
            WindowKind::FirstSeen { length } => at.saturating_add(*length),
            _ => Millis::MAX,
        };
    };
    match reach {
        Reach::Sliding { length, offset } => at.saturating_add(length.saturating_add(*offset)),
        Reach::Aligned { length, every, origin, offset, calendar: None } => {
            let last = at.saturating_sub(*origin).div_euclid(*every).saturating_mul(*every).saturating_add(*origin);
            last.saturating_add(length.saturating_add(*offset)).saturating_sub(1)
        }
        Reach::Aligned { offset, calendar: Some(calendar), .. } => {
            let (_, end) = window(reach, calendar.number(at));
            calendar.until(end.saturating_sub(1), *offset)
        }
        Reach::Session { gap } => at.saturating_add(*gap),
        Reach::Last { .. } | Reach::Delta { .. } => Millis::MAX,
    }
}

/// The time past which no reader sees any entry, the newest of which has this time.
pub fn last_end(kind: &WindowKind, newest: Option<Millis>) -> Millis {
    match (kind, newest) {
        (WindowKind::Lag { .. }, _) => Millis::MAX,
        (_, newest) => newest.map_or(Millis::MIN, |at| seen_until(kind, at)),
    }
}

/// Whether an event that has no value is an entry too: it goes on with a session, and is one of the last.
pub(super) fn is_sparse(reach: &Reach) -> bool {
    matches!(reach, Reach::Session { .. } | Reach::Last { .. } | Reach::Delta { .. })
}

/// Whether a value has moved by so many percent.
pub(super) fn has_moved(from: &Value<'_>, to: &Value<'_>, percent: Decimal) -> bool {
    if let (Value::Float(_), _) | (_, Value::Float(_)) = (from, to) {
        let (a, b) = (float(from), float(to));
        return a != b && (b - a).abs() * 100.0 >= percent.to_f64().unwrap_or(0.0) * a.abs();
    }
    let exact = |v: &Value<'_>| if let Value::Decimal(v) = v { *v } else { Decimal::from(int(v)) };
    let (a, b) = (exact(from), exact(to));
    let by = b.checked_sub(a).and_then(|by| by.abs().checked_mul(Decimal::ONE_HUNDRED));
    let least = a.abs().checked_mul(percent);
    // What is too large for a decimal has moved far.
    a != b && by.zip(least).is_none_or(|(by, least)| by >= least)
}
