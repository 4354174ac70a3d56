//! Builds the automaton of a pattern by following it one event at a time.
//!
//! What a run still has to see is a residual of the pattern ([`Residual`]), as in the derivatives of Brzozowski (1964) and the
//! partial derivatives of Antimirov (1996): `enter` gives the ways in which a part may begin, `bind` the ways
//! in which a residual goes on after one of its steps took an event. Each different residual is a state. Counters are
//! symbolic (guards and increments on the forks), so `{1001}` is as small as `{2}`, and `&` interleaves its sides for free.

use std::collections::BTreeMap;

use crate::ir::{self, Element, Pattern, StepId};
use crate::nfa::{Absence, Fork, Instruction, Leaf, LoopId, Nfa, RegisterId, State, StateId};
use crate::syntax::ast::Contiguity;

/// The most states an automaton may have.
pub const STATES_MAX: usize = 512;

/// The most ways in which one event may lead on.
const WAYS_MAX: usize = 4096;

/// A pattern has more states, or more ways on from one of them, than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Builds the automaton. With `every_way` (`report final`) a choice splits the run like an option.
pub fn build(pattern: &Pattern, every_way: bool) -> Result<Nfa, TooLarge> {
    let mut builder = Builder { every_way, ..Builder::default() };
    let root = builder.add(pattern, true);
    builder.run(root)
}

/// An index into [`Builder::nodes`].
type NodeId = usize;
/// An index into [`Builder::absences`].
type AbsenceId = usize;

/// A pattern's part, numbered.
enum Node {
    Step(StepId),
    Sequence(Vec<Part>),
    All(Vec<NodeId>),
    Any(Vec<NodeId>),
    Loop { body: NodeId, id: LoopId, spec: Spec },
}

#[derive(Clone, Copy)]
struct Spec {
    min: u32,
    max: Option<u32>,
    reluctant: bool,
    contiguity: Contiguity,
    apart: Option<i64>,
    within: Option<(RegisterId, i64)>,
}

#[derive(Clone, Copy)]
enum Part {
    Bind { contiguity: Contiguity, within: Option<i64>, node: NodeId },
    Absence(AbsenceId),
}

/// What stands before a step that is awaited.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Link {
    strict: bool,
    stays: bool,
    gap: Option<i64>,
    absences: Vec<AbsenceId>,
}

impl Link {
    fn new(contiguity: Contiguity, gap: Option<i64>, absences: Vec<AbsenceId>) -> Self {
        Link { strict: contiguity == Contiguity::Strict, stays: contiguity == Contiguity::Any, gap, absences }
    }
}

/// What is left of a part that has begun or is about to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Residual {
    Step { step: StepId, link: Link, again: bool },
    Sequence { node: NodeId, at: usize, inner: Box<Residual> },
    Any(Vec<Residual>),
    All { node: NodeId, sides: Vec<Side> },
    Loop { node: NodeId, inner: Box<Residual>, started: bool },
}

/// A side of `&`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    /// Nothing of it is bound.
    Todo(Residual),
    /// Some of it is bound.
    Doing(Residual),
    Done,
}

/// One way on: a wait, or (no residual) the part is complete with the absences passed since the last event bound.
#[derive(Clone)]
struct Way {
    instructions: Vec<Instruction>,
    rest: Result<Residual, Vec<AbsenceId>>,
}

impl Way {
    fn wait(residual: Residual) -> Self {
        Way { instructions: Vec::new(), rest: Ok(residual) }
    }

    fn done(absences: Vec<AbsenceId>) -> Self {
        Way { instructions: Vec::new(), rest: Err(absences) }
    }

    fn after(mut self, first: &[Instruction]) -> Self {
        self.instructions.splice(0..0, first.iter().copied());
        self
    }

    fn map(self, f: impl FnOnce(Residual) -> Residual) -> Self {
        Way { instructions: self.instructions, rest: self.rest.map(f) }
    }
}

/// What tells states apart: a residual to wait for, or absences to wait out.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum StateKey {
    Wait(Residual),
    Pending(Vec<AbsenceId>),
}

