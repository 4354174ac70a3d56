//! Which times a window holds: as of a look, and when an entry is past them all.

use lapwing_dsl::ir::{Reach, Window, WindowKind};
use lapwing_dsl::value::Value;

use crate::Millis;
use crate::planted::{Bug, bug};

/// A look at a window.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The time of the current event, which may be behind the clock.
    pub now: Millis,
    /// The clock: what it has passed is gone.
    pub clock: Millis,
}

/// The times that a look sees: from the first on, up to before the second. `offset < now − at ≤ offset + length`, and without an
/// offset also those ahead of `now`.
pub(super) fn times(reach: &Reach, look: Look) -> (Millis, Millis) {
    let Reach::Sliding { length, offset } = reach;
    let late = Millis::from(bug(Bug::Window));
    let from = look.now.max(look.clock).saturating_sub(*offset).saturating_sub(*length).saturating_add(late);
    let to = if *offset == 0 { Millis::MAX } else { look.now.saturating_sub(*offset) };
    (from, to.max(from))
}

/// When entries that a look at `now` or later can see have come; none where they never go.
pub fn seen_from(kind: &WindowKind, now: Millis) -> Option<Millis> {
    match kind {
        WindowKind::Over { reach: Reach::Sliding { length, offset }, .. } => {
            Some(now.saturating_sub(length.saturating_add(*offset)))
        }
        WindowKind::FirstSeen { length } => Some(now.saturating_sub(*length)),
        WindowKind::Lag { .. } => None,
    }
}

/// The last time at which an entry of a time is seen.
pub fn seen_until(kind: &WindowKind, at: Millis) -> Millis {
    match kind {
        WindowKind::Over { reach: Reach::Sliding { length, offset }, .. } => {
            at.saturating_add(length.saturating_add(*offset))
        }
        WindowKind::FirstSeen { length } => at.saturating_add(*length),
        WindowKind::Lag { .. } => Millis::MAX,
    }
}

/// The time past which no reader sees any entry, the newest of which has this time.
pub fn last_end(kind: &WindowKind, newest: Option<Millis>) -> Millis {
    match kind {
        WindowKind::Lag { .. } => Millis::MAX,
        _ => newest.map_or(Millis::MIN, |at| seen_until(kind, at)),
    }
}

/// Whether times are all that a window keeps, and all that a reader needs.
pub fn keeps_times(spec: &Window) -> bool {
    matches!(spec.kind, WindowKind::Over { reach: Reach::Sliding { .. }, .. }) && spec.args.is_empty()
}

/// What a window is worth that [`keeps_times`], with entries of these times, ascending.
pub fn count_of(entries: &[Millis], kind: &WindowKind, look: Look) -> Value<'static> {
    let WindowKind::Over { reach, .. } = kind else { return Value::Missing };
    let (from, to) = times(reach, look);
    let (from, to) = (entries.partition_point(|t| *t < from), entries.partition_point(|t| *t < to));
    Value::Int(to.saturating_sub(from) as i64)
}
