//! Leads the events that a run has bound through the automaton of a changed rule.

use std::cell::{Cell as Count, RefCell};
use std::collections::BTreeMap;

use lapwing_dsl::compile::walk::walk;
use lapwing_dsl::ir::{ExprKind, StepId};
use lapwing_dsl::nfa::{Absence, State, StateId};
use lapwing_dsl::program::Program;
use lapwing_dsl::value::Value;

use super::same::{Change, Laid, Term};
use crate::Millis;
use crate::asking::Asking;
use crate::bound::{BoundEvent, BoundEvents, BoundId, BoundRef};
use crate::data::Data;
use crate::data::model::Score;
use crate::eval::{NoWindows, Scope};
use crate::planted::{Bug, bug};
use crate::run::{Memory, NO_DECISION, Run};

/// Leads the runs of one rule for one key over.
pub struct Replay<'a> {
    /// What has changed.
    pub change: &'a Change,
    /// The old program.
    pub old: &'a Program,
    /// The new one.
    pub new: &'a Program,
    /// The key's parts.
    pub key: &'a [Value<'static>],
    /// The new lists and tables: they are asked as of the bound event's time.
    pub data: &'a Data,
    /// What is due strictly before has gone.
    pub clock: Millis,
    /// Events bound anew, by what they were and what they stand behind: runs that shared events still do.
    made: BTreeMap<(Option<BoundId>, BoundId, u16), BoundId>,
}

/// A bound event that is led over.
struct Led {
    id: BoundId,
    node: BoundEvent,
    /// What models answered to what is asked anew.
    scores: Vec<Score>,
}

/// A way of a run's events through the new automaton.
#[derive(Clone)]
struct Way {
    state: StateId,
    memory: Memory,
    deadline: Millis,
    /// The ways on that were taken before each event and after the last.
    ranks: Vec<u16>,
}

