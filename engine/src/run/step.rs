//! Offers one event to the runs of one rule for one key, oldest first, and begins new runs.

use std::cell::{Cell, RefCell};

use lapwing_dsl::ir::StepId;
use lapwing_dsl::nfa::{Leaf, LoopId, StateId};
use lapwing_dsl::program::Program;
use lapwing_dsl::value::Value;
use smallvec::SmallVec;

use super::{Complete, Memory, NO_DECISION, Run};
use crate::Millis;
use crate::asking::Asking;
use crate::batch::{EventView, Hit};
use crate::bound::{BoundEvents, BoundRef};
use crate::data::Data;
use crate::data::model::Score;
use crate::eval::{Scope, Windows};
use crate::output::Match;
use crate::planted::{Bug, bug};
use crate::rule_set::RuleEntry;

/// One event as one rule sees it for one key.
pub struct Offer<'a> {
    /// The rule.
    pub entry: &'a RuleEntry,
    /// The event.
    pub event: EventView<'a>,
    /// Its number in processing order.
    pub sequence: u64,
    /// Time as of the event: what is due strictly before has fired.
    pub clock: Millis,
    /// The extractions that brought the event to this key.
    pub mask: u64,
    /// The rule's first steps that the event meets.
    pub hits: &'a [Hit],
    /// The key's windows as of the event.
    pub windows: &'a dyn Windows,
    /// Lists and tables as of the event.
    pub data: &'a Data,
    /// Counts faults.
    pub errors: &'a Cell<u64>,
    /// What is known of the steps' conditions that need no run.
    known: SmallVec<[Known; 16]>,
}

#[derive(Clone, Copy, PartialEq)]
enum Known {
    Nothing,
    Fails,
    Holds,
}

/// A run as an event finds it.
#[derive(Clone, Copy)]
pub struct Waiting<'r> {
    /// Where it waits.
    pub state: StateId,
    /// Whether it has seen no event since it came there.
    pub fresh: bool,
    /// When it ends.
    pub deadline: Millis,
    /// Time of its first event.
    pub first_at: Millis,
    /// Its last event.
    pub last: BoundRef<'r>,
}

/// What an event does to a run.
pub enum Effect {
    /// The run waits on.
    Stays,
    /// The run waits on, and no longer than this.
    StaysUntil(Millis),
    /// The run ends.
    Ends,
    /// The event is bound to the awaited step of this number.
    Takes {
        /// Which of the state's leaves.
        leaf: usize,
        /// Whether the run also waits on.
        stays: bool,
    },
    /// The last absence has held: the match is complete; with the deadline of an absence that ended before.
    Completes(Option<Millis>),
}

/// A transition of a rule's automaton: from a state, by one of its awaited steps, along one of its forks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Transition {
    /// Where the run waited.
    pub from: StateId,
    /// Which of the state's leaves took the event.
    pub leaf: u16,
    /// Which of the leaf's forks the run went on along.
    pub fork: u16,
}

/// What became of the runs.
#[derive(Default)]
pub struct Moved {
    /// Where tests ask: the transitions taken.
    pub taken: Option<Vec<Transition>>,
    /// Runs that wait.
    pub runs: Vec<Run>,
    /// Complete matches.
    pub complete: Vec<Complete>,
    /// What a late event changes of what was reported before; none for almost all events.
    pub revision: Option<Box<Revision>>,
}

/// What a late event changes of what was reported before.
#[derive(Default)]
pub struct Revision {
    /// The tags of alerts that turned out false; of a window that closed its beginning stands in `withdrawn`.
    pub retracted: Vec<u32>,
    /// Windows that are no more: they are part of a longer session.
    pub withdrawn: Vec<Millis>,
    /// Windows that closed before, and that the event changes: their first and last moments.
    pub revised: Vec<(Millis, Millis)>,
    /// What is said of these.
    pub said: Vec<Match>,
}

impl Moved {
    /// What the event changes of what was reported before.
    pub fn revision(&mut self) -> &mut Revision {
        self.revision.get_or_insert_default()
    }
}

