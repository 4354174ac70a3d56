//! The steps of a pattern: their names, types and places, and which of them a condition can read.

use super::names::unknown;
use super::rule::RuleCheck;
use crate::diagnostics::{Code, Diagnostic};
use crate::ir::StepId;
use crate::schema::EventId;
use crate::syntax::ast::{ElementKind, Group, Pattern, PatternKind, Quantifier, Step};

/// A step or absence and where in the pattern it stands.
pub(super) struct StepInfo<'a> {
    pub name: &'a str,
    pub step: &'a Step,
    /// None where its type is unknown, which has been reported.
    pub event: Option<EventId>,
    pub absence: bool,
    /// Whether it, or a group around it, may pass more than once.
    pub repeated: bool,
    /// The joins and groups around it, outermost first.
    pub path: Vec<Turn>,
}

/// A join or a repeated group on the way to a step, and which of its children leads there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pub node: usize,
    pub kind: TurnKind,
    pub child: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TurnKind {
    Sequence,
    All,
    Any,
    Repeated,
}

/// What a step is to the condition of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// It may be bound by then.
    Readable,
    /// It is another side of an `&`.
    OtherSide,
    /// It is bound only after.
    Later,
}

/// Whether a quantifier lets something pass more than once.
pub(super) fn repeats(quantifier: Option<Quantifier>) -> bool {
    quantifier.is_some_and(|q| q.max.is_none_or(|m| m > 1))
}

impl<'a> RuleCheck<'a> {
    /// Numbers the steps in the order of the text.
    pub fn collect_steps(&mut self, pattern: &'a Pattern) {
        let mut walk = Walk { path: Vec::new(), nodes: 0 };
        self.collect(pattern, &mut walk);
        self.refuse_same_names();
    }

    fn collect(&mut self, pattern: &'a Pattern, walk: &mut Walk) {
        match &pattern.kind {
            PatternKind::Step(step) => self.add_step(step, false, walk),
            PatternKind::Group(group) => self.collect_group(group, walk),
            PatternKind::All(sides) => {
                walk.each(TurnKind::All, sides, |walk, side| self.collect(side, walk));
            }
            PatternKind::Any(sides) => {
                walk.each(TurnKind::Any, sides, |walk, side| self.collect(side, walk));
            }
            PatternKind::Sequence(elements) => {
                walk.each(TurnKind::Sequence, elements, |walk, element| match &element.kind {
                    ElementKind::Pattern(pattern) => self.collect(pattern, walk),
                    ElementKind::Absence(absence) => absence.steps.iter().for_each(|s| self.add_step(s, true, walk)),
                });
            }
        }
    }

    fn collect_group(&mut self, group: &'a Group, walk: &mut Walk) {
        if repeats(group.repeat) {
            walk.each(TurnKind::Repeated, std::slice::from_ref(&*group.body), |walk, body| self.collect(body, walk));
        } else {
            self.collect(&group.body, walk);
        }
    }

    fn add_step(&mut self, step: &'a Step, absence: bool, walk: &Walk) {
        let event = self.event_of(&step.event);
        let repeated = repeats(step.repeat) || walk.path.iter().any(|t| t.kind == TurnKind::Repeated);
        self.steps.push(StepInfo { name: &step.label().text, step, event, absence, repeated, path: walk.path.clone() });
    }

    /// The event type of a name, or a finding.
    pub fn event_of(&mut self, name: &crate::syntax::ast::Ident) -> Option<EventId> {
        let known = self.world.schema.find(&name.text);
        if known.is_none() {
            let names = self.world.names.events.keys().copied();
            self.error(unknown(Code::UnknownEvent, "event type", &name.text, name.span, names));
        }
        known
    }

    fn refuse_same_names(&mut self) {
        for i in 0..self.steps.len() {
            let step = &self.steps[i];
            if step.absence && step.step.name.is_none() {
                continue;
            }
            let first = self.steps[..i].iter().find(|s| s.name == step.name && !(s.absence && s.step.name.is_none()));
            let Some(first) = first else { continue };
            let text = format!("two steps are called `{}`", step.name);
            let finding = Diagnostic::new(Code::DuplicateStep, step.step.label().span, text)
                .label("this one")
                .also(first.step.label().span, "and this one");
            let finding = if step.step.name.is_none() {
                finding.help(format!("name them apart: `a: {0} then b: {0}`", step.step.event.text))
            } else {
                finding.help("give one of them another name")
            };
            self.error(finding);
        }
    }

    /// The step of a name as a condition of `reader` sees it: its own name first.
    pub fn find_step(&self, name: &str, reader: Option<StepId>) -> Option<StepId> {
        let named = |s: &StepInfo<'_>| s.name == name;
        let bound = self.steps.iter().position(|s| named(s) && !(s.absence && s.step.name.is_none()));
        let own = reader.filter(|r| named(&self.steps[r.0 as usize]));
        bound.map(|i| StepId(i as u16)).or(own).or_else(|| self.steps.iter().position(named).map(|i| StepId(i as u16)))
    }

    pub fn step(&self, id: StepId) -> &StepInfo<'a> {
        &self.steps[id.0 as usize]
    }

    /// Whether a condition of `reader` can read `other`.
    pub fn relation(&self, reader: StepId, other: StepId) -> Relation {
        let (a, b) = (&self.step(reader).path, &self.step(other).path);
        let common = a.iter().zip(b).take_while(|(x, y)| x == y).count();
        let looped = a[..common].iter().any(|t| t.kind == TurnKind::Repeated);
        match (a.get(common), b.get(common)) {
            (Some(x), Some(_)) if x.kind == TurnKind::All => Relation::OtherSide,
            (Some(x), Some(y)) if x.kind == TurnKind::Sequence && y.child > x.child && !looped => Relation::Later,
            _ => Relation::Readable,
        }
    }
}

/// The way to the part that is looked at.
struct Walk {
    path: Vec<Turn>,
    nodes: usize,
}

impl Walk {
    fn each<'p, T>(&mut self, kind: TurnKind, children: &'p [T], mut f: impl FnMut(&mut Walk, &'p T)) {
        let node = self.nodes;
        self.nodes += 1;
        for (child, part) in children.iter().enumerate() {
            self.path.push(Turn { node, kind, child });
            f(self, part);
            self.path.pop();
        }
    }
}
