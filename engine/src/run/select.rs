//! Decides which complete matches are reported, in which order, and which runs that ends.

use std::collections::BTreeSet;

use lapwing_dsl::ir::{Closing, Skip, StepId};
use lapwing_dsl::program::Program;
use lapwing_dsl::syntax::ast::{MatchMode, Report};
use smallvec::SmallVec;

use super::closing::end_of;
use super::report::Reporter;
use super::revise::{SETTLED, retract, say_of_window};
use super::step::{Moved, Revision, WaitPlace, place};
use super::{Complete, Run, prefer, trace};
use crate::bound::{BoundEvents, BoundId};
use crate::limits::{Cap, Limits};
use crate::output::{Match, Status};
use crate::planted::{Bug, bug};
use crate::slot::{Candidate, Cell, OpenAlert};

/// Puts what moved back into the cell and appends the matches to be reported. Returns how many runs a cap took.
pub fn settle(
    cell: &mut Cell,
    moved: Moved,
    reporter: &Reporter<'_>,
    bound: &mut BoundEvents,
    limits: &Limits,
    out: &mut Vec<Match>,
) -> u64 {
    let program = &*reporter.entry.program;
    let Moved { mut runs, complete, revision, .. } = moved;
    let Revision { retracted, said, .. } = revision.map(|revision| *revision).unwrap_or_default();
    let revises = program.rule.lateness > 0;
    let settled = if revises && program.rule.closing.is_none() {
        runs.extract_if(.., |run| reporter.entry.is_settled(run)).collect()
    } else {
        Vec::new()
    };
    let mut selection = Selection { cell, runs, settled, program, reporter, bound, out };
    if let Some(closing) = &program.rule.closing {
        selection.out.extend(said);
        selection.close(complete, closing);
        let capped = selection.cap(limits);
        selection.forget_alerts();
        cell.runs = selection.runs;
        tidy(cell);
        return capped;
    }
    match (program.rule.mode, program.rule.report) {
        (MatchMode::One, Report::Final) => selection.finally(complete),
        (MatchMode::One, _) => selection.one(complete),
        (MatchMode::Each, _) => selection.distinct(complete, false),
        (MatchMode::Last, _) => {
            selection.distinct(complete, true);
            selection.keep_newest();
        }
    }
    let settled = std::mem::take(&mut selection.settled);
    selection.runs.extend(settled);
    if revises {
        selection.retract(&retracted);
    } else {
        selection.close_alerts();
    }
    let capped = selection.cap(limits);
    if revises {
        selection.forget_alerts();
    }
    cell.runs = selection.runs;
    tidy(cell);
    capped
}

fn tidy(cell: &mut Cell) {
    if cell.more.as_ref().is_some_and(|m| m.is_empty()) {
        cell.more = None;
    }
}

struct Selection<'a> {
    cell: &'a mut Cell,
    runs: Vec<Run>,
    /// Runs that stay behind what time completed.
    settled: Vec<Run>,
    program: &'a Program,
    reporter: &'a Reporter<'a>,
    bound: &'a mut BoundEvents,
    out: &'a mut Vec<Match>,
}

/// A complete match with what it is compared by.
struct Ranked {
    complete: Complete,
    ranks: Vec<u16>,
    bindings: Vec<(u16, u64)>,
}