impl<'a> Offer<'a> {
    /// An event, offered.
    #[expect(clippy::too_many_arguments, reason = "the parts of an offer, each once")]
    pub fn new(
        entry: &'a RuleEntry,
        event: EventView<'a>,
        sequence: u64,
        clock: Millis,
        mask: u64,
        hits: &'a [Hit],
        windows: &'a dyn Windows,
        data: &'a Data,
        errors: &'a Cell<u64>,
    ) -> Self {
        let known = SmallVec::from_elem(Known::Nothing, entry.program.rule.steps.len());
        Offer { entry, event, sequence, clock, mask, hits, windows, data, errors, known }
    }

    fn program(&self) -> &'a Program {
        &self.entry.program
    }

    /// Moves the live runs; `moved` gets what becomes of them.
    pub fn advance(&mut self, runs: impl Iterator<Item = Run>, bound: &mut BoundEvents, moved: &mut Moved) {
        for run in runs {
            self.advance_one(run, bound, moved);
        }
    }

    /// Lets a late event end what it makes false; nothing else comes of it.
    pub fn revise(&mut self, runs: impl Iterator<Item = Run>, bound: &mut BoundEvents, moved: &mut Moved) {
        for run in runs {
            self.revise_one(run, true, bound, moved);
        }
    }

    fn revise_one(&mut self, run: Run, late: bool, bound: &mut BoundEvents, moved: &mut Moved) {
        if self.makes_false(&run, late, bound) && !bug(Bug::Retracted) {
            if self.entry.is_settled(&run) {
                moved.revision().retracted.push(run.tag());
            }
            bound.release(run.last);
        } else {
            moved.runs.push(run);
        }
    }

    fn advance_one(&mut self, mut run: Run, bound: &mut BoundEvents, moved: &mut Moved) {
        if self.entry.is_settled(&run) {
            return self.revise_one(run, false, bound, moved);
        }
        let waiting = Waiting {
            state: run.state,
            fresh: run.fresh,
            deadline: run.deadline,
            first_at: run.first_at,
            last: BoundRef::Shared(bound.get(run.last)),
        };
        match self.effect(&waiting, bound) {
            Effect::Stays => {
                run.fresh = false;
                moved.runs.push(run);
            }
            Effect::StaysUntil(deadline) => {
                run.fresh = false;
                run.deadline = deadline;
                moved.runs.push(run);
            }
            Effect::Ends => bound.release(run.last),
            Effect::Completes(deadline) => moved.complete.push(run.complete(deadline)),
            Effect::Takes { leaf, stays } => {
                self.bind(Some(&run), run.rank, (run.state, leaf), bound, moved);
                if stays {
                    run.fresh = false;
                    moved.runs.push(run);
                } else {
                    bound.release(run.last);
                }
            }
        }
    }

    /// Begins new runs.
    pub fn begin(&mut self, bound: &mut BoundEvents, moved: &mut Moved) {
        let nfa = &self.program().nfa;
        for (rank, start) in nfa.starts.iter().enumerate() {
            let rank = if nfa.starts.len() == 1 { NO_DECISION } else { rank as u16 };
            let leaf = nfa.state(*start).leaves.iter().position(|leaf| self.fits(leaf.step, None, bound));
            if let Some(leaf) = leaf {
                self.bind(None, rank, (*start, leaf), bound, moved);
            }
        }
    }

    /// What the event does to a run.
    pub fn effect(&mut self, run: &Waiting<'_>, bound: &BoundEvents) -> Effect {
        if run.deadline < self.clock {
            return Effect::Ends;
        }
        let program = self.program();
        let state = program.nfa.state(run.state);
        if state.is_pending() {
            return self.effect_on_pending(run, bound);
        }
        if state
            .leaves
            .iter()
            .any(|leaf| (leaf.again || bug(Bug::Until)) && self.until_holds(leaf.step, run.last, bound))
        {
            return Effect::Ends;
        }
        let in_time = self.event.row.at <= run.deadline;
        let taken = if in_time {
            state.leaves.iter().position(|leaf| self.fits(leaf.step, Some(run.last), bound))
        } else {
            None
        };
        let fresh = run.fresh;
        let mut forbidden = || {
            state
                .absences
                .iter()
                .any(|a| (!a.next || fresh) && a.steps.iter().any(|s| self.fits(*s, Some(run.last), bound)))
        };
        match taken {
            // What is both awaited and forbidden is taken, but then the run does not stay.
            Some(leaf) => Effect::Takes { leaf, stays: state.leaves[leaf].stays && !forbidden() },
            None if state.strict || forbidden() => Effect::Ends,
            None => Effect::Stays,
        }
    }

    /// A run that is complete but for absences at the end.
    fn effect_on_pending(&mut self, run: &Waiting<'_>, bound: &BoundEvents) -> Effect {
        let program = self.program();
        let state = program.nfa.state(run.state);
        let last_at = run.last.at();
        let whole = program.rule.within.map_or(Millis::MAX, |w| run.first_at.saturating_add(w));
        let limit = |a: &lapwing_dsl::nfa::Absence| match (a.last, a.within) {
            (false, _) => run.deadline,
            (true, Some(w)) => last_at.saturating_add(w),
            (true, None) => whole,
        };
        for absence in &state.absences {
            let looked_at = (!absence.next || run.fresh)
                && self.event.row.at <= limit(absence) - Millis::from(bug(Bug::AbsenceLimit));
            if looked_at && absence.steps.iter().any(|s| self.fits(*s, Some(run.last), bound)) {
                return Effect::Ends;
            }
        }
        // `then next not` has held with the first event; what else stands at the end may still last.
        let rest = state.absences.iter().filter(|a| a.last && !a.next).map(limit).max();
        match rest {
            None => Effect::Completes(None),
            Some(rest) if rest < self.clock => Effect::Completes(Some(rest)),
            Some(rest) => Effect::StaysUntil(rest),
        }
    }

    /// Whether the event can be the step's, as far as the run is concerned.
    pub(super) fn fits(&mut self, step: StepId, last: Option<BoundRef<'_>>, bound: &BoundEvents) -> bool {
        let program = self.program();
        let condition = &program.conditions[step.0 as usize];
        let spec = &program.rule.steps[step.0 as usize];
        if self.known[step.0 as usize] == Known::Nothing {
            self.known[step.0 as usize] = self.judge(step, bound);
        }
        if self.known[step.0 as usize] == Known::Fails {
            return false;
        }
        if condition.run.is_empty() && spec.until.is_none() {
            return true;
        }
        let scope = self.scope(step, last, bound);
        scope.all_hold(&condition.run) && !spec.until.as_ref().is_some_and(|u| scope.holds(u))
    }

    fn judge(&self, step: StepId, bound: &BoundEvents) -> Known {
        let program = self.program();
        let spec = &program.rule.steps[step.0 as usize];
        if spec.event != self.event.row.event || !self.entry.step_may_take(step, self.mask) {
            return Known::Fails;
        }
        let condition = &program.conditions[step.0 as usize];
        let scope = self.scope(step, None, bound);
        let event_holds = if program.first_steps.binary_search(&step).is_ok() {
            self.hits.iter().any(|h| h.step == step.0)
        } else {
            scope.all_hold(&condition.event)
        };
        if event_holds && scope.all_hold(&condition.key) { Known::Holds } else { Known::Fails }
    }

    fn until_holds(&self, step: StepId, last: BoundRef<'_>, bound: &BoundEvents) -> bool {
        let spec = &self.program().rule.steps[step.0 as usize];
        let Some(until) = &spec.until else { return false };
        spec.event == self.event.row.event
            && self.entry.step_may_take(step, self.mask)
            && self.scope(step, Some(last), bound).holds(until)
    }

    fn scope<'s>(&'s self, step: StepId, last: Option<BoundRef<'s>>, bound: &'s BoundEvents) -> Scope<'s> {
        Scope {
            program: Some(self.program()),
            event: Some(self.event),
            current: None,
            step,
            bound,
            last,
            element: (None, None),
            key: &[],
            windows: self.windows,
            data: self.data,
            now: self.event.row.at,
            errors: self.errors,
            asking: None,
        }
    }

    /// What models answered to a step's condition, which the event meets: what an alert will name.
    fn scores(&self, step: StepId, last: Option<BoundRef<'_>>, bound: &BoundEvents) -> Value<'static> {
        let (errors, used) = (Cell::new(0), RefCell::default());
        let scope = Scope { errors: &errors, asking: Some(Asking::Used(&used)), ..self.scope(step, last, bound) };
        scope.all_hold(&self.program().rule.steps[step.0 as usize].filter);
        let mut scores = used.into_inner();
        Score::sort(&mut scores);
        Score::pack(&scores)
    }

    /// Binds the event to a leaf's step; `from` is none where a run begins.
    fn bind(
        &mut self,
        from: Option<&Run>,
        rank: u16,
        (state, leaf_index): (StateId, usize),
        bound: &mut BoundEvents,
        moved: &mut Moved,
    ) {
        let program = self.program();
        let leaf: &Leaf = &program.nfa.state(state).leaves[leaf_index];
        let row = self.event.row;
        let fields = &program.captures[leaf.step.0 as usize];
        let mut captured: Vec<Value<'static>> = Vec::with_capacity(program.kept(leaf.step));
        captured.extend(fields.iter().map(|f| self.event.field(*f).into_static()));
        let before = from.map(|r| r.last);
        if program.scored[leaf.step.0 as usize] {
            captured.push(self.scores(leaf.step, before.map(|id| BoundRef::Shared(bound.get(id))), bound));
        }
        let last = bound.add(before, leaf.step, rank, row.origin, row.at, self.sequence, captured.into());
        let memory = from.map_or_else(|| Memory::new(&program.nfa), Memory::of);
        let (first_at, first_sequence) = from.map_or((row.at, self.sequence), |r| (r.first_at, r.first_sequence));
        // The rank counts the ways that are open: a way without an alternative is no decision.
        let mut open = 0;
        let (runs_before, complete_before) = (moved.runs.len(), moved.complete.len());
        for (fork_index, fork) in leaf.forks.iter().enumerate() {
            let mut memory = memory.clone();
            if !memory.carry_out(&fork.instructions, &program.nfa, row.at) {
                continue;
            }
            let rank = open;
            open += 1;
            if let Some(taken) = &mut moved.taken {
                taken.push(Transition { from: state, leaf: leaf_index as u16, fork: fork_index as u16 });
            }
            bound.hold(last);
            let mut run = Run {
                state: fork.target.unwrap_or(state),
                rank,
                fresh: true,
                last,
                count: 0,
                first_at,
                first_sequence,
                deadline: Millis::MAX,
                more: None,
            };
            if fork.target.is_some() {
                run.deadline = memory.deadline(program, program.nfa.state(run.state), first_at, row.at);
                memory.store(&mut run);
                moved.runs.push(run);
            } else {
                memory.store(&mut run);
                moved.complete.push(run.complete(None));
            }
        }
        if open == 1 {
            moved.runs[runs_before..].iter_mut().for_each(|run| run.rank = NO_DECISION);
            moved.complete[complete_before..].iter_mut().for_each(|complete| complete.rank = NO_DECISION);
        }
        bound.release(last);
    }
}

/// Splits off the runs whose deadline is `now` or earlier: those that only waited for time are complete, the others end, as do
/// those that were settled.
pub fn time_passes(runs: Vec<Run>, entry: &RuleEntry, now: Millis, bound: &mut BoundEvents, moved: &mut Moved) {
    for run in runs {
        if run.deadline > now {
            moved.runs.push(run);
        } else if entry.program.nfa.state(run.state).is_pending() && !entry.is_settled(&run) {
            let deadline = run.deadline;
            moved.complete.push(run.complete(Some(deadline)));
        } else {
            bound.release(run.last);
        }
    }
}

/// The place in the pattern where a run waits, as `match last` tells them apart, with how far the repetitions have come.
pub type WaitPlace = (u16, SmallVec<[u32; 2]>);

/// Where a run waits.
pub fn place(program: &Program, run: &Run) -> WaitPlace {
    let memory = Memory::of(run);
    let state = program.nfa.state(run.state);
    // All further elements of an unbounded repetition are one place.
    let count = |l: &LoopId| memory.count(l.0).min(program.nfa.loops[l.0 as usize]);
    let (fresh, later) = state.places;
    (if run.fresh { fresh } else { later }, state.counted.iter().map(count).collect())
}
