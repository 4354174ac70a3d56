//! Runs: one step of one run at a time, by an event or by time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use lapwing_dsl::syntax::ast::{Contiguity, Expr, Report, Step};

use crate::data::{Data, Used};
use crate::eval::{Bound, Scope, World};
use crate::event::Event;
use crate::rule::{Key, Rule};
use crate::way::{Active, Await, Body, Frame, Path, Walker, Way, after_binding, paths};

/// A partial match, or one that only waits for time to pass.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    /// The events bound so far, in order.
    pub bound: Vec<Bound<'a>>,
    /// What its quantifiers decided.
    pub decisions: Vec<u32>,
    /// What it waits for.
    pub waits: Waits<'a>,
    /// Under `report updates`: the open alert that it continues.
    pub continues: Option<usize>,
    /// Whether it has passed over no event of the input since the last it bound.
    pub fresh: bool,
}

/// What a run waits for.
#[derive(Clone, Debug)]
pub enum Waits<'a> {
    /// Any of these steps.
    Steps(Vec<Await<'a>>),
    /// The absences at the end.
    Absences(Vec<Active<'a>>),
}

/// A complete match.
#[derive(Clone, Debug)]
pub struct Done<'a> {
    /// Its events, in order.
    pub bound: Vec<Bound<'a>>,
    /// What its quantifiers decided.
    pub decisions: Vec<u32>,
    /// The time of its last event, or the deadline that completed it.
    pub at: i64,
    /// The time at which it was complete, as windows see it.
    pub now: i64,
    /// How much of the past there was then.
    pub seen: usize,
    /// Lists and tables as they were when it was complete.
    pub data: Rc<Data>,
    /// Under `report updates`: the open alert that it continues.
    pub continues: Option<usize>,
    /// Where its absences at the end have held: the run that waited for that.
    pub waited: Option<Box<Run<'a>>>,
}

/// A match as a set of bindings: the input lines of each step.
pub type Evidence = BTreeMap<String, Vec<usize>>;

/// What is bound, without regard to the order of steps.
pub fn evidence(bound: &[Bound<'_>]) -> Evidence {
    let mut lines = Evidence::new();
    for b in bound {
        lines.entry(b.label.to_owned()).or_default().push(b.event.line);
    }
    lines
}

impl Done<'_> {
    /// The order in which complete matches are preferred: began first, then the quantifiers' decisions, then the
    /// earlier events.
    pub fn rank(&self) -> (usize, Vec<u32>, Vec<usize>) {
        let places = self.bound.iter().map(|b| b.event.place).collect();
        (self.bound[0].event.place, self.decisions.clone(), places)
    }
}

/// What a step of a run made.
#[derive(Default)]
pub struct Made<'a> {
    /// Runs that go on.
    pub runs: Vec<Run<'a>>,
    /// Complete matches.
    pub done: Vec<Done<'a>>,
}

/// One rule for one key, as its runs see it.
#[derive(Clone, Copy)]
pub struct Matcher<'a, 's> {
    /// The rule.
    pub rule: &'s Rule<'a>,
    /// The past, the current event included.
    pub world: &'s World<'a>,
    /// The key.
    pub key: &'s Key,
}

