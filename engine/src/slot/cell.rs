//! What a slot holds beside records of runs, and a rule's share of it, taken out to be moved.

use crate::Millis;
use crate::limits::Cap;
use crate::output::Match;
use crate::run::Run;
use crate::state::starts::Starts;
use crate::window::WindowState;

/// What only some keys hold.
#[derive(Clone, Debug, Default)]
pub struct SlotMore {
    /// What windows hold.
    pub windows: Vec<WindowCell>,
    /// What rules hold beside runs.
    pub cells: Vec<(u32, CellMore)>,
    /// The runs of rules that have many, gathered.
    pub starts: Vec<(u32, Starts)>,
}

/// About what an entry of a window takes: its time, and a value.
const ENTRY_BYTES: usize = 24;
/// About what a gathered run takes.
const START_BYTES: usize = 64;
/// About what an alert takes that may still change.
const MATCH_BYTES: usize = 512;

impl SlotMore {
    /// About how many bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        let windows = self.windows.iter().map(|w| size_of::<WindowCell>() + w.state.len() * ENTRY_BYTES);
        let matches = |more: &CellMore| (more.candidates.len() + more.open.len()) * MATCH_BYTES;
        let cells = self.cells.iter().map(|(_, more)| size_of::<CellMore>() + matches(more));
        let starts = self.starts.iter().map(|(_, starts)| size_of::<Starts>() + starts.len() * START_BYTES);
        size_of::<SlotMore>() + windows.chain(cells).chain(starts).sum::<usize>()
    }

    /// The gathered runs of a rule.
    pub fn starts_of(&mut self, rule: u32) -> Option<&mut Starts> {
        self.starts.iter_mut().find(|(r, _)| *r == rule).map(|(_, starts)| starts)
    }
}

/// What one rule holds of a key, taken out to be moved.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// Index of the rule.
    pub rule: u32,
    /// Live runs.
    pub runs: Vec<Run>,
    /// What few cells need.
    pub more: Option<CellMore>,
}

/// What a rule that reports late, or whose cap bit, holds beside runs.
#[derive(Clone, Debug, Default)]
pub struct CellMore {
    /// `report final`: for each beginning its best complete match so far, ascending by beginning.
    pub candidates: Vec<Candidate>,
    /// `report updates`: alerts that may grow.
    pub open: Vec<OpenAlert>,
    /// The caps that bit, and until when that may matter.
    pub capped: Capped,
}

impl CellMore {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty() && self.open.is_empty() && self.capped.caps == 0
    }
}

/// A complete match that a preferred one may still replace.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Number of its first event.
    pub first_sequence: u64,
    /// Number of its last event.
    pub last_sequence: u64,
    /// The ways taken, in order.
    pub ranks: Vec<u16>,
    /// Numbers of its events with their steps, in order.
    pub bindings: Vec<(u16, u64)>,
    /// The alert as of its last event.
    pub body: Box<Match>,
}

/// An alert that may be revised.
#[derive(Clone, Debug)]
pub struct OpenAlert {
    /// The tag of the runs that may revise it.
    pub tag: u32,
    /// The last revision.
    pub body: Box<Match>,
}

/// What one window holds of a key.
#[derive(Clone, Debug)]
pub struct WindowCell {
    /// Index of the window.
    pub window: u32,
    /// Its content.
    pub state: WindowState,
    /// Until when entries that the cap took would have counted.
    pub lost_until: Millis,
}

/// What becomes of a run where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays as it is.
    Kept,
    /// It waits on, and has seen an event.
    Waits,
    /// It goes.
    Gone,
    /// It is taken out with the others of its rule: there is more to be done.
    TakenOut,
}

/// Which caps bit, as a bit set of [`Cap`], and the last deadline of what they took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capped {
    /// The caps.
    pub caps: u8,
    /// The last deadline.
    pub until: Millis,
}

impl Capped {
    /// A cap bit: it may matter until then.
    pub fn add(&mut self, cap: Cap, until: Millis) {
        self.until = if self.caps == 0 { until } else { self.until.max(until) };
        self.caps |= cap as u8;
    }

    /// The caps that may have changed what is reported at a time.
    pub fn at(&self, at: Millis) -> u8 {
        if at <= self.until { self.caps } else { 0 }
    }

    /// Forgets caps that no longer matter.
    pub fn forget(&mut self, now: Millis) {
        if self.until < now {
            self.caps = 0;
        }
    }
}
