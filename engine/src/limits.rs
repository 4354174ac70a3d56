//! The caps that keep state bounded: each has a name, a default and a reason. When one bites, the oldest start goes first and the
//! alerts it may have touched say so.

/// The caps of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Live runs of one rule for one key. A thousand starts wait at once only where a rule is far too wide; each event walks them all.
    pub runs_per_key_max: usize,
    /// Entries of one window for one key.
    pub window_entries_max: usize,
    /// Where a rule's runs for a key are at least so many they are gathered, if the rule allows it; no cap bites on those.
    pub gathered_from: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { runs_per_key_max: 1_024, window_entries_max: 1_000_000, gathered_from: 256 }
    }
}

/// Which cap bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Cap {
    /// [`Limits::runs_per_key_max`]
    RunsPerKey = 1,
    /// [`Limits::window_entries_max`]
    WindowEntries = 8,
}

impl Cap {
    /// All of them.
    pub const ALL: [Cap; 2] = [Cap::RunsPerKey, Cap::WindowEntries];

    /// Its name in alerts, metrics and configuration.
    pub fn name(self) -> &'static str {
        match self {
            Cap::RunsPerKey => "runs_per_key_max",
            Cap::WindowEntries => "window_entries_max",
        }
    }
}
