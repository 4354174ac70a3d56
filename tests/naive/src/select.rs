//! Which complete matches are reported, and what they end: one key of one rule.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use lapwing_dsl::syntax::ast::{MatchMode, Report, Skip};

use crate::event::Event;
use crate::run::{Done, Evidence, Made, Matcher, Run, Waits, evidence, limits, place};

/// A match that is to become an alert.
pub struct Reported<'a> {
    /// The match.
    pub done: Done<'a>,
    /// Its number among the alert's revisions.
    pub revision: u64,
    /// `open`, `updated` or `closed`.
    pub status: &'static str,
    /// Under `report updates`: which open alert it belongs to.
    pub alert: Option<usize>,
}

/// What one key of a rule holds.
#[derive(Default)]
pub struct KeyState<'a> {
    runs: Vec<Run<'a>>,
    /// `report final`: complete matches that something may still change.
    candidates: Vec<Done<'a>>,
    /// `match each`: what was reported.
    reported: BTreeSet<Evidence>,
    /// `report updates`: alerts not yet closed, with their latest match and revision.
    open: Vec<(usize, Done<'a>, u64)>,
    opened: usize,
    /// With a `lateness`: what a late event may still take back.
    settled: Vec<(usize, Done<'a>)>,
}

impl<'a> KeyState<'a> {
    /// An event of the key's input (`in_input`), one that stops the key's runs (`stops`), or both.
    pub fn event(
        &mut self,
        matcher: Matcher<'a, '_>,
        event: &Rc<Event>,
        in_input: bool,
        stops: bool,
    ) -> Vec<Reported<'a>> {
        let mut reported = Vec::new();
        let withdrawn = if in_input { self.withdraw(matcher, event) } else { Vec::new() };
        if in_input {
            let mut made = Made::default();
            for run in &self.runs {
                matcher.offer(run, event, &mut made);
            }
            if !stops {
                matcher.begin(event, &mut made);
            }
            reported = self.settle(matcher, made);
        }
        if stops {
            self.runs.clear();
            reported.extend(self.settle(matcher, Made::default()));
        }
        reported.extend(withdrawn);
        reported
    }

    /// An event that came behind the watermark: it makes false what it can, and nothing else.
    pub fn late(&mut self, matcher: Matcher<'a, '_>, event: &Rc<Event>) -> Vec<Reported<'a>> {
        self.runs.retain(|run| !matcher.is_made_false(run, event));
        self.withdraw(matcher, event)
    }

    /// Takes back what an event makes false.
    fn withdraw(&mut self, matcher: Matcher<'a, '_>, event: &Rc<Event>) -> Vec<Reported<'a>> {
        let over = |done: &Done<'a>| done.at.saturating_add(matcher.rule.lateness) < event.clock;
        let is_false = |done: &Done<'a>| {
            let run = done.waited.as_ref().expect("it has waited");
            !over(done) && matcher.is_made_false(run, event)
        };
        let (gone, stays) = std::mem::take(&mut self.settled).into_iter().partition(|(_, done)| is_false(done));
        self.settled = stays;
        let back = |(alert, done)| Reported { done, revision: 1, status: "retracted", alert: Some(alert) };
        Vec::into_iter(gone).map(back).collect()
    }

    /// The next moment at which time alone changes something.
    pub fn timer(&self, matcher: Matcher<'a, '_>) -> Option<i64> {
        self.runs.iter().filter_map(|run| matcher.timer(run)).min()
    }

    /// Time is past this deadline.
    pub fn pass(&mut self, matcher: Matcher<'a, '_>, deadline: i64) -> Vec<Reported<'a>> {
        let mut made = Made::default();
        for run in &self.runs {
            matcher.pass(run, deadline, &mut made);
        }
        self.settle(matcher, made)
    }

    /// The end of time: no run will ever complete.
    pub fn end(&mut self, matcher: Matcher<'a, '_>) -> Vec<Reported<'a>> {
        self.runs.clear();
        self.settle(matcher, Made::default())
    }

    /// The rule has changed or gone: what is complete is reported, open alerts are closed, and the runs behind these go.
    pub fn flush(&mut self, matcher: Matcher<'a, '_>) -> Vec<Reported<'a>> {
        let mut runs = std::mem::take(&mut self.runs);
        self.settled.clear();
        let reported = self.settle(matcher, Made::default());
        let last = |r: &Reported<'a>| r.done.bound.last().map(|b| b.event.place);
        let until = reported.iter().filter(|r| r.status == "open").filter_map(last).max();
        runs.retain(|run| run.continues.is_none() && until.is_none_or(|until| run.bound[0].event.place > until));
        self.runs = runs;
        reported
    }

    /// Under a changed rule: each run as that holds it.
    pub fn migrate(&mut self, matcher: Matcher<'a, '_>, lead: impl Fn(&Run<'a>) -> Vec<Run<'a>>) {
        let runs = self.runs.iter().flat_map(lead).collect();
        let reported = self.settle(matcher, Made { runs, done: Vec::new() });
        assert!(reported.is_empty(), "nothing completes by a change");
    }

    fn settle(&mut self, matcher: Matcher<'a, '_>, made: Made<'a>) -> Vec<Reported<'a>> {
        self.runs = without_doubles(made.runs);
        let mut done = made.done;
        done.sort_by_key(Done::rank);
        let mut reported = self.report(matcher, done);
        if matcher.rule.lateness > 0 {
            for one in reported.iter_mut().filter(|r| r.done.waited.is_some()) {
                self.opened += 1;
                one.alert = Some(self.opened);
                self.settled.push((self.opened, one.done.clone()));
            }
        }
        reported
    }

    fn report(&mut self, matcher: Matcher<'a, '_>, done: Vec<Done<'a>>) -> Vec<Reported<'a>> {
        match (matcher.rule.mode, matcher.rule.report) {
            (MatchMode::Each, _) => self.report_each(done),
            (MatchMode::Last, _) => self.report_last(done),
            (MatchMode::One, Report::Early) => self.report_early(matcher, done),
            (MatchMode::One, Report::Final) => self.report_final(matcher, done),
            (MatchMode::One, Report::Updates) => self.report_updates(matcher, done),
        }
    }

    fn report_each(&mut self, done: Vec<Done<'a>>) -> Vec<Reported<'a>> {
        done.into_iter().filter(|d| self.reported.insert(evidence(&d.bound))).map(opened).collect()
    }

    fn report_last(&mut self, done: Vec<Done<'a>>) -> Vec<Reported<'a>> {
        let mut seen = BTreeSet::new();
        let done: Vec<Done<'a>> = done.into_iter().filter(|d| seen.insert(evidence(&d.bound))).collect();
        self.runs.retain(|run| !seen.contains(&evidence(&run.bound)));
        self.keep_newest();
        done.into_iter().map(opened).collect()
    }

    /// Keeps one run for each place: the latest last event, then the latest first, then the preferred decisions.
    fn keep_newest(&mut self) {
        let age = |run: &Run<'a>| {
            let place = |i: usize| run.bound[i].event.place;
            (place(run.bound.len() - 1), place(0), std::cmp::Reverse(run.decisions.clone()))
        };
        let mut kept: Vec<Run<'a>> = Vec::new();
        let mut newest = BTreeMap::new();
        for run in std::mem::take(&mut self.runs) {
            // What only waits for time is not replaced.
            if matches!(run.waits, Waits::Absences(_)) {
                kept.push(run);
                continue;
            }
            match newest.entry(place(&run)) {
                Entry::Vacant(free) => {
                    free.insert(kept.len());
                    kept.push(run);
                }
                Entry::Occupied(rival) => {
                    let rival = &mut kept[*rival.get()];
                    if age(&run) > age(rival) {
                        *rival = run;
                    }
                }
            }
        }
        self.runs = kept;
    }

    fn report_early(&mut self, matcher: Matcher<'a, '_>, done: Vec<Done<'a>>) -> Vec<Reported<'a>> {
        let mut reported = Vec::new();
        let mut waiting = without_double_matches(done);
        while !waiting.is_empty() {
            let best = waiting.remove(0);
            let survives = skip(matcher, &best);
            self.runs.retain(|run| survives(run.bound[0].event.place));
            waiting.retain(|d| survives(d.bound[0].event.place));
            reported.push(opened(best));
        }
        reported
    }

    /// Beginnings are settled one after another: each has its answer once no run that began there can better it.
    fn report_final(&mut self, matcher: Matcher<'a, '_>, done: Vec<Done<'a>>) -> Vec<Reported<'a>> {
        self.candidates.extend(done);
        self.candidates.sort_by_key(Done::rank);
        let mut reported = Vec::new();
        while let Some(best) = self.candidates.first().cloned() {
            let began = best.bound[0].event.place;
            let undecided = self.runs.iter().any(|run| {
                let place = run.bound[0].event.place;
                place < began || place == began && may_better(run, &best)
            });
            if undecided {
                break;
            }
            let survives = skip(matcher, &best);
            let survives = |place: usize| place != began && survives(place);
            self.runs.retain(|run| survives(run.bound[0].event.place));
            self.candidates.retain(|d| survives(d.bound[0].event.place));
            reported.push(opened(best));
        }
        reported
    }

    fn report_updates(&mut self, matcher: Matcher<'a, '_>, done: Vec<Done<'a>>) -> Vec<Reported<'a>> {
        let mut reported = Vec::new();
        let mut waiting = without_double_matches(done);
        while !waiting.is_empty() {
            let best = waiting.remove(0);
            let alert = best.continues.unwrap_or_else(|| {
                self.opened += 1;
                self.opened
            });
            let grown = evidence(&best.bound);
            for run in self.runs.iter_mut().filter(|run| evidence(&run.bound) == grown) {
                run.continues = Some(alert);
            }
            let survives = skip(matcher, &best);
            self.runs.retain(|run| run.continues == Some(alert) || survives(run.bound[0].event.place));
            waiting.retain(|d| d.continues != Some(alert) && survives(d.bound[0].event.place));
            reported.push(self.revise(alert, best));
        }
        let runs = &self.runs;
        let (open, closed) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|(id, ..)| runs.iter().any(|r| r.continues == Some(*id)));
        self.open = open;
        let close = |(id, done, revision): (usize, Done<'a>, u64)| Reported {
            done,
            revision: revision + 1,
            status: "closed",
            alert: Some(id),
        };
        reported.extend(closed.into_iter().map(close));
        reported
    }

    fn revise(&mut self, alert: usize, done: Done<'a>) -> Reported<'a> {
        let mut revision = 0;
        match self.open.iter_mut().find(|(id, ..)| *id == alert) {
            Some(open) => {
                open.1 = done.clone();
                open.2 += 1;
                revision = open.2;
            }
            None => self.open.push((alert, done.clone(), 0)),
        }
        let status = if revision == 0 { "open" } else { "updated" };
        Reported { done, revision, status, alert: Some(alert) }
    }
}

fn opened(done: Done<'_>) -> Reported<'_> {
    Reported { done, revision: 0, status: "open", alert: None }
}

/// What survives a reported match, by the place of its first event.
fn skip(matcher: Matcher<'_, '_>, done: &Done<'_>) -> impl Fn(usize) -> bool + use<> {
    enum Ends {
        Nothing,
        Beginning(usize),
        UpTo(usize),
        Before(usize),
    }
    let place = |i: usize| done.bound[i].event.place;
    let to = |found: Option<&crate::eval::Bound<'_>>| {
        found.map_or(Ends::Beginning(place(0)), |b| Ends::Before(b.event.place))
    };
    let ends = match matcher.rule.skip {
        Skip::None => Ends::Nothing,
        Skip::ToNext => Ends::Beginning(place(0)),
        Skip::PastLast => Ends::UpTo(place(done.bound.len() - 1)),
        Skip::ToFirst(x) => to(done.bound.iter().find(|b| b.label == x.text)),
        Skip::ToLast(x) => to(done.bound.iter().rev().find(|b| b.label == x.text)),
    };
    move |began| match ends {
        Ends::Nothing => true,
        Ends::Beginning(place) => began != place,
        Ends::UpTo(place) => began > place,
        Ends::Before(place) => began >= place,
    }
}

/// Whether a run that began with the same event could still give a match that is preferred.
fn may_better(run: &Run<'_>, best: &Done<'_>) -> bool {
    let common = run.decisions.iter().zip(&best.decisions).position(|(a, b)| a != b);
    match common {
        Some(i) => run.decisions[i] < best.decisions[i],
        None => best.decisions.iter().skip(run.decisions.len()).any(|d| *d > 0),
    }
}

/// Forks that came to the same place with the same events and have as much time there are one run; the preferred decisions stay.
fn without_doubles(runs: Vec<Run<'_>>) -> Vec<Run<'_>> {
    let mut kept: Vec<Run<'_>> = Vec::new();
    let mut known = BTreeMap::new();
    for run in runs {
        match known.entry((run.continues, evidence(&run.bound), place(&run), limits(&run))) {
            Entry::Vacant(free) => {
                free.insert(kept.len());
                kept.push(run);
            }
            Entry::Occupied(twin) => {
                let twin = &mut kept[*twin.get()];
                if run.decisions < twin.decisions {
                    *twin = run;
                }
            }
        }
    }
    kept
}

fn without_double_matches(done: Vec<Done<'_>>) -> Vec<Done<'_>> {
    let mut seen = BTreeSet::new();
    done.into_iter().filter(|d| seen.insert((evidence(&d.bound), d.continues))).collect()
}