impl Selection<'_> {
    /// Windows that closed: each is reported for which `when` holds.
    fn close(&mut self, complete: Vec<Complete>, closing: &Closing) {
        let lateness = self.program.rule.lateness;
        for window in complete {
            let last = window.deadline.unwrap_or(window.first_at);
            let body = self.reporter.close(window.first_at, end_of(closing, last), window.started_version, self.bound);
            if lateness == 0 {
                self.out.extend(body);
            } else {
                let more = self.cell.more.get_or_insert_default();
                self.out.extend(say_of_window(&mut more.open, window.first_at, body));
                self.runs.push(window.settled(SETTLED, last.saturating_add(lateness), &self.program.nfa, self.bound));
            }
            self.bound.release(window.last);
        }
    }

    /// What time completed stays behind its alert for as long as late events are taken.
    fn settle(&mut self, complete: &Complete, body: &Match) {
        let lateness = self.program.rule.lateness;
        let Some(deadline) = complete.deadline.filter(|_| lateness > 0) else { return };
        let open = &mut self.cell.more.get_or_insert_default().open;
        let tag = next_tag(open);
        open.push(OpenAlert { tag, body: Box::new(body.clone()) });
        self.settled.push(complete.settled(tag, deadline.saturating_add(lateness), &self.program.nfa, self.bound));
    }

    /// Alerts that turned out false are taken back.
    fn retract(&mut self, tags: &[u32]) {
        let Some(more) = &mut self.cell.more else { return };
        for tag in tags {
            if let Some(i) = more.open.iter().position(|o| o.tag == *tag) {
                self.out.extend(retract(more.open.remove(i)));
            }
        }
    }

    /// Alerts that no late event can change any more are no longer remembered.
    fn forget_alerts(&mut self) {
        let Some(more) = &mut self.cell.more else { return };
        let runs = &self.runs;
        more.open.retain(|open| match open.tag {
            SETTLED => runs.iter().any(|r| r.first_at == open.body.first_at),
            tag => runs.iter().any(|r| r.tag() == tag),
        });
    }

    /// The one that began first, then the preferred one.
    fn ranked(&mut self, mut complete: Vec<Complete>) -> Vec<Ranked> {
        // A match for which `when` does not hold is no candidate.
        if self.program.rule.when.is_some() {
            let (reporter, bound) = (self.reporter, &mut *self.bound);
            complete.retain(|c| {
                let holds = reporter.when_holds(c, bound);
                if !holds {
                    bound.release(c.last);
                }
                holds
            });
        }
        let mut ranked: Vec<Ranked> = complete
            .into_iter()
            .map(|complete| {
                let (ranks, bindings) = trace(self.bound, complete.last, complete.rank);
                Ranked { complete, ranks, bindings }
            })
            .collect();
        if ranked.len() > 1 {
            ranked.sort_by(|a, b| {
                let first = a.complete.first_sequence.cmp(&b.complete.first_sequence);
                first.then_with(|| prefer((&a.ranks, &a.bindings), (&b.ranks, &b.bindings)))
            });
        }
        ranked
    }

    /// `match`: one at a time, then `skip`.
    fn one(&mut self, complete: Vec<Complete>) {
        let mut waiting: std::collections::VecDeque<Ranked> = self.ranked(complete).into();
        while let Some(ranked) = waiting.pop_front() {
            let complete = ranked.complete;
            let tag = self.publish(&complete, &ranked.bindings);
            let ends = self.skip(complete.first_sequence, &ranked.bindings);
            let bound = &mut *self.bound;
            self.runs.retain(|run| {
                let ended = ends(run.first_sequence) && (tag == 0 || run.tag() != tag);
                if ended {
                    bound.release(run.last);
                }
                !ended
            });
            waiting.retain(|other| {
                // An alert grows once on an event, along the preferred way; equal bindings are one match.
                let grown = tag != 0 && other.complete.tag == tag;
                let twin = other.complete.tag == complete.tag && same_set(&other.bindings, &ranked.bindings);
                let ended = grown || twin || ends(other.complete.first_sequence);
                if ended {
                    bound.release(other.complete.last);
                }
                !ended
            });
            self.bound.release(complete.last);
        }
    }

    /// Reports a match, or the next revision of its alert. Returns the alert's tag under `report updates`.
    fn publish(&mut self, complete: &Complete, bindings: &[(u16, u64)]) -> u32 {
        let mut body = self.reporter.report(complete, self.bound);
        self.mark_caps(&mut body);
        if self.program.rule.report != Report::Updates {
            self.settle(complete, &body);
            self.out.push(body);
            return 0;
        }
        let more = self.cell.more.get_or_insert_default();
        if let Some(open) = more.open.iter_mut().find(|o| o.tag == complete.tag) {
            body.id = open.body.id;
            body.revision = open.body.revision + 1;
            body.status = Status::Updated;
            *open.body = body.clone();
            self.out.push(body);
            return complete.tag;
        }
        let tag = next_tag(&more.open);
        more.open.push(OpenAlert { tag, body: Box::new(body.clone()) });
        let bound = &*self.bound;
        let same = |run: &Run| run.last == complete.last || same_set(&trace(bound, run.last, run.rank).1, bindings);
        for run in self.runs.iter_mut().filter(|run| same(run)) {
            run.set_tag(tag);
        }
        self.out.push(body);
        tag
    }

    /// `report updates`: an alert that no run can revise any more is closed.
    fn close_alerts(&mut self) {
        let Some(more) = &mut self.cell.more else { return };
        let runs = &self.runs;
        let out = &mut *self.out;
        more.open.retain_mut(|open| {
            let lives = runs.iter().any(|r| r.tag() == open.tag);
            if !lives {
                let mut body = (*open.body).clone();
                body.revision += 1;
                body.status = Status::Closed;
                out.push(body);
            }
            lives
        });
    }

    /// Which runs a reported match ends, by the number of their first event.
    fn skip(&self, first_sequence: u64, bindings: &[(u16, u64)]) -> impl Fn(u64) -> bool + use<> {
        let last_sequence = bindings.last().map_or(first_sequence, |b| b.1);
        let element = |step: StepId, mut found: Box<dyn Iterator<Item = &(u16, u64)> + '_>| {
            found.find(|b| b.0 == step.0).map(|b| b.1)
        };
        let before = match self.program.rule.skip {
            Skip::ToFirst(step) => element(step, Box::new(bindings.iter())),
            Skip::ToLast(step) => element(step, Box::new(bindings.iter().rev())),
            _ => None,
        };
        let skip = self.program.rule.skip;
        move |first: u64| match (skip, before) {
            (Skip::None, _) => false,
            (Skip::PastLast, _) if bug(Bug::Skip) => first < last_sequence,
            (Skip::PastLast, _) => first <= last_sequence,
            (Skip::ToNext, _) | (_, None) => first == first_sequence,
            (_, Some(element)) => first < element,
        }
    }

    /// `match each` and `match last`: every distinct set of bindings once.
    fn distinct(&mut self, complete: Vec<Complete>, ends_its_runs: bool) {
        let mut seen = BTreeSet::new();
        for ranked in self.ranked(complete) {
            let Ranked { complete, mut bindings, .. } = ranked;
            bindings.sort_unstable();
            if !seen.contains(&bindings) {
                let mut body = self.reporter.report(&complete, self.bound);
                self.mark_caps(&mut body);
                self.settle(&complete, &body);
                self.out.push(body);
                if ends_its_runs {
                    self.end_runs_with(complete.last, &bindings);
                }
                seen.insert(bindings);
            }
            self.bound.release(complete.last);
        }
    }

    /// Ends the runs that wait with just these bindings.
    fn end_runs_with(&mut self, last: BoundId, bindings: &[(u16, u64)]) {
        let sequence = self.bound.get(last).sequence;
        let bound = &mut *self.bound;
        self.runs.retain(|run| {
            let same = run.last == last || {
                bound.get(run.last).sequence == sequence && {
                    let mut own = trace(bound, run.last, run.rank).1;
                    own.sort_unstable();
                    own == bindings
                }
            };
            if same {
                bound.release(run.last);
            }
            !same
        });
    }

    /// `match last`: of the runs that wait at one place the newest stays; one that waits only for time is not replaced.
    fn keep_newest(&mut self) {
        if self.runs.len() < 2 {
            return;
        }
        let mut kept: Vec<(Option<WaitPlace>, Run)> = Vec::new();
        for run in std::mem::take(&mut self.runs) {
            if self.program.nfa.state(run.state).is_pending() {
                kept.push((None, run));
                continue;
            }
            let at = Some(place(self.program, &run));
            match kept.iter_mut().find(|(p, _)| *p == at) {
                None => kept.push((at, run)),
                Some((_, other)) => {
                    let newer = self.is_newer(&run, other);
                    let loser = if newer { std::mem::replace(other, run) } else { run };
                    self.bound.release(loser.last);
                }
            }
        }
        self.runs = kept.into_iter().map(|(_, run)| run).collect();
    }

    /// Of two equally new, the preferred one stays, and then the one that was there first.
    fn is_newer(&self, a: &Run, b: &Run) -> bool {
        let age = |r: &Run| (self.bound.get(r.last).sequence, r.first_sequence);
        let ranks = |r: &Run| trace(self.bound, r.last, r.rank).0;
        age(a).cmp(&age(b)).then_with(|| ranks(b).cmp(&ranks(a))).is_gt()
    }

    /// `report final`: keeps the best match of each beginning, and reports the oldest beginning's once nothing can change it.
    fn finally(&mut self, complete: Vec<Complete>) {
        for ranked in self.ranked(complete) {
            let complete = ranked.complete;
            let candidate = Candidate {
                first_sequence: complete.first_sequence,
                last_sequence: self.bound.get(complete.last).sequence,
                ranks: ranked.ranks,
                bindings: ranked.bindings,
                body: Box::new(self.reporter.report(&complete, self.bound)),
            };
            self.consider(candidate);
            self.bound.release(complete.last);
        }
        while let Some(body) = self.next_final() {
            let mut body = body;
            self.mark_caps(&mut body);
            self.out.push(body);
        }
    }

    fn consider(&mut self, candidate: Candidate) {
        let candidates = &mut self.cell.more.get_or_insert_default().candidates;
        match candidates.binary_search_by_key(&candidate.first_sequence, |c| c.first_sequence) {
            Err(i) => candidates.insert(i, candidate),
            Ok(i) => {
                let old = &candidates[i];
                let order = prefer((&candidate.ranks, &candidate.bindings), (&old.ranks, &old.bindings));
                if order.is_lt() {
                    candidates[i] = candidate;
                }
            }
        }
    }

    /// The match of the oldest beginning, if it is decided.
    fn next_final(&mut self) -> Option<Match> {
        let candidates = &mut self.cell.more.as_mut()?.candidates;
        let best = candidates.first()?;
        let (bound, first) = (&mut *self.bound, best.first_sequence);
        // Runs of the same beginning that can only do worse are of no use.
        self.runs.retain(|run| {
            let worse = run.first_sequence == first && !could_beat(bound, run, best);
            if worse {
                bound.release(run.last);
            }
            !worse
        });
        if self.runs.iter().any(|r| r.first_sequence <= first) {
            return None;
        }
        let best = candidates.remove(0);
        let ends = self.skip(best.first_sequence, &best.bindings);
        let ends = move |sequence: u64| ends(sequence) || sequence == first;
        let bound = &mut *self.bound;
        self.runs.retain(|run| {
            let ended = ends(run.first_sequence);
            if ended {
                bound.release(run.last);
            }
            !ended
        });
        self.cell.more.as_mut()?.candidates.retain(|c| !ends(c.first_sequence));
        Some(*best.body)
    }

    /// Keeps the number of runs within the cap: the oldest start goes first. Returns how many went.
    fn cap(&mut self, limits: &Limits) -> u64 {
        let max = limits.runs_per_key_max;
        if self.runs.len() <= max {
            return 0;
        }
        let mut starts: Vec<u64> = self.runs.iter().map(|r| r.first_sequence).collect();
        starts.sort_unstable();
        let from = starts[starts.len() - max];
        let mut until = i64::MIN;
        let surplus = self.runs.len() - max;
        let mut over = surplus;
        let bound = &mut *self.bound;
        self.runs.retain(|run| {
            let goes = over > 0 && run.first_sequence <= from;
            if goes {
                over -= 1;
                until = until.max(run.deadline);
                bound.release(run.last);
            }
            !goes
        });
        self.cell.more.get_or_insert_default().capped.add(Cap::RunsPerKey, until);
        (surplus - over) as u64
    }

    /// An alert that a run taken by a cap might have touched says so.
    fn mark_caps(&self, body: &mut Match) {
        if let Some(more) = &self.cell.more {
            body.caps |= more.capped.at(body.at);
        }
    }
}

fn next_tag(open: &[OpenAlert]) -> u32 {
    open.iter().map(|o| o.tag).max().unwrap_or(0) + 1
}

/// Whether two matches have the same set of bindings.
fn same_set(a: &[(u16, u64)], b: &[(u16, u64)]) -> bool {
    let sorted = |bindings: &[(u16, u64)]| {
        let mut all: SmallVec<[(u16, u64); 16]> = bindings.into();
        all.sort_unstable();
        all
    };
    a.len() == b.len() && a.last().map(|x| x.1) == b.last().map(|x| x.1) && sorted(a) == sorted(b)
}

/// Whether a live run may still become a better match than the one found.
fn could_beat(bound: &BoundEvents, run: &Run, best: &Candidate) -> bool {
    let (ranks, _) = trace(bound, run.last, run.rank);
    let shared = ranks.len().min(best.ranks.len());
    match ranks[..shared].cmp(&best.ranks[..shared]) {
        std::cmp::Ordering::Less => true,
        std::cmp::Ordering::Greater => false,
        // So far alike: it is better only where the match found was not the preferred way later.
        std::cmp::Ordering::Equal => best.ranks[shared..].iter().any(|r| *r != 0),
    }
}
