//! Runs: partial matches, and how an event or time moves them.
//!
//! `step` offers an event to the runs of one rule for one key and begins new ones; `select` decides which complete matches
//! are reported and what that ends; `report` turns a match into what leaves the engine.

pub mod closing;
pub mod report;
pub mod revise;
pub mod select;
pub mod step;

use std::cmp::Ordering;

use lapwing_dsl::nfa::{Instruction, Nfa, State, StateId};
use lapwing_dsl::program::Program;

use crate::Millis;
use crate::bound::{BoundEvents, BoundId};
use crate::planted::{Bug, bug};

/// A partial match: the place where it waits and the events bound so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Where it waits.
    pub state: StateId,
    /// Which of the ways on it took after its last event.
    pub rank: u16,
    /// Whether it has seen no event since it came here.
    pub fresh: bool,
    /// The last event bound.
    pub last: BoundId,
    /// Passes of the pattern's only loop.
    pub count: u32,
    /// Time of the first event.
    pub first_at: Millis,
    /// Number of the first event.
    pub first_sequence: u64,
    /// It ends when time is past this; a run that waits only for time is complete then.
    pub deadline: Millis,
    /// What few runs need.
    pub more: Option<Box<RunMore>>,
}

/// What few runs need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunMore {
    /// Passes of each loop, where the pattern has more than one loop or registers.
    pub counts: Vec<u32>,
    /// Time of each limited group's first event.
    pub registers: Vec<Option<Millis>>,
    /// `report updates`: the alert it may revise. With a `lateness`: that of a match that a late event may take back, or
    /// [`SETTLED`](revise::SETTLED). 0: none.
    pub tag: u32,
    /// The version of the rule it began under, where that is not the present one.
    pub started_version: Option<u32>,
}

impl Run {
    /// `report updates`: the alert it may revise; 0: none.
    pub fn tag(&self) -> u32 {
        self.more.as_ref().map_or(0, |m| m.tag)
    }

    /// Ties it to an alert that it may revise.
    pub fn set_tag(&mut self, tag: u32) {
        self.more.get_or_insert_default().tag = tag;
    }

    /// The version of the rule it began under, where that is not the present one.
    pub fn started_version(&self) -> Option<u32> {
        self.more.as_ref().and_then(|m| m.started_version)
    }

    /// The match that it is, complete.
    pub fn complete(self, deadline: Option<Millis>) -> Complete {
        Complete {
            state: self.state,
            first_at: self.first_at,
            first_sequence: self.first_sequence,
            last: self.last,
            rank: self.rank,
            tag: self.tag(),
            deadline,
            started_version: self.started_version(),
        }
    }
}

impl Complete {
    /// The run that stays behind a match that time completed, until a time. It holds the last event once more.
    pub fn settled(&self, tag: u32, until: Millis, nfa: &Nfa, bound: &mut BoundEvents) -> Run {
        bound.hold(self.last);
        let mut run = Run {
            state: self.state,
            rank: self.rank,
            fresh: false,
            last: self.last,
            count: 0,
            first_at: self.first_at,
            first_sequence: self.first_sequence,
            deadline: until,
            more: None,
        };
        Memory::new(nfa).store(&mut run);
        let more = run.more.get_or_insert_default();
        (more.tag, more.started_version) = (tag, self.started_version);
        run
    }
}

/// The values of a run's counters and registers, while they change.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    count: u32,
    more: Option<Box<RunMore>>,
}

impl Memory {
    /// All zero.
    pub fn new(nfa: &Nfa) -> Memory {
        let simple = nfa.loops.len() <= 1 && nfa.registers == 0;
        let more =
            || RunMore { counts: vec![0; nfa.loops.len()], registers: vec![None; nfa.registers], ..RunMore::default() };
        Memory { count: 0, more: (!simple).then(|| Box::new(more())) }
    }

    /// A run's.
    pub fn of(run: &Run) -> Memory {
        Memory { count: run.count, more: run.more.clone() }
    }

    fn count_mut(&mut self, i: u16) -> &mut u32 {
        match &mut self.more {
            Some(more) if !more.counts.is_empty() => &mut more.counts[i as usize],
            _ => &mut self.count,
        }
    }

