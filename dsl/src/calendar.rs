//! Where windows begin by the clock of a time zone.
//!
//! A clock is put forward and back. Windows begin when it shows a full multiple of their length, counted from local midnight; where it is put
//! forward past one or several, one begins at that moment. Where it is put back it shows some times again: a length that is no longer than
//! that begins there again, so that windows of an hour stay an hour, and a longer one does not, so that a day begins once. What ends a
//! window is the beginning of the next, so that windows neither overlap nor leave a hole.
//!
//! All of this is laid out when a rule is checked: what is asked for an event is looked up in two short tables. They go up to [`LAST_YEAR`];
//! what is later goes by the clock as it is then. The zones are part of the program, so that every machine agrees.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

const DAY: i64 = 24 * 3_600_000;
/// Changes of clocks are known up to the end of this year.
const LAST_YEAR: i64 = 2200;
/// Where that ends, in milliseconds.
const KNOWN_UNTIL: i64 = (LAST_YEAR - 1969) * 365_2425 * DAY / 10_000;

/// The clock of a zone.
#[derive(Clone, Debug)]
struct Clock {
    /// Ascending; the first is from ever on.
    stretches: Vec<Stretch>,
}

/// A time in which a clock runs evenly.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    /// Its first moment.
    from: i64,
    /// What the clock is ahead of UTC.
    offset: i64,
    /// The latest that it had shown before.
    shown: i64,
}

/// Where windows begin by the clock of a zone. Beginnings are numbered.
#[derive(Clone)]
pub struct Calendar {
    zone: String,
    every: i64,
    origin: i64,
    clock: Clock,
    /// Ascending. INVARIANT: the first begins before the clock first changes.
    rows: Vec<Row>,
}

/// Beginnings that are evenly apart, up to the first of the next row.
#[derive(Clone, Copy, Debug)]
struct Row {
    first: i64,
    number: i64,
}

/// The zone of a name such as `Europe/Paris`.
pub fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

/// The names of all zones.
pub fn zones() -> Vec<String> {
    jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect()
}

impl Clock {
    fn new(zone: &TimeZone) -> Clock {
        let ms = |offset: jiff::tz::Offset| i64::from(offset.seconds()) * 1_000;
        let first = Stretch { from: i64::MIN, offset: ms(zone.to_offset(Timestamp::MIN)), shown: i64::MIN };
        let mut stretches = vec![first];
        for change in zone.following(Timestamp::MIN) {
            let (from, offset) = (change.timestamp().as_millisecond(), ms(change.offset()));
            if from >= KNOWN_UNTIL {
                break;
            }
            let before = stretches[stretches.len() - 1];
            if offset != before.offset {
                stretches.push(Stretch { from, offset, shown: before.shown.max(from + before.offset - 1) });
            }
        }
        Clock { stretches }
    }

    /// The latest that the clock has shown by a moment: where it is put back, it stands until it is there again.
    fn shown(&self, at: i64) -> i64 {
        let stretch = self.stretches[self.stretches.partition_point(|s| s.from <= at).saturating_sub(1)];
        at.saturating_add(stretch.offset).max(stretch.shown)
    }

    /// The first moment at which it has shown a time.
    fn first_at(&self, time: i64) -> i64 {
        let stretch = self.stretches[self.stretches.partition_point(|s| s.shown < time).saturating_sub(1)];
        time.saturating_sub(stretch.offset).max(stretch.from)
    }
}

impl Calendar {
    /// Beginnings at `origin` and every so many milliseconds from there, by the clock of a zone.
    pub fn new(zone: &TimeZone, every: i64, origin: i64) -> Arc<Calendar> {
        let clock = Clock::new(zone);
        let mut rows: Vec<Row> = Vec::new();
        // The first time from one on at which a window would begin.
        let multiple = |time: i64| (time - origin).saturating_add(every - 1).div_euclid(every) * every + origin;
        let [first, changes @ ..] = clock.stretches.as_slice() else { unreachable!("the first is from ever on") };
        let until = changes.first().map_or(0, |change| change.from + first.offset);
        rows.push(Row { first: multiple(until) - every - first.offset, number: 0 });
        let mut before = first;
        for change in changes {
            let last = rows[rows.len() - 1];
            let mut number = last.number;
            if last.first >= change.from {
                rows.pop();
            } else {
                number += (change.from - last.first + every - 1).div_euclid(every);
            }
            let (old, new) = (change.from + before.offset, change.from + change.offset);
            let mut begins = |first: i64| {
                let goes_on = |row: &Row| row.first + (number - row.number) * every == first;
                if !rows.last().is_some_and(goes_on) {
                    rows.push(Row { first, number });
                }
                number += 1;
            };
            if new > old && multiple(old) <= new {
                begins(change.from);
                begins(multiple(new + 1) - change.offset);
            } else {
                let again = old - new >= every;
                begins(multiple(if again { new } else { old }) - change.offset);
            }
            before = change;
        }
        let zone = zone.iana_name().unwrap_or("UTC").to_owned();
        Arc::new(Calendar { zone, every, origin, clock, rows })
    }

    /// The zone's name.
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// The number of the last beginning up to a moment.
    pub fn number(&self, at: i64) -> i64 {
        let i = self.rows.partition_point(|row| row.first <= at).saturating_sub(1);
        let row = self.rows[i];
        let after = at.saturating_sub(row.first).div_euclid(self.every);
        let most = self.rows.get(i + 1).map_or(i64::MAX, |next| next.number - 1 - row.number);
        row.number.saturating_add(after.min(most))
    }

    /// The beginning of a number.
    pub fn beginning(&self, number: i64) -> i64 {
        let row = self.rows[self.rows.partition_point(|row| row.number <= number).saturating_sub(1)];
        (number - row.number).saturating_mul(self.every).saturating_add(row.first)
    }

