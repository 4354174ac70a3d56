//! A change of the rule set while events flow: which runs live on.
//!
//! A rule that means the same keeps everything; title, tags and layout are no part of its meaning. Of a changed rule a run lives on
//! where its events still begin the new pattern: each is bound to the step of its name, in order and within the limits, and meets the
//! terms of that step's condition that are new. Then the steps awaited have to be those of the same names. Events that were passed over
//! are not recalled; of the bound ones only the fields that the old rule kept, their time and their key are known.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::LazyLock;

use lapwing_dsl::syntax::ast::{BinaryOp, Contiguity, EventDecl, Expr, ExprKind, Step};
use regex::Regex;

use crate::data::Used;
use crate::eval::{Bound, World, parts};
use crate::kept::{Fields, asked, kept, key_fields, key_shape, known};
use crate::rule::{Key, Rule};
use crate::run::{Matcher, Run, Waits};

/// A piece of the tree as text, without regard to where it stands.
pub fn plain(piece: &impl Debug) -> String {
    static SPAN: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"Span \{[^}]*\}").expect("the expression is well formed"));
    SPAN.replace_all(&format!("{piece:?}"), "").into_owned()
}

/// What a rule means, as text.
pub fn meaning(rule: &Rule<'_>) -> String {
    let pattern = plain(&(rule.mode, rule.pattern, rule.by, rule.within, rule.stop));
    let selection = plain(&(rule.when, rule.skip, rule.report, rule.suppress));
    let results = plain(&(rule.emit, rule.message, rule.severity, rule.risk, rule.closing));
    pattern + &selection + &results + &format!("{} {}", rule.lateness, rule.processing)
}

/// Whether anything of a rule can live on under another of its name: the keys are the same, and steps of one name have one type.
pub fn comparable(old: &Rule<'_>, new: &Rule<'_>) -> bool {
    let alike = |step: &&Step| {
        let twin = new.step(&step.label().text);
        twin.is_none_or(|twin| twin.event.text == step.event.text && key_fields(new, twin) == key_fields(old, step))
    };
    key_shape(old) == key_shape(new) && old.steps.iter().all(alike) && old.closing.is_some() == new.closing.is_some()
}

/// Whether alerts of the old rule hold back those of the new one.
pub fn suppresses_on(old: &Rule<'_>, new: &Rule<'_>) -> bool {
    let (Some(a), Some(b)) = (old.suppress, new.suppress) else { return false };
    comparable(old, new) && plain(&a.by) == plain(&b.by)
}

/// Leads the runs of a changed rule over.
pub struct Leader<'a, 'c> {
    old: &'c Rule<'a>,
    new: &'c Rule<'a>,
    world: &'c World<'a>,
    had: Fields,
    needs: Fields,
}

impl<'a, 'c> Leader<'a, 'c> {
    /// From one rule to another.
    pub fn new(old: &'c Rule<'a>, types: &[&EventDecl], new: &'c Rule<'a>, world: &'c World<'a>) -> Self {
        Leader { old, new, world, had: known(old, types), needs: kept(new, &world.types) }
    }

    /// The run as the new rule holds it; where its events can be read in several ways, all of them.
    pub fn lead(&self, key: &Key, run: &Run<'a>) -> Vec<Run<'a>> {
        let meets = |i: usize| self.still_meets(key, &run.bound[..i], &run.bound[i]);
        let Some(bound) = (0..run.bound.len()).map(meets).collect::<Option<Vec<Bound<'a>>>>() else {
            return Vec::new();
        };
        let matcher = Matcher { rule: self.new, world: self.world, key };
        let (first, later) = bound.split_first().expect("a run holds an event");
        let mut runs = matcher.rebind_first(first);
        for bound in later {
            runs = runs.iter().flat_map(|run| matcher.rebind(run, bound)).collect();
        }
        let wanted = awaited(run);
        runs.retain(|new| awaited(new) == wanted);
        let fresh = run.fresh && asks_for_the_next(run);
        let runs = runs.into_iter().map(|new| Run { fresh, ..new });
        runs.filter_map(asked_of_the_next).filter_map(|new| matcher.in_time(new)).collect()
    }