    /// Passes of a loop.
    pub fn count(&self, i: u16) -> u32 {
        match &self.more {
            Some(more) if !more.counts.is_empty() => more.counts[i as usize],
            _ => self.count,
        }
    }

    /// Carries instructions out; `false` where a guard fails.
    pub fn carry_out(&mut self, instructions: &[Instruction], nfa: &Nfa, at: Millis) -> bool {
        for instruction in instructions {
            match *instruction {
                Instruction::Count(l) => {
                    let cap = nfa.loops[l.0 as usize] + 1;
                    let count = self.count_mut(l.0);
                    *count = (*count + 1).min(cap);
                }
                Instruction::Below(l, n) => {
                    if self.count(l.0) >= n {
                        return false;
                    }
                }
                Instruction::AtLeast(l, n) => {
                    if self.count(l.0) < n {
                        return false;
                    }
                }
                Instruction::Leave(l) => *self.count_mut(l.0) = 0,
                Instruction::Start(r) => {
                    if let Some(more) = &mut self.more {
                        more.registers[r.0 as usize].get_or_insert(at);
                    }
                }
                Instruction::Clear(r) => {
                    if let Some(more) = &mut self.more {
                        more.registers[r.0 as usize] = None;
                    }
                }
            }
        }
        true
    }

    /// Puts the values into a run.
    pub fn store(self, run: &mut Run) {
        run.count = self.count;
        run.more = self.more;
    }

    fn register(&self, i: u16) -> Option<Millis> {
        self.more.as_ref().and_then(|m| m.registers.get(i as usize).copied().flatten())
    }

    /// When a run in `state` with these values ends, or is complete.
    pub fn deadline(&self, program: &Program, state: &State, first_at: Millis, last_at: Millis) -> Millis {
        let longer = Millis::from(bug(Bug::Deadline));
        let whole = program.rule.within.map_or(Millis::MAX, |w| first_at.saturating_add(w + longer));
        if state.is_pending() {
            let limit = |a: &lapwing_dsl::nfa::Absence| a.within.map_or(whole, |w| last_at.saturating_add(w));
            return state.absences.iter().filter(|a| a.last).map(limit).max().unwrap_or(whole);
        }
        let mut deadline = whole;
        if let Some(gap) = state.gap {
            deadline = deadline.min(last_at.saturating_add(gap));
        }
        for (register, ms) in &state.groups {
            if let Some(start) = self.register(register.0) {
                deadline = deadline.min(start.saturating_add(*ms));
            }
        }
        deadline
    }
}

/// A match, complete.
#[derive(Clone, Debug)]
pub struct Complete {
    /// Where its run waited.
    pub state: StateId,
    /// Time of the first event.
    pub first_at: Millis,
    /// Number of the first event.
    pub first_sequence: u64,
    /// The last event bound; the holder of this value holds it.
    pub last: BoundId,
    /// Which of the ways on it took after its last event.
    pub rank: u16,
    /// `report updates`: the alert it revises; 0: none.
    pub tag: u32,
    /// The deadline that completed it, where time did.
    pub deadline: Option<Millis>,
    /// The version its run began under.
    pub started_version: Option<u32>,
}

/// Which of two ways through the pattern is preferred: `Less` is the better. Decisions are compared in the order of the pattern; where all are
/// equal, the one that took the earlier event is better.
pub fn prefer(a: (&[u16], &[(u16, u64)]), b: (&[u16], &[(u16, u64)])) -> Ordering {
    let by_decisions = if bug(Bug::Preference) { b.0.cmp(a.0) } else { a.0.cmp(b.0) };
    by_decisions.then_with(|| a.1.iter().map(|x| x.1).cmp(b.1.iter().map(|x| x.1)))
}

/// The rank of a way that had no alternative: it decides nothing.
pub const NO_DECISION: u16 = u16::MAX;

/// The decisions of a run, in order, and its bindings (step and event number), in order.
pub fn trace(bound: &BoundEvents, last: BoundId, rank: u16) -> (Vec<u16>, Vec<(u16, u64)>) {
    let chain = bound.oldest_first(last);
    let ranks = chain.iter().map(|(_, n)| n.rank).chain([rank]).filter(|r| *r != NO_DECISION).collect();
    (ranks, chain.iter().map(|(_, n)| (n.step.0, n.sequence)).collect())
}