    /// The moment so long before another: whole days by the clock, what is left by time. Where the clock did not show the time of day then,
    /// it is the moment at which it was put past it; where it showed it twice, the first.
    pub fn ago(&self, at: i64, offset: i64) -> i64 {
        let (days, rest) = (offset - offset % DAY, offset % DAY);
        let then = if days == 0 { at } else { self.clock.first_at(self.clock.shown(at).saturating_sub(days)) };
        then.saturating_sub(rest)
    }

    /// The last moment of which [`Calendar::ago`] is no later than another.
    pub fn until(&self, at: i64, offset: i64) -> i64 {
        let (days, rest) = (offset - offset % DAY, offset % DAY);
        let at = at.saturating_add(rest);
        if days == 0 {
            return at;
        }
        self.clock.first_at(self.clock.shown(at).saturating_add(days).saturating_add(1)).saturating_sub(1)
    }
}

impl PartialEq for Calendar {
    fn eq(&self, other: &Self) -> bool {
        (&self.zone, self.every, self.origin) == (&other.zone, other.every, other.origin)
    }
}

impl std::fmt::Debug for Calendar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "every {} from {} in {}", self.every, self.origin, self.zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    /// The beginnings from one moment on, up to before another.
    fn check(name: &str, every: i64, from: &str, to: &str, expected: &[&str]) {
        let ms = |text: &str| text.parse::<Timestamp>().expect("a time").as_millisecond();
        let calendar = Calendar::new(&zone(name).expect("a zone"), every, 0);
        let first = calendar.number(ms(from) - 1) + 1;
        let all = (first..).map(|n| calendar.beginning(n)).take_while(|at| *at < ms(to));
        let zone = zone(name).expect("a zone");
        let local = |at: i64| Timestamp::from_millisecond(at).expect("a time").to_zoned(zone.clone());
        let all: Vec<String> = all.map(|at| local(at).strftime("%H:%M%:z").to_string()).collect();
        assert_eq!(all, expected, "{name}");
    }

    #[test]
    fn a_day_is_as_long_as_it_is() {
        let days = ["00:00+01:00", "00:00+01:00", "00:00+02:00"];
        check("Europe/Paris", DAY, "2026-03-27T23:00:00Z", "2026-03-30T00:00:00Z", &days);
        // Midnight comes twice in Havana, and not at all in Beirut.
        check("America/Havana", DAY, "2026-11-01T00:00:00Z", "2026-11-03T00:00:00Z", &["00:00-04:00", "00:00-05:00"]);
        check("Asia/Beirut", DAY, "2026-03-28T12:00:00Z", "2026-03-30T00:00:00Z", &["01:00+03:00", "00:00+03:00"]);
        // Samoa had no 30 December 2011.
        check("Pacific/Apia", DAY, "2011-12-29T00:00:00Z", "2011-12-31T00:00:00Z", &["00:00-10:00", "00:00+14:00"]);
    }

    #[test]
    fn what_a_clock_shows_twice() {
        let (from, to) = ("2026-10-24T22:00:00Z", "2026-10-25T04:00:00Z");
        let hours = ["00:00+02:00", "01:00+02:00", "02:00+02:00", "02:00+01:00", "03:00+01:00", "04:00+01:00"];
        check("Europe/Paris", HOUR, from, to, &hours);
        check("Europe/Paris", 2 * HOUR, from, to, &["00:00+02:00", "02:00+02:00", "04:00+01:00"]);
        check("Europe/Paris", 3 * HOUR, from, to, &["00:00+02:00", "03:00+01:00"]);
        // Lord Howe puts its clock back by half an hour.
        let (from, to) = ("2026-04-04T14:00:00Z", "2026-04-04T17:00:00Z");
        check("Australia/Lord_Howe", HOUR, from, to, &["01:00+11:00", "02:00+10:30", "03:00+10:30"]);
    }

    #[test]
    fn what_a_clock_passes_over() {
        let (from, to) = ("2026-03-28T23:00:00Z", "2026-03-29T03:00:00Z");
        check("Europe/Paris", HOUR, from, to, &["00:00+01:00", "01:00+01:00", "03:00+02:00", "04:00+02:00"]);
        check("Europe/Paris", 2 * HOUR, from, to, &["00:00+01:00", "03:00+02:00", "04:00+02:00"]);
        check("Europe/Paris", 160 * 60_000, from, to, &["00:00+01:00", "03:00+02:00"]);
        check("Asia/Kolkata", HOUR, "2026-03-28T23:00:00Z", "2026-03-29T01:00:00Z", &["05:00+05:30", "06:00+05:30"]);
    }

    #[test]
    fn every_moment_stands_between_two_beginnings() {
        for name in
            ["Europe/Paris", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca", "UTC"]
        {
            for every in [HOUR / 4, HOUR, 2 * HOUR, 5 * HOUR, DAY, 7 * DAY, 45 * 60_000] {
                let calendar = Calendar::new(&zone(name).expect("a zone"), every, 0);
                for i in 0..40_000i64 {
                    let at = i * 110_017_003 - 2_600_000_000_000;
                    let n = calendar.number(at);
                    assert!(calendar.beginning(n) <= at && at < calendar.beginning(n + 1), "{name} {every} {at}");
                    assert_eq!(calendar.number(calendar.beginning(n)), n);
                    for offset in [0, HOUR, DAY, 8 * DAY + HOUR] {
                        let last = calendar.until(at, offset);
                        assert!(calendar.ago(last, offset) <= at && at < calendar.ago(last + 1, offset));
                    }
                }
            }
        }
    }
}