    /// Whether an event has a step in the new rule, was kept as the new rule needs it, and meets what is asked of it anew: the event, with what
    /// models answered to what the new rule asks.
    fn still_meets(&self, key: &Key, before: &[Bound<'a>], bound: &Bound<'a>) -> Option<Bound<'a>> {
        let (old, new) = (self.old.step(bound.label)?, self.new.step(bound.label)?);
        let needed = self.needs.iter().filter(|(step, _)| step == bound.label);
        if !needed.clone().all(|field| self.had.contains(field)) {
            return None;
        }
        let used = RefCell::default();
        let met: Vec<String> = terms(old.filter.as_ref()).into_iter().map(plain).collect();
        let matcher = Matcher { rule: self.new, world: self.world, key };
        let known =
            |term: &Expr| asked(self.new, &self.world.types, new, term).is_some_and(|asked| asked.is_subset(&self.had));
        let ask = |term: &Expr| matcher.holds_for(before, new, &bound.event, term, &used);
        let stops = |until: &Expr| matcher.holds_for(before, new, &bound.event, until, &RefCell::default());
        let fresh = terms(new.filter.as_ref()).into_iter().filter(|term| !met.contains(&plain(term)));
        let until = new.until.as_ref().filter(|until| old.until.as_ref().map(plain) != Some(plain(*until)));
        let meets = fresh.clone().chain(until).all(known) && fresh.clone().all(ask) && !until.is_some_and(stops);
        let still = |used: &&Used| terms(new.filter.as_ref()).into_iter().any(|term| names(term, &used.model));
        let kept: Vec<Used> = bound.used.iter().filter(still).cloned().collect();
        let scored = terms(new.filter.as_ref()).into_iter().any(|t| self.world.data.models().any(|m| names(t, m)));
        let asked = if scored { used.into_inner() } else { Vec::new() };
        meets.then(|| Bound { used: [kept, asked].concat(), ..bound.clone() })
    }
}

/// Whether an expression asks a model.
fn names(expr: &Expr, model: &str) -> bool {
    matches!(&expr.kind, ExprKind::Call(call) if call.name.text == model)
        || parts(expr).into_iter().any(|e| names(e, model))
}

/// The terms of the outermost `and`.
fn terms(condition: Option<&Expr>) -> Vec<&Expr> {
    match condition.map(|c| (c, &c.kind)) {
        None => Vec::new(),
        Some((_, ExprKind::Binary(BinaryOp::And, a, b))) => [terms(Some(a)), terms(Some(b))].concat(),
        Some((one, _)) => vec![one],
    }
}

/// The names of the steps awaited; none where the run waits for time alone.
fn awaited<'r>(run: &'r Run<'_>) -> BTreeSet<&'r str> {
    match &run.waits {
        Waits::Steps(awaits) => awaits.iter().map(|one| one.step.label().text.as_str()).collect(),
        Waits::Absences(_) => BTreeSet::new(),
    }
}

/// Whether the very next event matters to a run. Only then is it known whether one was passed over: what no rule can use is not seen.
fn asks_for_the_next(run: &Run<'_>) -> bool {
    match &run.waits {
        Waits::Steps(awaits) => awaits.iter().any(|one| {
            one.entry.contiguity == Contiguity::Strict || one.path.absences.iter().any(|absence| absence.next)
        }),
        Waits::Absences(absences) => absences.iter().any(|absence| absence.next),
    }
}

/// A run that has passed over an event has answered what is asked of the very next one: what must come has not, and what must not come has
/// not either. Where it waits for nothing else it would be complete already.
fn asked_of_the_next(mut run: Run<'_>) -> Option<Run<'_>> {
    if run.fresh {
        return Some(run);
    }
    match &mut run.waits {
        Waits::Steps(awaits) => {
            if awaits.iter().any(|one| one.entry.contiguity == Contiguity::Strict) {
                return None;
            }
            awaits.iter_mut().for_each(|one| one.path.absences.retain(|a| !a.next));
        }
        Waits::Absences(absences) => {
            absences.retain(|a| !a.next);
            if !absences.iter().any(|a| a.last) {
                return None;
            }
        }
    }
    Some(run)
}