impl<'a> Replay<'a> {
    /// For one rule and one key.
    pub fn new(
        change: &'a Change,
        old: &'a Program,
        new: &'a Program,
        key: &'a [Value<'static>],
        data: &'a Data,
        clock: Millis,
    ) -> Replay<'a> {
        Replay { change, old, new, key, data, clock, made: BTreeMap::new() }
    }

    /// What becomes of the runs. Of several that come to one place with the same events one is left.
    pub fn lead(mut self, runs: Vec<Run>, bound: &mut BoundEvents) -> Vec<Run> {
        let mut led: Vec<Run> = Vec::new();
        for run in runs {
            let chain: Vec<(BoundId, BoundEvent)> =
                bound.oldest_first(run.last).into_iter().map(|(id, node)| (id, node.clone())).collect();
            // A run whose time was up may not have been swept away yet.
            if run.deadline >= self.clock
                && let Some(scores) = self.still_meets(&chain)
            {
                let chain: Vec<Led> =
                    chain.into_iter().zip(scores).map(|((id, node), scores)| Led { id, node, scores }).collect();
                for way in self.ways(&chain) {
                    led.extend(self.arrive(&run, &chain, way, bound).filter(|new| !led.contains(new)));
                }
            }
            bound.release(run.last);
        }
        led.iter().for_each(|run| bound.hold(run.last));
        self.made.values().for_each(|id| bound.release(*id));
        led
    }

    /// Whether each event has a step in the new rule, meets what is asked of it anew, and was kept as the new rule needs it: then what models
    /// answered to that, for each event.
    fn still_meets(&self, chain: &[(BoundId, BoundEvent)]) -> Option<Vec<Vec<Score>>> {
        let errors = Count::new(0);
        let mut seen = BoundEvents::default();
        let mut last = None;
        let meets = |(_, node): &(BoundId, BoundEvent)| {
            let step = &self.change.steps[node.step.0 as usize];
            let (Some(_), Some(asked), Some(_)) = (step.new, &step.asked, &step.laid) else { return None };
            let used = RefCell::default();
            let fields = step.seen.iter().map(|laid| self.field(node, *laid)).collect();
            let before = last;
            let id = seen.add(before, node.step, 0, node.origin, node.at, node.sequence, fields);
            last = Some(id);
            let scope = Scope {
                program: Some(&self.change.view),
                event: None,
                current: Some(BoundRef::Shared(seen.get(id))),
                step: node.step,
                bound: &seen,
                last: before.map(|before| BoundRef::Shared(seen.get(before))),
                element: (None, None),
                key: self.key,
                windows: &NoWindows,
                data: self.data,
                now: node.at,
                errors: &errors,
                asking: Some(Asking::Used(&used)),
            };
            // As when an event is bound, what `until` asks is not told.
            let ask = |term: &Term| Scope { asking: scope.asking.filter(|_| term.holds), ..scope }.holds(&term.expr);
            let holds = asked.iter().all(|term| ask(term) == term.holds || bug(Bug::Asked));
            holds.then(|| used.into_inner())
        };
        chain.iter().map(meets).collect()
    }

    /// The ways of the events through the new automaton, preferred first.
    fn ways(&self, chain: &[Led]) -> Vec<Way> {
        let nfa = &self.new.nfa;
        let rank = |rank: usize| if nfa.starts.len() == 1 { NO_DECISION } else { rank as u16 };
        let start = |(i, state): (usize, &StateId)| Way {
            state: *state,
            memory: Memory::new(nfa),
            deadline: Millis::MAX,
            ranks: vec![rank(i)],
        };
        let mut ways: Vec<Way> = nfa.starts.iter().enumerate().map(start).collect();
        for Led { node, .. } in chain {
            let mut next: Vec<Way> = Vec::new();
            for way in ways.iter().filter(|way| node.at <= way.deadline) {
                self.bind(way, node, chain[0].node.at, &mut next);
            }
            ways = next;
        }
        ways
    }

    fn bind(&self, way: &Way, node: &BoundEvent, first_at: Millis, next: &mut Vec<Way>) {
        let nfa = &self.new.nfa;
        let step = self.change.steps[node.step.0 as usize].new;
        for leaf in nfa.state(way.state).leaves.iter().filter(|leaf| Some(leaf.step) == step) {
            // As in a step of a live run, the rank counts the ways that are open, also one that completes the match.
            let mut open = 0;
            let mut led: Vec<Way> = Vec::new();
            for fork in &leaf.forks {
                let mut memory = way.memory.clone();
                if !memory.carry_out(&fork.instructions, nfa, node.at) {
                    continue;
                }
                let mut ranks = way.ranks.clone();
                ranks.push(open);
                open += 1;
                if let Some(state) = fork.target {
                    let deadline = memory.deadline(self.new, nfa.state(state), first_at, node.at);
                    led.push(Way { state, memory, deadline, ranks });
                }
            }
            if open == 1 {
                led.iter_mut().flat_map(|way| way.ranks.last_mut()).for_each(|rank| *rank = NO_DECISION);
            }
            for way in led {
                if !next.iter().any(|other| other.state == way.state && other.memory == way.memory) {
                    next.push(way);
                }
            }
        }
    }

    /// The run at the end of a way, if it waits there for what it waited for before.
    fn arrive(&mut self, run: &Run, chain: &[Led], way: Way, bound: &mut BoundEvents) -> Option<Run> {
        let state = self.new.nfa.state(way.state);
        if awaited(self.old, self.old.nfa.state(run.state)) != awaited(self.new, state) {
            return None;
        }
        // A run that has passed over an event has missed what must come next. Whether it has is known only where the old rule asked for it: else
        // events that no rule could use were never seen.
        let old = self.old.nfa.state(run.state);
        let asked = old.strict || old.absences.iter().any(|absence| absence.next);
        let fresh = (run.fresh && asked) || bug(Bug::Passed);
        if state.strict && !fresh {
            return None;
        }
        let deadline = if fresh || !state.is_pending() { way.deadline } else { self.rest(state, run.first_at, chain)? };
        if deadline < self.clock {
            return None;
        }
        let mut last: Option<BoundId> = None;
        for (event, rank) in chain.iter().zip(&way.ranks) {
            let place = (last, event.id, *rank);
            let id = match self.made.get(&place) {
                Some(id) => *id,
                None => {
                    let id = self.rebind(last, event, *rank, bound);
                    self.made.insert(place, id);
                    id
                }
            };
            last = Some(id);
        }
        let mut led = Run {
            state: way.state,
            rank: way.ranks.last().copied().unwrap_or(NO_DECISION),
            fresh,
            last: last?,
            deadline,
            more: None,
            ..run.clone()
        };
        way.memory.store(&mut led);
        if let Some(version) = run.started_version() {
            led.more.get_or_insert_default().started_version = Some(version);
        }
        Some(led)
    }

    /// Until when a run waits that has answered what is asked of the very next event; none where nothing else is left to wait for.
    fn rest(&self, state: &State, first_at: Millis, chain: &[Led]) -> Option<Millis> {
        let whole = self.new.rule.within.map_or(Millis::MAX, |w| first_at.saturating_add(w));
        let last_at = chain.last()?.node.at;
        let limit = |a: &Absence| a.within.map_or(whole, |w| last_at.saturating_add(w));
        state.absences.iter().filter(|a| a.last && !a.next).map(limit).max()
    }

    fn rebind(&self, before: Option<BoundId>, event: &Led, rank: u16, bound: &mut BoundEvents) -> BoundId {
        let node = &event.node;
        let step = &self.change.steps[node.step.0 as usize];
        let new = step.new.expect("an event without a step in the new rule is not led over");
        let mut captured: Vec<Value<'static>> =
            step.laid.iter().flatten().map(|laid| self.field(node, *laid)).collect();
        if self.new.scored[new.0 as usize] {
            captured.push(self.scores(event, new));
        }
        bound.add(before, new, rank, node.origin, node.at, node.sequence, captured.into())
    }

    /// What models answered when the event was bound, as far as the new rule still asks them, and what they answered to what is asked anew.
    fn scores(&self, event: &Led, new: StepId) -> Value<'static> {
        let node = &event.node;
        let mut scores = event.scores.clone();
        if self.old.scored[node.step.0 as usize] {
            let mut asked: Vec<&str> = Vec::new();
            for term in &self.new.rule.steps[new.0 as usize].filter {
                walk(term, &mut |e| {
                    if let ExprKind::Score { model, .. } = &e.kind {
                        asked.push(&model.name);
                    }
                });
            }
            let kept = Score::unpack(&node.captured[self.old.captures[node.step.0 as usize].len()]);
            scores.extend(kept.into_iter().filter(|score| asked.contains(&score.model.as_str())));
        }
        Score::sort(&mut scores);
        Score::pack(&scores)
    }
}

impl Replay<'_> {
    fn field(&self, node: &BoundEvent, laid: Laid) -> Value<'static> {
        match laid {
            Laid::Kept(place) => node.captured[place].clone(),
            Laid::Float(place) => match node.captured[place] {
                Value::Int(v) => Value::Float(v as f64),
                _ => Value::Missing,
            },
            Laid::Decimal(place) => match node.captured[place] {
                Value::Int(v) => Value::Decimal(v.into()),
                _ => Value::Missing,
            },
            Laid::Time => Value::Timestamp(node.at),
            Laid::Key(part) => self.key[part].clone(),
        }
    }
}

/// The names of the steps awaited; none where a run waits for time alone.
fn awaited<'p>(program: &'p Program, state: &State) -> Vec<&'p str> {
    let name = |step: lapwing_dsl::ir::StepId| program.rule.steps[step.0 as usize].name.as_str();
    let mut names: Vec<&str> = state.leaves.iter().map(|leaf| name(leaf.step)).collect();
    names.sort_unstable();
    names.dedup();
    names
}
