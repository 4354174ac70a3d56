//! `[epoch]`

use std::time::Duration;

use super::kinds::{or, size, time};

section! {
    /// How often alerts, places and journal are committed together.
    Epoch {
        /// The longest time between two commits while events come.
        every: Duration = or(time(10..=600_000), "1s");
        /// A commit is made early when its alerts and journal have this size.
        bytes_max: u64 = or(size(64 << 10..=1 << 30), "16MiB");
    }
}