impl<'a> Matcher<'a, '_> {
    /// Offers an event of the key's input to a run.
    pub fn offer(&self, run: &Run<'a>, event: &Rc<Event>, made: &mut Made<'a>) {
        match &run.waits {
            Waits::Steps(awaits) => self.offer_to_steps(run, awaits, event, made),
            Waits::Absences(absences) => self.offer_to_absences(run, absences, event, made),
        }
    }

    /// Lets an event begin new runs.
    pub fn begin(&self, event: &Rc<Event>, made: &mut Made<'a>) {
        let nothing = nothing();
        for awaits in self.beginnings() {
            if let Some(one) = awaits.iter().find(|one| self.accepts(&nothing, one, event)) {
                self.take(&nothing, one, event, self.used(&nothing, one.step, event), made);
            }
        }
    }

    /// What may be awaited first.
    fn beginnings(&self) -> Vec<Vec<Await<'a>>> {
        let waits = |way| match way {
            Way::Wait(awaits) => Some(awaits),
            Way::Through(_) => None,
        };
        let mut ways = self.walker().begin(self.rule.pattern);
        ways.retain(|way| matches!(way, Way::Wait(_)));
        ranked(&mut ways, 0);
        ways.into_iter().filter_map(waits).collect()
    }

    /// The runs that begin with an event bound before to a step of that name; no condition is asked.
    pub fn rebind_first(&self, bound: &Bound<'_>) -> Vec<Run<'a>> {
        let mut made = Made::default();
        for one in self.beginnings().concat().iter().filter(|one| one.step.label().text == bound.label) {
            self.take(&nothing(), one, &bound.event, bound.used.clone(), &mut made);
        }
        made.runs
    }

    /// The runs that a run becomes with an event bound before to a step of that name; only limits are asked.
    pub fn rebind(&self, run: &Run<'a>, bound: &Bound<'_>) -> Vec<Run<'a>> {
        let Waits::Steps(awaits) = &run.waits else { return Vec::new() };
        let in_time = |one: &&Await<'a>| self.limit(run, one).is_none_or(|limit| bound.event.at <= limit);
        let mut made = Made::default();
        if !needs_all(awaits) || awaits.iter().all(|one| in_time(&one)) {
            for one in awaits.iter().filter(in_time).filter(|one| one.step.label().text == bound.label) {
                self.take(run, one, &bound.event, bound.used.clone(), &mut made);
            }
        }
        made.runs
    }

    /// The run without what it can wait for no longer; none where nothing is left, or where it would be complete already.
    pub fn in_time(&self, run: Run<'a>) -> Option<Run<'a>> {
        let mut made = Made::default();
        match &run.waits {
            Waits::Steps(awaits) => {
                let clock = self.world.clock;
                let left = awaits.iter().filter(|one| self.limit(&run, one).is_none_or(|limit| limit >= clock));
                keep(&run, awaits, left.cloned().collect(), &mut made);
                made.runs.pop()
            }
            Waits::Absences(absences) => {
                let past = self.completion(&run, absences).is_some_and(|end| end < self.world.clock);
                (!past).then_some(run)
            }
        }
    }

    /// Whether a condition holds for a candidate of a step, after these events; `used` gets what models answer.
    pub fn holds_for(
        &self,
        before: &[Bound<'a>],
        step: &Step,
        event: &Rc<Event>,
        condition: &Expr,
        used: &RefCell<Vec<Used>>,
    ) -> bool {
        let run = Run { bound: before.to_vec(), ..nothing() };
        Scope { used: Some(used), ..self.candidate_scope(&run, step, event) }.holds(condition)
    }

    /// The next moment at which time alone changes the run.
    pub fn timer(&self, run: &Run<'a>) -> Option<i64> {
        match &run.waits {
            Waits::Steps(awaits) => awaits.iter().filter_map(|one| self.limit(run, one)).min(),
            Waits::Absences(absences) => self.completion(run, absences),
        }
    }

    /// Whether a run that only waits for time, or has waited, is made false by an event that came behind.
    pub fn is_made_false(&self, run: &Run<'a>, event: &Rc<Event>) -> bool {
        let Waits::Absences(absences) = &run.waits else { return false };
        let last = &run.bound.last().expect("a run holds an event").event;
        let end = self.completion(run, absences);
        let comes_before = event.late && (event.at, event.line) <= (last.at, last.line);
        !comes_before && absences.iter().any(|a| !a.next && self.forbids(run, a, end, event))
    }

    /// Lets time pass a deadline.
    pub fn pass(&self, run: &Run<'a>, deadline: i64, made: &mut Made<'a>) {
        match &run.waits {
            Waits::Steps(awaits) => {
                let kept = awaits.iter().filter(|one| self.limit(run, one).is_none_or(|limit| limit > deadline));
                keep(run, awaits, kept.cloned().collect(), made);
            }
            Waits::Absences(absences) => match self.completion(run, absences) {
                Some(at) if at <= deadline => self.complete(run, at, at, made),
                _ => made.runs.push(run.clone()),
            },
        }
    }

    fn walker(&self) -> Walker {
        Walker { every_way: self.rule.report == Report::Final }
    }

    fn offer_to_steps(&self, run: &Run<'a>, awaits: &[Await<'a>], event: &Rc<Event>, made: &mut Made<'a>) {
        let open: Vec<&Await<'a>> = awaits.iter().filter(|one| !self.stops_repeating(run, one, event)).collect();
        if needs_all(awaits) && open.len() < awaits.len() {
            return;
        }
        // Where one side of an `&` is out of time, the others are of no use.
        let in_vain =
            needs_all(awaits) && awaits.iter().any(|one| self.limit(run, one).is_some_and(|limit| event.at > limit));
        let taken = open.iter().find(|one| !in_vain && self.accepts(run, one, event));
        if let Some(one) = taken {
            self.take(run, one, event, self.used(run, one.step, event), made);
        }
        let may_stay = |one: &&Await<'a>| match taken {
            Some(taken) => taken.entry.contiguity == Contiguity::Any,
            None => one.entry.contiguity != Contiguity::Strict,
        };
        let is_free = |one: &&Await<'a>| !one.path.absences.iter().any(|a| self.forbids(run, a, None, event));
        let mut stay: Vec<Await<'a>> =
            open.iter().copied().filter(|one| may_stay(one) && is_free(one)).cloned().collect();
        for one in &mut stay {
            one.path.absences.retain(|a| !a.next);
        }
        keep(&Run { fresh: false, ..run.clone() }, awaits, stay, made);
    }

    fn offer_to_absences(&self, run: &Run<'a>, absences: &[Active<'a>], event: &Rc<Event>, made: &mut Made<'a>) {
        let end = self.completion(run, absences);
        if absences.iter().any(|a| self.forbids(run, a, end, event)) {
            return;
        }
        let left: Vec<Active<'a>> = absences.iter().filter(|a| !a.next).cloned().collect();
        // The deadline of what is left may be past already.
        match self.completion(run, &left) {
            Some(at) if at < self.world.clock => self.complete(run, at, event.at, made),
            None if !left.iter().any(|a| a.last) => self.complete(run, last_at(run), event.at, made),
            _ => made.runs.push(Run { waits: Waits::Absences(left), fresh: false, ..run.clone() }),
        }
    }

    /// Binds the event and forks into every way on.
    fn take(&self, run: &Run<'a>, one: &Await<'a>, event: &Rc<Event>, used: Vec<Used>, made: &mut Made<'a>) {
        let mut bound = run.bound.clone();
        bound.push(Bound { label: &one.step.label().text, event: event.clone(), used });
        let stack = after_binding(one.stack.clone(), event.at);
        let path = Path { decisions: one.path.decisions.clone(), absences: Vec::new() };
        let before = path.decisions.len();
        let mut ways = self.walker().go_on(stack, path);
        ranked(&mut ways, before);
        for way in ways {
            let next = |decisions, waits| Run {
                bound: bound.clone(),
                decisions,
                waits,
                continues: run.continues,
                fresh: true,
            };
            match way {
                Way::Wait(awaits) => made.runs.push(next(awaits[0].path.decisions.clone(), Waits::Steps(awaits))),
                Way::Through(path) if path.absences.iter().any(|a| a.last) => {
                    made.runs.push(next(path.decisions, Waits::Absences(path.absences)));
                }
                Way::Through(path) => {
                    self.complete(&next(path.decisions, Waits::Absences(Vec::new())), event.at, event.at, made);
                }
            }
        }
    }

    /// A complete match is one only if `when` holds.
    fn complete(&self, run: &Run<'a>, at: i64, now: i64, made: &mut Made<'a>) {
        let (bound, decisions, seen) = (run.bound.clone(), run.decisions.clone(), self.world.history.len());
        let data = self.world.data.clone();
        let held = matches!(&run.waits, Waits::Absences(all) if self.completion(run, all) == Some(at));
        let waited = held.then(|| Box::new(run.clone()));
        let done = Done { bound, decisions, at, now, seen, data, continues: run.continues, waited };
        if self.rule.when.is_none_or(|c| self.match_scope(&done.bound, now).eval(c).truth() == Some(true)) {
            made.done.push(done);
        }
    }

    /// The scope of `when`, `emit`, `message` and `severity`.
    pub fn match_scope<'x>(&'x self, bound: &'x [Bound<'a>], now: i64) -> Scope<'x> {
        let current = &bound.last().expect("a match holds an event").event;
        Scope {
            world: self.world,
            rule: self.rule,
            key: self.key,
            bound,
            candidate: None,
            current,
            now,
            counted: None,
            element: None,
            used: None,
        }
    }

    fn candidate_scope<'x>(&'x self, run: &'x Run<'a>, step: &'x Step, event: &'x Rc<Event>) -> Scope<'x> {
        Scope {
            world: self.world,
            rule: self.rule,
            key: self.key,
            bound: &run.bound,
            candidate: Some((event, &step.label().text)),
            current: event,
            now: event.at,
            counted: None,
            element: None,
            used: None,
        }
    }

    /// What models answer to the condition of a step that takes the event.
    fn used(&self, run: &Run<'a>, step: &Step, event: &Rc<Event>) -> Vec<Used> {
        let used = RefCell::default();
        Scope { used: Some(&used), ..self.candidate_scope(run, step, event) }.holds_if_any(step.filter.as_ref());
        used.into_inner()
    }

    /// Whether the step may bind the event.
    fn accepts(&self, run: &Run<'a>, one: &Await<'a>, event: &Rc<Event>) -> bool {
        let step = one.step;
        let scope = self.candidate_scope(run, step, event);
        self.is_candidate(step, event)
            && self.limit(run, one).is_none_or(|limit| event.at <= limit)
            && !step.until.as_ref().is_some_and(|c| scope.holds(c))
            && scope.holds_if_any(step.filter.as_ref())
    }

    fn is_candidate(&self, step: &Step, event: &Event) -> bool {
        step.event.text == event.ty && self.rule.step_key(step, event).as_ref() == Some(self.key)
    }

    /// `until`, once an element is bound.
    fn stops_repeating(&self, run: &Run<'a>, one: &Await<'a>, event: &Rc<Event>) -> bool {
        let Some(until) = &one.step.until else { return false };
        one.elements > 0
            && self.is_candidate(one.step, event)
            && self.candidate_scope(run, one.step, event).holds(until)
    }

    /// Whether an absence forbids the event; `end` is the time until which all of them hold at the end of a pattern.
    fn forbids(&self, run: &Run<'a>, active: &Active<'a>, end: Option<i64>, event: &Rc<Event>) -> bool {
        let until = if active.last && end.is_some() { self.deadline(run, active) } else { end };
        until.is_none_or(|until| event.at <= until)
            && active.absence.steps.iter().any(|step| {
                step.event.text == event.ty
                    && self.rule.key(event).as_ref() == Some(self.key)
                    && self.candidate_scope(run, step, event).holds_if_any(step.filter.as_ref())
            })
    }

    /// Until when the step may still be bound.
    fn limit(&self, run: &Run<'a>, one: &Await<'a>) -> Option<i64> {
        let first = run.bound.first()?;
        let whole = self.rule.within.map(|d| first.event.at.saturating_add(d));
        let since_last = one.entry.limits.iter().map(|d| last_at(run).saturating_add(*d));
        let groups = one.stack.iter().filter_map(|frame| match frame {
            Frame::Limit { within, first_at: Some(at) } => Some(at.saturating_add(*within)),
            _ => None,
        });
        whole.into_iter().chain(since_last).chain(groups).min()
    }

    /// When the absences at the end are over.
    fn completion(&self, run: &Run<'a>, absences: &[Active<'a>]) -> Option<i64> {
        absences.iter().filter(|a| a.last).filter_map(|a| self.deadline(run, a)).max()
    }

    /// The deadline of an absence at the end: its own limit, or else the rule's.
    fn deadline(&self, run: &Run<'a>, active: &Active<'a>) -> Option<i64> {
        match active.absence.within {
            Some(d) => Some(last_at(run).saturating_add(d.ms)),
            None => self.rule.within.map(|d| run.bound[0].event.at.saturating_add(d)),
        }
    }
}

