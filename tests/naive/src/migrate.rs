//! A change of the rule set while events flow: which runs live on.
//!
//! A rule whose text is the same keeps everything. Of a rule that changed, a run lives on when the new rule, offered
//! nothing but the events that the run has bound, binds them to steps of the same names and then waits for steps of the
//! same names. Events that were passed over are not recalled; windows see the whole past.

use std::rc::Rc;

use lapwing_dsl::syntax::ast::RuleDecl;
use regex::Regex;

use crate::eval::World;
use crate::rule::{Key, Rule};
use crate::run::{Made, Matcher, Run, Waits};

/// The rule without regard to where it stands.
pub fn text_of(decl: &RuleDecl) -> String {
    let span = Regex::new(r"Span \{[^}]*\}").expect("the expression is well formed");
    span.replace_all(&format!("{decl:?}"), "").into_owned()
}

/// The run as the changed rule would hold it.
pub fn run<'a>(rule: &Rule<'a>, world: &World<'a>, key: &Key, old: &Run<'a>) -> Option<Run<'a>> {
    let mut runs: Vec<Run<'a>> = Vec::new();
    for (i, bound) in old.bound.iter().enumerate() {
        let past = World {
            types: world.types.clone(),
            history: world.history[..=bound.event.place].to_vec(),
            clock: bound.event.at,
        };
        let matcher = Matcher { rule, world: &past, key };
        if !rule.keys(&bound.event).contains(key) {
            return None;
        }
        let mut made = Made::default();
        if i == 0 {
            matcher.begin(&bound.event, &mut made);
        }
        for run in &runs {
            matcher.offer(run, &bound.event, &mut made);
        }
        let same = |run: &Run<'a>| {
            run.bound.len() == i + 1
                && run.bound.iter().zip(&old.bound).all(|(a, b)| a.label == b.label && Rc::ptr_eq(&a.event, &b.event))
        };
        made.runs.retain(same);
        runs = made.runs;
    }
    let wanted = awaited(old);
    let mut found = runs.into_iter().find(|run| awaited(run) == wanted)?;
    found.continues = old.continues;
    if !asks_the_next_event(old) {
        forget_the_next_event(&mut found);
    }
    Some(found)
}

/// Whether a `then next not` is still to be answered.
fn asks_the_next_event(run: &Run<'_>) -> bool {
    match &run.waits {
        Waits::Steps(awaits) => awaits.iter().any(|one| one.path.absences.iter().any(|a| a.next)),
        Waits::Absences(absences) => absences.iter().any(|a| a.next),
    }
}

fn forget_the_next_event(run: &mut Run<'_>) {
    match &mut run.waits {
        Waits::Steps(awaits) => awaits.iter_mut().for_each(|one| one.path.absences.retain(|a| !a.next)),
        Waits::Absences(absences) => absences.retain(|a| !a.next),
    }
}

/// The names of the steps awaited; of a run that waits for time, those of the absences.
fn awaited<'r>(run: &'r Run<'_>) -> Vec<&'r str> {
    match &run.waits {
        Waits::Steps(awaits) => awaits.iter().map(|one| one.step.label().text.as_str()).collect(),
        Waits::Absences(absences) => {
            let steps = absences.iter().filter(|a| a.last).flat_map(|a| &a.absence.steps);
            std::iter::once("not").chain(steps.map(|s| s.label().text.as_str())).collect()
        }
    }
}
