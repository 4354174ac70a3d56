//! `[engine]`

use std::time::Duration;

use lapwing_engine::order::Order;

use super::kinds::{OneOf, optional, or, size, time, whole};

/// A hundred years: longer than any stream, and far from where sums of times overflow.
pub(super) const LONGEST_MS: u64 = 36_525 * 86_400_000;

section! {
    /// How events are put in order and judged.
    Engine {
        /// How many threads judge. No alert depends on it.
        threads: u16 = or(whole(1..=256), "1");
        /// How events are put in order: by their time, or as they come.
        order: Order = or(OneOf(&[("event-time", Order::EventTime), ("arrival", Order::Arrival)]), "event-time");
        /// How far behind the greatest time of its partition an event may come.
        lateness: Duration = or(time(0..=LONGEST_MS), "0s");
        /// Events whose time is this far ahead of the clock are put aside; where it is left out, none are.
        max_ahead: Option<Duration> = optional(time(0..=LONGEST_MS));
        /// Where no event comes for this long, time goes on as the clock does: what waits for it becomes due.
        idle_after: Duration = or(time(1..=LONGEST_MS), "5s");
        /// What the state of keys may take in memory; colder keys then go to disk.
        memory: u64 = or(size(16 << 20..=1 << 50), "1GiB");
    }
}
