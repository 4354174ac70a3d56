//! Bugs that a test may switch on, to see whether the random campaign finds them.
//!
//! Without the feature `planted-bugs` a switch is the constant `false` and costs nothing.

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// A run lives a millisecond longer than its rule's `within`.
    Deadline = 1,
    /// An event exactly at an absence's limit does not count.
    AbsenceLimit,
    /// `skip past last` spares runs that began with the match's last event.
    Skip,
    /// Of two ways the one that the quantifiers do not prefer is reported.
    Preference,
    /// `prev` is the event bound just before, whatever its step.
    Prev,
    /// Alerts of one place are not ordered by key.
    KeyOrder,
    /// `suppress 5ms` still holds an alert exactly 5 ms later.
    Suppress,
    /// An event exactly at the watermark is late.
    Watermark,
    /// `until` ends the run also before the first element.
    Until,
    /// `lag(x, n)` is the value n − 1 back.
    Lag,
    /// A saved run forgets how many elements it has.
    Snapshot,
    /// A window does not count the events at its far end.
    Window,
    /// Gathered runs outlive a match that ends them.
    Gathered,
    /// A run that is judged where it stands misses an event exactly at its limit.
    InPlace,
    /// A run is led over to a changed rule without being asked what is new in its conditions.
    Asked,
    /// A run is led over as if it had passed over no event.
    Passed,
    /// A window starts empty with every change of the rules.
    Carried,
    /// A key that time moves may leave memory.
    Evicted,
    /// Of a batch only the first key that is not in memory is asked for.
    Needed,
    /// An entry of a list does not count at its very end.
    EntryEnd,
    /// What a change took off a list or out of a table is still there.
    Gone,
    /// An event that only an absence looks for is of no use.
    Uses,
    /// An alert names the same score of a model several times.
    ScoreTwice,
    /// An alert names the scores of its last event alone.
    ScoreKept,
    /// Derived events stand behind all events of a batch.
    Derived,
    /// A session at whose close a rule fires ends a millisecond early.
    Closing,
    /// A row is left out when a window closes without an event of its key.
    Rows,
    /// What a late event makes false is not taken back.
    Retracted,
    /// A late event is counted in no window.
    Late,
    /// A save still holds keys that have gone since the one before.
    Forgotten,
    /// A save does not hear of what time did to a key.
    Untouched,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 31] = [
        Bug::Deadline,
        Bug::AbsenceLimit,
        Bug::Skip,
        Bug::Preference,
        Bug::Prev,
        Bug::KeyOrder,
        Bug::Suppress,
        Bug::Watermark,
        Bug::Until,
        Bug::Lag,
        Bug::Snapshot,
        Bug::Window,
        Bug::Gathered,
        Bug::InPlace,
        Bug::Asked,
        Bug::Passed,
        Bug::Carried,
        Bug::Evicted,
        Bug::Needed,
        Bug::EntryEnd,
        Bug::Gone,
        Bug::Uses,
        Bug::ScoreTwice,
        Bug::ScoreKept,
        Bug::Derived,
        Bug::Closing,
        Bug::Rows,
        Bug::Retracted,
        Bug::Late,
        Bug::Forgotten,
        Bug::Untouched,
    ];
}

#[cfg(feature = "planted-bugs")]
static PLANTED: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Plants one bug in the whole process, or none.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(0, |b| b as u8), std::sync::atomic::Ordering::SeqCst);
}

/// Whether this bug is planted.
#[cfg(feature = "planted-bugs")]
#[inline]
pub fn bug(bug: Bug) -> bool {
    PLANTED.load(std::sync::atomic::Ordering::Relaxed) == bug as u8
}

/// Whether this bug is planted: never.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub const fn bug(_: Bug) -> bool {
    false
}
