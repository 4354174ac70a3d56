//! `[log]`

use std::path::PathBuf;
use std::time::Duration;

use super::engine::LONGEST_MS;
use super::kinds::{or, path, size, tables, time};

section! {
    /// The embedded log, which keeps events and alerts where there is no Kafka.
    Log {
        /// A file of the log is closed, and the next begun, at this size.
        segment_bytes: u64 = or(size(1 << 20..=1 << 40), "128MiB");
        /// How long events are kept once they were judged.
        retain_for: Duration = or(time(1_000..=LONGEST_MS), "7d");
        /// The most that is kept; the oldest goes first.
        retain_bytes: u64 = or(size(1 << 20..=1 << 60), "10GiB");
        /// The longest that an append waits for others before all are made durable together; at 0s only until the one before is.
        sync_every: Duration = or(time(0..=10_000), "0s");
        /// Files that events are read from, beside those that come by HTTP.
        source: Vec<Source> = tables();
    }
}

section! {
    /// Files that events are read from.
    Source {
        /// A file of JSON lines, or a folder of them, to which lines are appended while the service runs.
        path: PathBuf = path();
    }
}
