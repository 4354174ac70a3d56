//! `[save]`

use std::time::Duration;

use super::kinds::{or, time};

section! {
    /// How often the state is saved.
    Save {
        /// Time between two saves. After a crash, as much is judged again.
        every: Duration = or(time(100..=86_400_000), "10s");
    }
}
