//! `[http]`

use std::time::Duration;

use super::kinds::{or, size, time, whole};

section! {
    /// What the HTTP side takes.
    Http {
        /// The largest body of a request.
        body_bytes_max: u64 = or(size(1 << 10..=1 << 30), "16MiB");
        /// The longest event in a body of lines.
        line_bytes_max: u64 = or(size(1 << 10..=1 << 30), "8MiB");
        /// How many connections are kept at once; who comes then waits.
        connections_max: u32 = or(whole(1..=1_000_000), "1024");
        /// A connection that has not sent its header by then is closed.
        header_timeout: Duration = or(time(100..=600_000), "10s");
    }
}
