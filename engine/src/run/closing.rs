//! Rules that fire when a window closes: an open window is a run that waits for time alone.
//!
//! Its deadline is the last moment of the window. The event that it holds stands for the window: it has the time of the window's
//! beginning, so that all that is kept of a run (records, snapshots, caps) serves a window too.

use lapwing_dsl::ir::{Closing, Reach};
use lapwing_dsl::nfa::StateId;

use super::step::{Moved, Transition};
use super::{NO_DECISION, Run};
use crate::Millis;
use crate::batch::{EventView, Hit};
use crate::bound::BoundEvents;
use crate::planted::{Bug, bug};
use crate::window::open_at;

/// Where an open window waits, in the automaton of every such rule.
pub const OPEN: StateId = StateId(1);

/// An event of a type that the rule counts, as one key sees it.
pub struct Counted<'a> {
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
    /// The windows that the event stands in and that are still to close, as their first and last moments.
    pub fn windows(&self, reach: &Reach) -> impl Iterator<Item = (Millis, Millis)> {
        let clock = self.clock;
        open_at(reach, self.event.row.at).filter(move |(_, last)| *last >= clock)
    }

    /// Opens windows, and lets sessions go on.
    pub fn advance(&self, closing: &Closing, runs: Vec<Run>, bound: &mut BoundEvents, moved: &mut Moved) {
        let at = self.event.row.at;
        moved.runs = runs;
        match &closing.reach {
            Reach::Session { gap } => self.go_on(at, *gap, bound, moved),
            reach => {
                for (first, last) in self.windows(reach) {
                    if !moved.runs.iter().any(|run| run.deadline == last) {
                        self.open(first, last, bound, moved);
                    }
                }
            }
        }
    }

    /// The sessions that an event joins become one.
    fn go_on(&self, at: Millis, gap: Millis, bound: &mut BoundEvents, moved: &mut Moved) {
        let gap = gap - Millis::from(bug(Bug::Closing));
        let (mut first, mut last) = (at, at.saturating_add(gap));
        if last < self.clock {
            return;
        }
        let joins = |run: &Run| run.first_at.saturating_sub(gap) <= at && at <= run.deadline;
        let holds = |run: &Run| run.first_at <= at && joins(run) && last <= run.deadline;
        if moved.runs.iter().any(holds) {
            return;
        }
        moved.runs.retain(|run| {
            let joined = joins(run);
            if joined {
                first = first.min(run.first_at);
                last = last.max(run.deadline);
                bound.release(run.last);
            }
            !joined
        });
        self.open(first, last, bound, moved);
    }

    fn open(&self, first: Millis, last: Millis, bound: &mut BoundEvents, moved: &mut Moved) {
        let Some(hit) = self.hits.first() else { return };
        let step = lapwing_dsl::ir::StepId(hit.step);
        let origin = self.event.row.origin;
        let held = bound.add(None, step, NO_DECISION, origin, first, self.sequence, Box::default());
        moved.runs.push(Run {
            state: OPEN,
            rank: NO_DECISION,
            fresh: true,
            last: held,
            count: 0,
            first_at: first,
            first_sequence: self.sequence,
            deadline: last,
            more: None,
        });
        if let Some(taken) = &mut moved.taken {
            taken.push(Transition { from: StateId(0), leaf: hit.step, fork: 0 });
        }
    }
}

/// When a window whose last moment this is ends: the moment after it, but for a session, which ends with it.
pub fn end_of(closing: &Closing, last: Millis) -> Millis {
    match closing.reach {
        Reach::Session { .. } => last,
        _ => last.saturating_add(1),
    }
}