#[derive(Default)]
struct Builder {
    every_way: bool,
    nodes: Vec<Node>,
    absences: Vec<Absence>,
    loop_caps: Vec<u32>,
    registers: u16,
    places: BTreeMap<Residual, u16>,
    ids: BTreeMap<StateKey, StateId>,
    keys: Vec<StateKey>,
}

impl Builder {
    /// Numbers a part; `last` says that nothing of the pattern stands behind it.
    fn add(&mut self, pattern: &Pattern, last: bool) -> NodeId {
        let node = match pattern {
            Pattern::Step(step) => Node::Step(*step),
            Pattern::All(sides) => Node::All(sides.iter().map(|s| self.add(s, false)).collect()),
            Pattern::Any(sides) => Node::Any(sides.iter().map(|s| self.add(s, last)).collect()),
            Pattern::Loop(l) => self.add_loop(l, last),
            Pattern::Sequence(elements) => Node::Sequence(self.add_elements(elements, last)),
        };
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn add_loop(&mut self, l: &ir::Loop, last: bool) -> Node {
        let once = l.min == 1 && l.max == Some(1);
        let body = self.add(&l.body, last && once);
        let id = LoopId(self.loop_caps.len() as u16);
        self.loop_caps.push(l.max.unwrap_or(l.min.max(1)));
        let within = l.within.map(|ms| {
            self.registers += 1;
            (RegisterId(self.registers - 1), ms)
        });
        let spec =
            Spec { min: l.min, max: l.max, reluctant: l.reluctant, contiguity: l.contiguity, apart: l.apart, within };
        Node::Loop { body, id, spec }
    }

    fn add_elements(&mut self, elements: &[Element], last: bool) -> Vec<Part> {
        // Absences that end the pattern: all of those behind the last part that binds.
        let binds = elements.iter().rposition(|e| matches!(e, Element::Bind { .. })).unwrap_or(0);
        let mut parts = Vec::with_capacity(elements.len());
        for (i, element) in elements.iter().enumerate() {
            parts.push(match element {
                Element::Bind { contiguity, within, pattern } => Part::Bind {
                    contiguity: *contiguity,
                    within: *within,
                    // Absences behind a group do not take the end from those inside of it.
                    node: self.add(pattern, last && i == binds),
                },
                Element::Absence { steps, next, within } => {
                    let absence =
                        Absence { steps: steps.clone(), next: *next, last: last && i > binds, within: *within };
                    self.absences.push(absence);
                    Part::Absence(self.absences.len() - 1)
                }
            });
        }
        parts
    }

    // --- the ways in ---------------------------------------------------------------------------

    /// The ways in which a part may begin behind `link`, preferred first.
    fn enter(&self, node: NodeId, link: &Link, again: bool) -> Result<Vec<Way>, TooLarge> {
        let ways = match &self.nodes[node] {
            Node::Step(step) => vec![Way::wait(Residual::Step { step: *step, link: link.clone(), again })],
            Node::Sequence(_) => self.enter_sequence(node, 0, Some(link), link.absences.clone())?,
            Node::Any(sides) => self.enter_any(sides, link)?,
            Node::All(sides) => self.enter_all(node, sides, link)?,
            Node::Loop { body, spec, .. } => self.enter_loop(node, *body, spec, link)?,
        };
        if ways.len() > WAYS_MAX { Err(TooLarge) } else { Ok(ways) }
    }

    /// From element `at` on. What stands before a group (`outer`) belongs to the first event bound in it, whichever
    /// step's that is.
    fn enter_sequence(
        &self,
        node: NodeId,
        at: usize,
        outer: Option<&Link>,
        mut absences: Vec<AbsenceId>,
    ) -> Result<Vec<Way>, TooLarge> {
        let Node::Sequence(parts) = &self.nodes[node] else { unreachable!("only sequences are entered here") };
        let Some(part) = parts.get(at) else { return Ok(vec![Way::done(absences)]) };
        match part {
            Part::Absence(id) => {
                absences.push(*id);
                self.enter_sequence(node, at + 1, outer, absences)
            }
            Part::Bind { contiguity, within, node: inner } => {
                let link = match outer {
                    // Limits add up; of the contiguities the outermost counts.
                    Some(outer) => {
                        let gap = outer.gap.into_iter().chain(*within).min();
                        Link { absences, gap, ..outer.clone() }
                    }
                    None => Link::new(*contiguity, *within, absences),
                };
                let mut ways = Vec::new();
                for way in self.enter(*inner, &link, false)? {
                    match way.rest {
                        Ok(residual) => ways.push(Way {
                            instructions: way.instructions,
                            rest: Ok(Residual::Sequence { node, at, inner: Box::new(residual) }),
                        }),
                        Err(absences) => {
                            let rest = self.enter_sequence(node, at + 1, outer, absences)?;
                            ways.extend(rest.into_iter().map(|w| w.after(&way.instructions)));
                        }
                    }
                }
                Ok(ways)
            }
        }
    }

    fn enter_any(&self, sides: &[NodeId], link: &Link) -> Result<Vec<Way>, TooLarge> {
        let mut entered = Vec::new();
        for side in sides {
            entered.push(self.enter(*side, link, false)?);
        }
        if self.every_way {
            return Ok(entered.into_iter().flatten().collect());
        }
        // A run waits for all sides at once; an option in a side still makes a run of each way. The choice is left out by the first side that
        // may bind nothing, and where that stands among the ways of the side, it stands among those of the choice: before the first that
        // the side prefers less.
        let mut out = None;
        let mut waits: Vec<Vec<Residual>> = vec![Vec::new()];
        for ways in entered {
            let mut next = Vec::new();
            let mut empty = None;
            for way in ways {
                match way.rest {
                    Err(absences) => empty = empty.or(Some((next.len(), absences))),
                    Ok(residual) => next.push(residual),
                }
            }
            out = match (out, empty) {
                (Some((place, absences)), _) => Some((place * next.len(), absences)),
                (None, Some((before, absences))) if before < next.len() => Some((before, absences)),
                (None, Some((_, absences))) => Some((WAYS_MAX, absences)),
                (None, None) => None,
            };
            waits = product(&waits, &next, |mut all, one| {
                all.push(one);
                all
            })?;
        }
        let mut ways: Vec<Way> = waits.into_iter().map(|w| Way::wait(Residual::Any(w))).collect();
        if let Some((place, absences)) = out {
            ways.insert(place.min(ways.len()), Way::done(absences));
        }
        Ok(ways)
    }

    fn enter_all(&self, node: NodeId, sides: &[NodeId], link: &Link) -> Result<Vec<Way>, TooLarge> {
        let todo = sides.iter().map(|side| Some((*side, link.clone()))).collect();
        self.enter_sides(node, vec![Side::Done; sides.len()], todo, link.absences.clone())
    }

    /// Enters the sides of `&` that `todo` names; the others stand as in `sides`.
    fn enter_sides(
        &self,
        node: NodeId,
        sides: Vec<Side>,
        todo: Vec<Option<(NodeId, Link)>>,
        absences: Vec<AbsenceId>,
    ) -> Result<Vec<Way>, TooLarge> {
        let mut combined = vec![sides];
        for (i, entry) in todo.into_iter().enumerate() {
            let Some((side, link)) = entry else { continue };
            let ways: Vec<Side> =
                self.enter(side, &link, false)?.into_iter().map(|w| w.rest.map_or(Side::Done, Side::Todo)).collect();
            combined = product(&combined, &ways, |mut all, one| {
                all[i] = one;
                all
            })?;
        }
        Ok(combined
            .into_iter()
            .map(|sides| {
                if sides.iter().all(|s| *s == Side::Done) {
                    Way::done(absences.clone())
                } else {
                    Way::wait(Residual::All { node, sides })
                }
            })
            .collect())
    }

    fn enter_loop(&self, node: NodeId, body: NodeId, spec: &Spec, link: &Link) -> Result<Vec<Way>, TooLarge> {
        let mut ways = Vec::new();
        if spec.min == 0 && spec.reluctant {
            ways.push(Way::done(link.absences.clone()));
        }
        for way in self.enter(body, link, false)? {
            match way.rest {
                // A pass that binds nothing ends the repetition.
                Err(_) => ways.push(Way::done(link.absences.clone())),
                Ok(inner) => ways.push(Way {
                    instructions: way.instructions,
                    rest: Ok(Residual::Loop { node, inner: Box::new(inner), started: false }),
                }),
            }
        }
        if spec.min == 0 && !spec.reluctant {
            ways.push(Way::done(link.absences.clone()));
        }
        // Of several ways that bind nothing the preferred one is enough.
        let mut first = true;
        ways.retain(|way| way.rest.is_ok() || std::mem::take(&mut first));
        Ok(ways)
    }

    // --- the ways on ---------------------------------------------------------------------------

    /// The ways on after the `leaf`-th awaited step of a residual took an event.
    fn bind(&self, residual: &Residual, leaf: usize) -> Result<Vec<Way>, TooLarge> {
        match residual {
            Residual::Step { .. } => Ok(vec![Way::done(Vec::new())]),
            Residual::Sequence { node, at, inner } => {
                let mut ways = Vec::new();
                for way in self.bind(inner, leaf)? {
                    match way.rest {
                        Ok(inner) => ways.push(Way {
                            instructions: way.instructions,
                            rest: Ok(Residual::Sequence { node: *node, at: *at, inner: Box::new(inner) }),
                        }),
                        Err(absences) => {
                            let rest = self.enter_sequence(*node, at + 1, None, absences)?;
                            ways.extend(rest.into_iter().map(|w| w.after(&way.instructions)));
                        }
                    }
                }
                Ok(ways)
            }
            Residual::Any(sides) => {
                let (side, leaf) = locate(sides.iter(), leaf);
                self.bind(&sides[side], leaf)
            }
            Residual::All { node, sides } => self.bind_all(*node, sides, leaf),
            Residual::Loop { node, inner, started } => self.bind_loop(*node, inner, *started, leaf),
        }
    }

    fn bind_all(&self, node: NodeId, sides: &[Side], leaf: usize) -> Result<Vec<Way>, TooLarge> {
        let Node::All(nodes) = &self.nodes[node] else { unreachable!("the residual of `&` names one") };
        let awaited: Vec<(usize, &Residual)> = sides
            .iter()
            .enumerate()
            .filter_map(|(i, s)| match s {
                Side::Todo(r) | Side::Doing(r) => Some((i, r)),
                Side::Done => None,
            })
            .collect();
        let (index, leaf) = locate(awaited.iter().map(|(_, r)| *r), leaf);
        let (taken, inner) = awaited[index];
        let mut ways = Vec::new();
        for way in self.bind(inner, leaf)? {
            let mut sides = sides.to_vec();
            let absences = way.rest.as_ref().err().cloned().unwrap_or_default();
            sides[taken] = way.rest.map_or(Side::Done, Side::Doing);
            // What comes second is relaxed and has no limit of its own.
            let todo = sides
                .iter()
                .enumerate()
                .map(|(i, s)| {
                    let link = Link { absences: absences.clone(), ..Link::default() };
                    matches!(s, Side::Todo(_)).then(|| (nodes[i], link))
                })
                .collect();
            let rest = self.enter_sides(node, sides, todo, absences)?;
            ways.extend(rest.into_iter().map(|w| w.after(&way.instructions)));
        }
        Ok(ways)
    }

    fn bind_loop(&self, node: NodeId, inner: &Residual, started: bool, leaf: usize) -> Result<Vec<Way>, TooLarge> {
        let Node::Loop { body, id, spec } = &self.nodes[node] else { unreachable!("the residual of a loop names one") };
        let first: Vec<Instruction> =
            spec.within.iter().filter(|_| !started).map(|(r, _)| Instruction::Start(*r)).collect();
        let wrap = |inner| Residual::Loop { node, inner: Box::new(inner), started: true };
        let mut ways = Vec::new();
        for way in self.bind(inner, leaf)? {
            let absences = match way.rest {
                Ok(_) => {
                    ways.push(way.map(wrap).after(&first));
                    continue;
                }
                Err(absences) => absences,
            };
            let mut so_far = first.clone();
            so_far.extend(&way.instructions);
            so_far.push(Instruction::Count(*id));
            for next in self.pass_done(*body, *id, spec, absences, !started)? {
                ways.push(next.map(wrap).after(&so_far));
            }
        }
        Ok(ways)
    }

    /// The ways on after a pass of a loop: another one, or out. After the very `first` pass what the guards ask is known.
    fn pass_done(
        &self,
        body: NodeId,
        id: LoopId,
        spec: &Spec,
        absences: Vec<AbsenceId>,
        first: bool,
    ) -> Result<Vec<Way>, TooLarge> {
        let leave = |guard: Instruction| {
            let mut instructions = Vec::new();
            if !first {
                instructions.push(guard);
            }
            instructions.push(Instruction::Leave(id));
            instructions.extend(spec.within.iter().map(|(r, _)| Instruction::Clear(*r)));
            Way { instructions, rest: Err(absences.clone()) }
        };
        let mut ways = Vec::new();
        let mut empty = false;
        if spec.max.is_none_or(|max| max > 1) {
            let link = Link::new(spec.contiguity, spec.apart, absences.clone());
            for way in self.enter(body, &link, true)? {
                if way.rest.is_err() {
                    // A pass that binds nothing ends the repetition, also before its least number. Its own options say how
                    // much it is preferred.
                    let below = if spec.reluctant { spec.min } else { spec.max.unwrap_or(u32::MAX) };
                    if !empty && (!first || below > 1) {
                        ways.push(leave(Instruction::Below(id, below)));
                    }
                    empty = true;
                } else {
                    ways.push(match spec.max {
                        Some(max) if !first => way.after(&[Instruction::Below(id, max)]),
                        _ => way,
                    });
                }
            }
        }
        // Where an empty pass leads out, only the last pass is left to this.
        let least = if empty && !spec.reluctant { spec.max.unwrap_or(u32::MAX) } else { spec.min };
        if least != u32::MAX && (!first || least <= 1) {
            let out = leave(Instruction::AtLeast(id, least));
            ways.insert(if spec.reluctant { 0 } else { ways.len() }, out);
        }
        Ok(ways)
    }

    // --- states --------------------------------------------------------------------------------

    fn run(mut self, root: NodeId) -> Result<Nfa, TooLarge> {
        let mut starts = Vec::new();
        for way in self.enter(root, &Link::default(), false)? {
            // A match holds at least one event: a way that binds none is not taken.
            if let Ok(residual) = way.rest {
                let id = self.intern(StateKey::Wait(residual))?;
                if !starts.contains(&id) {
                    starts.push(id);
                }
            }
        }
        let mut states = Vec::new();
        while states.len() < self.keys.len() {
            let state = match self.keys[states.len()].clone() {
                StateKey::Pending(absences) => State { absences: self.absences_of(&absences), ..State::default() },
                StateKey::Wait(residual) => self.state(&residual)?,
            };
            states.push(state);
        }
        Ok(Nfa { states, starts, loops: self.loop_caps, registers: self.registers as usize })
    }

    fn intern(&mut self, key: StateKey) -> Result<StateId, TooLarge> {
        if let Some(id) = self.ids.get(&key) {
            return Ok(*id);
        }
        if self.keys.len() >= STATES_MAX {
            return Err(TooLarge);
        }
        let id = StateId(self.keys.len() as u16);
        self.ids.insert(key.clone(), id);
        self.keys.push(key);
        Ok(id)
    }

    fn absences_of(&self, ids: &[AbsenceId]) -> Vec<Absence> {
        ids.iter().map(|i| self.absences[*i].clone()).collect()
    }

    fn state(&mut self, residual: &Residual) -> Result<State, TooLarge> {
        let mut state = State::default();
        let mut awaited = Vec::new();
        self.describe(residual, &mut state, &mut awaited);
        let mut absences = Vec::new();
        for (index, (step, link, again)) in awaited.into_iter().enumerate() {
            state.strict |= link.strict;
            state.gap = state.gap.into_iter().chain(link.gap).min();
            for id in link.absences {
                if !absences.contains(&id) {
                    absences.push(id);
                }
            }
            let forks = self.forks(residual, index)?;
            state.leaves.push(Leaf { step, stays: link.stays, again, forks });
        }
        state.absences = self.absences_of(&absences);
        state.places = (self.place(residual, true), self.place(residual, false));
        Ok(state)
    }

    /// The place that a state is for `match last`: limits, and whether anything of a group is bound, do not count.
    fn place(&mut self, residual: &Residual, asks_next: bool) -> u16 {
        let place = self.bare(residual, asks_next);
        let next = self.places.len() as u16;
        *self.places.entry(place).or_insert(next)
    }

    fn bare(&self, residual: &Residual, asks_next: bool) -> Residual {
        let inner = |r: &Residual| Box::new(self.bare(r, asks_next));
        match residual {
            Residual::Step { step, link, .. } => {
                let mut link = Link { gap: None, ..link.clone() };
                link.absences.retain(|a| asks_next || !self.absences[*a].next);
                Residual::Step { step: *step, link, again: false }
            }
            Residual::Sequence { node, at, inner: r } => Residual::Sequence { node: *node, at: *at, inner: inner(r) },
            Residual::Any(sides) => Residual::Any(sides.iter().map(|r| self.bare(r, asks_next)).collect()),
            Residual::All { node, sides } => {
                let side = |side: &Side| match side {
                    Side::Todo(r) | Side::Doing(r) => Side::Doing(self.bare(r, asks_next)),
                    Side::Done => Side::Done,
                };
                Residual::All { node: *node, sides: sides.iter().map(side).collect() }
            }
            Residual::Loop { node, inner: r, .. } => Residual::Loop { node: *node, inner: inner(r), started: true },
        }
    }

    fn forks(&mut self, residual: &Residual, leaf: usize) -> Result<Vec<Fork>, TooLarge> {
        let mut forks: Vec<Fork> = Vec::new();
        for way in self.bind(residual, leaf)? {
            let target = match way.rest {
                Ok(residual) => Some(self.intern(StateKey::Wait(residual))?),
                Err(absences) if absences.iter().any(|a| self.absences[*a].last) => {
                    Some(self.intern(StateKey::Pending(absences))?)
                }
                Err(_) => None,
            };
            let fork = Fork { instructions: way.instructions, target };
            if !forks.contains(&fork) {
                forks.push(fork);
            }
        }
        Ok(forks)
    }

    /// Collects the awaited steps in order of preference, the groups' limits and the loops around them.
    fn describe(&self, residual: &Residual, state: &mut State, awaited: &mut Vec<(StepId, Link, bool)>) {
        match residual {
            Residual::Step { step, link, again } => awaited.push((*step, link.clone(), *again)),
            Residual::Sequence { inner, .. } => self.describe(inner, state, awaited),
            Residual::Any(sides) => sides.iter().for_each(|s| self.describe(s, state, awaited)),
            Residual::All { sides, .. } => {
                for side in sides {
                    if let Side::Todo(r) | Side::Doing(r) = side {
                        self.describe(r, state, awaited);
                    }
                }
            }
            Residual::Loop { node, inner, started } => {
                if let Node::Loop { id, spec, .. } = &self.nodes[*node] {
                    state.counted.push(*id);
                    state.groups.extend(spec.within.filter(|_| *started));
                }
                self.describe(inner, state, awaited);
            }
        }
    }
}

/// Which of several residuals holds the `leaf`-th awaited step, and as its how-manieth.
fn locate<'a>(residuals: impl Iterator<Item = &'a Residual>, mut leaf: usize) -> (usize, usize) {
    for (i, residual) in residuals.enumerate() {
        let n = count(residual);
        if leaf < n {
            return (i, leaf);
        }
        leaf -= n;
    }
    unreachable!("a leaf's number is below the count of leaves")
}

/// How many steps a residual awaits.
fn count(residual: &Residual) -> usize {
    match residual {
        Residual::Step { .. } => 1,
        Residual::Sequence { inner, .. } | Residual::Loop { inner, .. } => count(inner),
        Residual::Any(sides) => sides.iter().map(count).sum(),
        Residual::All { sides, .. } => sides
            .iter()
            .map(|s| match s {
                Side::Todo(r) | Side::Doing(r) => count(r),
                Side::Done => 0,
            })
            .sum(),
    }
}

/// Every pair of the two, combined.
fn product<A: Clone, B: Clone>(left: &[A], right: &[B], f: impl Fn(A, B) -> A) -> Result<Vec<A>, TooLarge> {
    if left.len() * right.len() > WAYS_MAX {
        return Err(TooLarge);
    }
    Ok(left.iter().flat_map(|a| right.iter().map(|b| f(a.clone(), b.clone()))).collect())
}
