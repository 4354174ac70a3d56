//! Rules that fire when a window closes: an open window is a run that waits for time alone.
//!
//! Its deadline is the last moment of the window. The event that it holds stands for the window: it has the time of the window's
//! beginning, so that all that is kept of a run (records, snapshots, caps) serves a window too.

use lapwing_dsl::ir::{Closing, Reach, StepId};
use lapwing_dsl::nfa::StateId;

use smallvec::SmallVec;

use super::revise::SETTLED;
use super::step::{Moved, Transition};
use super::{NO_DECISION, Run, RunMore};
use crate::Millis;
use crate::batch::{EventView, Hit, Origin};
use crate::bound::BoundEvents;
use crate::planted::{Bug, bug};
use crate::rule_set::RuleEntry;
use crate::window::open_at;

/// Where an open window waits, in the automaton of every such rule.
pub const OPEN: StateId = StateId(1);

/// An event of a type that the rule counts, as one key sees it.
pub struct Counted<'a> {
    /// The rule.
    pub entry: &'a RuleEntry,
    /// The event.
    pub event: EventView<'a>,
    /// Its number in processing order.
    pub sequence: u64,
    /// Time as of the event: what closed strictly before has been reported.
    pub clock: Millis,
    /// The step that stands for its type; there is just one.
    pub hits: &'a [Hit],
}

impl Counted<'_> {
    /// The time before which windows have closed for good.
    fn closed_for_good(&self) -> Millis {
        self.clock.saturating_sub(self.entry.program.rule.lateness)
    }

    /// The windows that the event stands in and that have not closed for good, as their first and last moments.
    pub fn windows(&self, reach: &Reach) -> impl Iterator<Item = (Millis, Millis)> {
        let closed = self.closed_for_good();
        open_at(reach, self.event.row.at).filter(move |(_, last)| *last >= closed)
    }

    /// Opens windows, lets sessions go on, and says which windows that closed before have changed.
    pub fn advance(&self, closing: &Closing, runs: Vec<Run>, bound: &mut BoundEvents, moved: &mut Moved) {
        let at = self.event.row.at;
        moved.runs = runs;
        match &closing.reach {
            Reach::Session { gap } => self.go_on(at, *gap, bound, moved),
            reach => {
                for (first, last) in self.windows(reach) {
                    if closing.rows.is_none() && !moved.runs.iter().any(|run| self.entry.last_moment(run) == last) {
                        self.open(first, last, bound, moved);
                    }
                    if last < self.clock {
                        moved.revision().revised.push((first, last));
                    }
                }
            }
        }
    }

    /// The sessions that an event joins become one.
    fn go_on(&self, at: Millis, gap: Millis, bound: &mut BoundEvents, moved: &mut Moved) {
        let gap = gap - Millis::from(bug(Bug::Closing));
        let (mut first, mut last) = (at, at.saturating_add(gap));
        if last < self.closed_for_good() {
            return;
        }
        let ends = |run: &Run| self.entry.last_moment(run);
        let joins = |run: &Run| run.first_at.saturating_sub(gap) <= at && at <= ends(run);
        let holds = |run: &&Run| run.first_at <= at && joins(run) && last <= ends(run);
        if let Some(run) = moved.runs.iter().find(holds) {
            if ends(run) < self.clock {
                let window = (run.first_at, ends(run));
                moved.revision().revised.push(window);
            }
            return;
        }
        let mut joined_firsts: SmallVec<[Millis; 2]> = SmallVec::new();
        moved.runs.retain(|run| {
            let joined = joins(run);
            if joined {
                joined_firsts.push(run.first_at);
                last = last.max(ends(run));
                bound.release(run.last);
            }
            !joined
        });
        first = joined_firsts.iter().copied().fold(first, Millis::min);
        joined_firsts.retain(|joined| *joined != first);
        if !joined_firsts.is_empty() {
            moved.revision().withdrawn.extend(joined_firsts);
        }
        self.open(first, last, bound, moved);
        if last < self.clock {
            moved.revision().revised.push((first, last));
        }
    }

    fn open(&self, first: Millis, last: Millis, bound: &mut BoundEvents, moved: &mut Moved) {
        let Some(hit) = self.hits.first() else { return };
        let window = Window { first, last, step: StepId(hit.step), origin: self.event.row.origin };
        moved.runs.push(match last < self.clock {
            true => window.settled(self.entry, self.sequence, bound),
            false => window.open(self.sequence, bound),
        });
        if let Some(taken) = &mut moved.taken {
            taken.push(Transition { from: StateId(0), leaf: hit.step, fork: 0 });
        }
    }
}

/// A window of a rule for a key.
pub struct Window {
    /// Its first moment.
    pub first: Millis,
    /// Its last moment.
    pub last: Millis,
    /// The step of the event that opened it.
    pub step: StepId,
    /// Where that came from.
    pub origin: Origin,
}

impl Window {
    /// The run that it is.
    fn open(&self, sequence: u64, bound: &mut BoundEvents) -> Run {
        Run {
            state: OPEN,
            rank: NO_DECISION,
            fresh: true,
            last: bound.add(None, self.step, NO_DECISION, self.origin, self.first, sequence, Box::default()),
            count: 0,
            first_at: self.first,
            first_sequence: sequence,
            deadline: self.last,
            more: None,
        }
    }

    /// The run that it is once it has closed, for as long as the rule takes late events.
    pub fn settled(&self, entry: &RuleEntry, sequence: u64, bound: &mut BoundEvents) -> Run {
        let more = RunMore { tag: SETTLED, ..RunMore::default() };
        let deadline = self.last.saturating_add(entry.program.rule.lateness);
        Run { deadline, more: Some(Box::new(more)), ..self.open(sequence, bound) }
    }
}

/// When a window whose last moment this is ends: the moment after it, but for a session, which ends with it.
pub fn end_of(closing: &Closing, last: Millis) -> Millis {
    match closing.reach {
        Reach::Session { .. } => last,
        _ => last.saturating_add(1),
    }
}