/// A run before its first event.
fn nothing<'a>() -> Run<'a> {
    let waits = Waits::Steps(Vec::new());
    Run { bound: Vec::new(), decisions: Vec::new(), waits, continues: None, fresh: true }
}

/// What is decided between two events is one decision: the place of the way among those that are open there, the preferred first. Where only
/// one is open, nothing is decided.
fn ranked(ways: &mut [Way<'_>], before: usize) {
    let mut open: Vec<Vec<u32>> = ways.iter_mut().map(|way| paths(way)[0].decisions[before..].to_vec()).collect();
    open.sort();
    open.dedup();
    for path in ways.iter_mut().flat_map(paths) {
        let place = open.iter().position(|one| *one == path.decisions[before..]).expect("it is one of them");
        path.decisions.truncate(before);
        if open.len() > 1 {
            path.decisions.push(place as u32);
        }
    }
}

fn last_at(run: &Run<'_>) -> i64 {
    run.bound.last().expect("a run holds an event").event.at
}

/// The run with those of its awaits that are left. Without one of an `&`'s it cannot complete.
fn keep<'a>(run: &Run<'a>, before: &[Await<'a>], left: Vec<Await<'a>>, made: &mut Made<'a>) {
    if !left.is_empty() && (left.len() == before.len() || !needs_all(before)) {
        made.runs.push(Run { waits: Waits::Steps(left), ..run.clone() });
    }
}

/// Whether the awaits are those of an `&`.
fn needs_all(awaits: &[Await<'_>]) -> bool {
    awaits.iter().any(|one| one.stack.iter().any(|frame| matches!(frame, Frame::Sides(_))))
}

/// The place where a run waits, as text: equal for runs that wait at one place. In an unbounded repetition all
/// elements after the least number (at least after the first) are one place.
pub fn place(run: &Run<'_>) -> String {
    let absences = |list: &[Active<'_>]| -> String {
        let mut names: Vec<String> =
            list.iter().map(|a| format!("!{:p}{}", a.absence, if a.next { "n" } else { "" })).collect();
        names.sort();
        names.concat()
    };
    match &run.waits {
        Waits::Absences(list) => format!("end{}", absences(list)),
        Waits::Steps(awaits) => awaits
            .iter()
            .map(|one| {
                let frames: String = one.stack.iter().map(frame_place).collect();
                format!("{frames}{:p}{:?}{};", one.step, one.entry.contiguity, absences(&one.path.absences))
            })
            .collect(),
    }
}

/// What limits the steps that a run waits for. With the same events bound it differs at one place: before the first event of
/// a pass `apart` counts, after it no more.
pub fn limits(run: &Run<'_>) -> Vec<(Vec<i64>, Vec<Option<i64>>)> {
    let begun = |frame: &Frame<'_>| match frame {
        Frame::Limit { first_at, .. } => Some(*first_at),
        _ => None,
    };
    match &run.waits {
        Waits::Absences(_) => Vec::new(),
        Waits::Steps(awaits) => {
            awaits.iter().map(|one| (one.entry.limits.clone(), one.stack.iter().filter_map(begun).collect())).collect()
        }
    }
}

fn frame_place(frame: &Frame<'_>) -> String {
    match frame {
        Frame::Sequence { elements, next, .. } => format!("s{:p}{next}/", *elements),
        Frame::Limit { .. } => String::new(),
        // The other sides' awaits stand beside it, and say how far they have come.
        Frame::Sides(sides) => format!("a{}/", sides.current),
        Frame::Repeat { body, quantifier, count, .. } => {
            let further = quantifier.min.max(1) + 1;
            let count = if quantifier.max.is_none() { (*count).min(further) } else { *count };
            match body {
                Body::Step(step) => format!("r{:p}{count}/", *step),
                Body::Group(pattern) => format!("g{:p}{count}/", *pattern),
            }
        }
    }
}
