//! The automaton of a pattern: states in which a run waits, and what binding an event makes of it.
//!
//! A state is one place where a run waits: for one of several steps (a choice, the sides of `&`), or only for time to
//! pass. When a run binds an event it goes on as one run per [`Fork`] whose guards hold: one more element, what
//! follows, an option left out. Repetitions are counters ([`LoopId`]) and not copies of states.
//! The construction is in `compile::automaton`.

use crate::ir::StepId;

/// A state of an [`Nfa`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateId(pub u16);

/// A repetition with its counter of complete passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoopId(pub u16);

/// A register that holds the time of a limited group's first event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegisterId(pub u16);

/// The automaton of one pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct Nfa {
    /// The states.
    pub states: Vec<State>,
    /// The ways a run may begin, preferred first; each is a wait for a first event.
    pub starts: Vec<StateId>,
    /// For each loop: counters above this value make no difference to what a run may do.
    pub loops: Vec<u32>,
    /// How many registers a run holds.
    pub registers: usize,
}

impl Nfa {
    /// The state.
    pub fn state(&self, id: StateId) -> &State {
        &self.states[id.0 as usize]
    }
}

/// A place where a run waits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The steps awaited, preferred first; none: the run waits for time to pass and is complete then.
    pub leaves: Vec<Leaf>,
    /// Only the very next event of the input will do.
    pub strict: bool,
    /// The event must come this long (milliseconds) after the last one bound.
    pub gap: Option<i64>,
    /// The event must come this long after the time in the register.
    pub groups: Vec<(RegisterId, i64)>,
    /// What must not happen meanwhile.
    pub absences: Vec<Absence>,
    /// The loops whose counters tell places here apart.
    pub counted: Vec<LoopId>,
    /// Equal for states that are one place for `match last`: while a `then next not` is still to be answered, and after that.
    pub places: (u16, u16),
}

impl State {
    /// Whether a run here is complete but for an absence that has to hold.
    pub fn is_pending(&self) -> bool {
        self.leaves.is_empty()
    }
}

/// One step a state waits for.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    /// The step.
    pub step: StepId,
    /// The run stays here too when it takes an event.
    pub stays: bool,
    /// Whether elements of the step are bound already: its `until` then ends the run.
    pub again: bool,
    /// What becomes of the run, preferred first.
    pub forks: Vec<Fork>,
}

/// One way on after an event was bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Fork {
    /// Carried out in order; the first guard that fails gives the way up.
    pub instructions: Vec<Instruction>,
    /// Where it leads; `None`: the match is complete.
    pub target: Option<StateId>,
}

/// A change of, or a question about, a run's counters and registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// One more pass is complete.
    Count(LoopId),
    /// Go on if fewer passes than this are complete.
    Below(LoopId, u32),
    /// Go on if at least this many passes are complete.
    AtLeast(LoopId, u32),
    /// The loop is left: its counter is 0 again.
    Leave(LoopId),
    /// The register takes the bound event's time.
    Start(RegisterId),
    /// The register is empty again.
    Clear(RegisterId),
}

/// What must not happen while a run waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Absence {
    /// Any of these.
    pub steps: Vec<StepId>,
    /// Only the next event of the input is looked at.
    pub next: bool,
    /// Whether it stands at the end of the pattern and so holds a complete match back.
    pub last: bool,
    /// How long it lasts after the last event bound, in milliseconds; `None`: as long as the rule's `within` after the first.
    pub within: Option<i64>,
}
