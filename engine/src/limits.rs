//! The caps that keep state bounded: each has a name, a default and a reason. When one bites, the oldest start goes first and the
//! alerts it may have touched say so.

use lapwing_dsl::explain::Caps;
use lapwing_dsl::value::Value;

use crate::Millis;
use crate::bound::BoundEvent;
use crate::state::record;

/// The caps of an engine. Those of more than one key are counted in each key group (a 256th of the keys), so that they bite alike on any
/// number of threads; the group of pinned rules has 256 times as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Live runs of one rule for one key. A thousand starts wait at once only where a rule is far too wide; each event walks them all.
    pub runs_per_key_max: usize,
    /// Live runs of one rule in a key group.
    pub runs_per_rule_max: usize,
    /// Live runs of all rules in a key group.
    pub runs_max: usize,
    /// Where a rule's runs for a key are at least so many they are gathered, if the rule allows it; then no event walks them, and only
    /// the next cap bites.
    pub gathered_from: usize,
    /// Gathered runs of one rule for one key.
    pub gathered_per_key_max: usize,
    /// Entries of one window for one key.
    pub window_entries_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            runs_per_key_max: 1_024,
            runs_per_rule_max: 65_536,
            runs_max: 262_144,
            gathered_from: 256,
            gathered_per_key_max: 1 << 25,
            window_entries_max: 1_000_000,
        }
    }
}

impl Limits {
    /// The caps that bound a rule, with what a run and what it has bound take in this engine's memory.
    pub fn explained(&self) -> Caps {
        Caps {
            runs_per_key_max: self.runs_per_key_max,
            window_entries_max: self.window_entries_max,
            run_bytes: size_of::<u64>() * record::LONGEST_BARE,
            event_bytes: size_of::<BoundEvent>(),
            value_bytes: size_of::<Value<'static>>(),
            key_bytes: size_of::<u64>() * crate::slot::HEAD + crate::state::table::ENTRY_BYTES,
            entry_bytes: size_of::<Millis>(),
        }
    }
}

/// Which cap bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Cap {
    /// [`Limits::runs_per_key_max`]
    RunsPerKey = 1,
    /// [`Limits::runs_per_rule_max`]
    RunsPerRule = 2,
    /// [`Limits::runs_max`]
    Runs = 4,
    /// [`Limits::window_entries_max`]
    WindowEntries = 8,
    /// [`Limits::gathered_per_key_max`]
    GatheredPerKey = 16,
}

impl Cap {
    /// All of them.
    pub const ALL: [Cap; 5] = [Cap::RunsPerKey, Cap::RunsPerRule, Cap::Runs, Cap::WindowEntries, Cap::GatheredPerKey];

    /// Its name in alerts, metrics and configuration.
    pub fn name(self) -> &'static str {
        match self {
            Cap::RunsPerKey => "runs_per_key_max",
            Cap::RunsPerRule => "runs_per_rule_max",
            Cap::Runs => "runs_max",
            Cap::WindowEntries => "window_entries_max",
            Cap::GatheredPerKey => "gathered_per_key_max",
        }
    }
}
