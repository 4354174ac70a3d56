//! Calendar windows in a zone: every time that the clock would have to show is looked up in the zone.

use jiff::civil::{DateTime, date};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use lapwing_dsl::syntax::ast::{Window, WindowKind};

const DAY: i64 = 86_400_000;

/// What windows of a kind have in common.
#[derive(Clone, Debug)]
pub struct Shape {
    /// In milliseconds.
    pub length: i64,
    /// From one beginning to the next.
    pub every: i64,
    /// A time at which one begins.
    origin: i64,
    /// The zone whose clock counts.
    zone: Option<String>,
}

impl Shape {
    /// Of a window of the calendar.
    pub fn of(window: &Window) -> Option<Shape> {
        let zone = window.zone.as_ref().map(|z| z.value.clone());
        let (length, every) = match &window.kind {
            WindowKind::Tumbling(length) => (length.ms, length.ms),
            WindowKind::Hopping(length, every) => (length.ms, every.ms),
            _ => return None,
        };
        // Weeks begin on Mondays; 1970 began on a Thursday.
        let weeks = matches!(window.kind, WindowKind::Tumbling(_)) && length % (7 * DAY) == 0;
        Some(Shape { length, every, origin: if weeks { 4 * DAY } else { 0 }, zone })
    }

    /// The windows that hold a time, as their first moments and the moments past their last, in the order in which they close.
    pub fn holding(&self, at: i64) -> Vec<(i64, i64)> {
        let all = match &self.zone {
            Some(zone) => {
                let begins = self.beginnings(&TimeZone::get(zone).expect("a zone that is known"), at);
                let steps = (self.length / self.every) as usize;
                begins.windows(steps + 1).map(|w| (w[0], w[steps])).collect()
            }
            None => {
                let mut first = self.origin + (at - self.origin).div_euclid(self.every) * self.every;
                let mut all = Vec::new();
                while first + self.length > at {
                    all.insert(0, (first, first + self.length));
                    first -= self.every;
                }
                all
            }
        };
        all.into_iter().filter(|(first, end)| *first <= at && at < *end).collect()
    }

    /// The beginnings around a time, ascending.
    fn beginnings(&self, zone: &TimeZone, at: i64) -> Vec<i64> {
        let around = self.length + self.every + 2 * DAY;
        let mut local = self.origin + (at - around - self.origin).div_euclid(self.every) * self.every;
        let mut begins = Vec::new();
        while local <= at + around {
            let shown = civil(local);
            match zone.to_ambiguous_timestamp(shown).offset() {
                AmbiguousOffset::Unambiguous { offset } => begins.push(moment(shown, offset)),
                // Put forward past it.
                AmbiguousOffset::Gap { after, .. } => begins.push(next_change(zone, moment(shown, after))),
                AmbiguousOffset::Fold { before, after } => {
                    begins.push(moment(shown, before));
                    // Shown twice; it begins twice where as much as its length comes twice.
                    if i64::from(before.seconds() - after.seconds()) * 1_000 >= self.every {
                        begins.push(moment(shown, after));
                    }
                }
            }
            local += self.every;
        }
        begins.sort_unstable();
        begins.dedup();
        begins
    }

    /// The time so long before another: whole days by the clock.
    pub fn ago(&self, at: i64, offset: i64) -> i64 {
        let (days, rest) = (offset / DAY, offset % DAY);
        let Some(zone) = self.zone.as_ref().filter(|_| days > 0) else { return at - offset };
        let zone = TimeZone::get(zone).expect("a zone that is known");
        let now = Timestamp::from_millisecond(at).expect("a time of today").to_zoned(zone.clone());
        let shown = match zone.to_ambiguous_timestamp(now.datetime()).offset() {
            // In an hour that comes for the second time the clock stands at its end.
            AmbiguousOffset::Fold { before, after } if now.offset() == after => {
                let change = zone.preceding(at_ms(at + 1)).next().expect("it was put back").timestamp();
                before.to_datetime(change).saturating_sub(SignedDuration::from_millis(1))
            }
            _ => now.datetime(),
        };
        let then = shown.saturating_sub(SignedDuration::from_hours(24 * days));
        let then = match zone.to_ambiguous_timestamp(then).offset() {
            AmbiguousOffset::Unambiguous { offset } => moment(then, offset),
            AmbiguousOffset::Gap { after, .. } => next_change(&zone, moment(then, after)),
            AmbiguousOffset::Fold { before, .. } => moment(then, before),
        };
        then - rest
    }
}

fn at_ms(at: i64) -> Timestamp {
    Timestamp::from_millisecond(at).expect("a time of today")
}

/// The time that so many milliseconds after the midnight of 1970 are, on any clock.
fn civil(local: i64) -> DateTime {
    date(1970, 1, 1).at(0, 0, 0, 0).saturating_add(SignedDuration::from_millis(local))
}

fn moment(shown: DateTime, offset: jiff::tz::Offset) -> i64 {
    offset.to_timestamp(shown).expect("a time of today").as_millisecond()
}

/// When the clock is next changed.
fn next_change(zone: &TimeZone, at: i64) -> i64 {
    zone.following(at_ms(at)).next().expect("it is put forward").timestamp().as_millisecond()
}
