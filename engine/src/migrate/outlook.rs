//! What putting one rule set in place of another would do to live state, told before it is done.

use lapwing_dsl::syntax::Span;

use super::renumber::in_numbers_of;
use super::same::{Fate, fate, windows_that_go_on};
use crate::rule_set::RuleSet;

/// What becomes of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// Its name.
    pub rule: String,
    /// What becomes of its runs.
    pub runs: Runs,
    /// Its windows that begin empty: those that the old rule set does not keep.
    pub empty_windows: Vec<Span>,
}

/// What becomes of a rule's runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runs {
    /// There were none: the rule is new.
    New,
    /// The rule is gone and its runs with it; what waits to be reported leaves.
    Removed,
    /// The rule means the same, and they go on.
    Kept,
    /// It fires as windows close, and does so in another way: the open ones go on.
    Closes,
    /// Their events are led through the new pattern.
    Led(Vec<StepOutlook>),
    /// They end, and the rule begins anew.
    Restarted(Reason),
}

/// Why a rule begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is counted per something else.
    Key,
    /// It builds on more or fewer rules than before.
    Stratum,
    /// It goes by the reading of the clock now, or did so before.
    Time,
    /// A step of the same name binds other events, or binds them under another key.
    Step,
}

/// What becomes of the runs that hold an event of a step of the old rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepOutlook {
    /// The step.
    pub step: String,
    /// What of it.
    pub events: Events,
}

/// What becomes of a step's bound events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    /// The new rule has no step of this name: runs that hold one end.
    NoStep,
    /// What is asked of them anew is not known of them any more: runs that hold one end.
    NotTold,
    /// The new rule keeps a field of them that the old one did not: runs that hold one end.
    NotKept,
    /// They are judged again by so many conditions.
    Judged(usize),
    /// They stay as they are.
    Same,
}

/// Tells what becomes of every rule of either set, in order of their names.
pub fn outlook(old: &RuleSet, new: &RuleSet) -> Vec<Outlook> {
    let mut all = outlook_of_one_time(&old.by_event_time(), &new.by_event_time());
    // Rules by processing time have a state of their own.
    let none = |set: &RuleSet| set.without_rules();
    let by_processing = |set: &RuleSet| set.by_processing_time().unwrap_or_else(|| none(set));
    for other in outlook_of_one_time(&by_processing(old), &by_processing(new)) {
        match all.iter_mut().find(|outlook| outlook.rule == other.rule) {
            Some(same) if other.runs == Runs::New => *same = Outlook { runs: Runs::Restarted(Reason::Time), ..other },
            Some(same) => same.runs = Runs::Restarted(Reason::Time),
            None => all.push(other),
        }
    }
    all.sort_by(|a, b| a.rule.cmp(&b.rule));
    all
}

fn outlook_of_one_time(old: &RuleSet, new: &RuleSet) -> Vec<Outlook> {
    let old = &*in_numbers_of(old, &new.schema);
    let name = |set: &RuleSet, i: usize| set.rules[i].program.rule.name.clone();
    let gone = (0..old.rules.len()).filter(|i| new.find(&name(old, *i)).is_none());
    let windows = windows_that_go_on(old, new);
    let mut all: Vec<Outlook> =
        gone.map(|i| Outlook { rule: name(old, i), runs: Runs::Removed, empty_windows: Vec::new() }).collect();
    for (i, entry) in new.rules.iter().enumerate() {
        let before = old.find(&name(new, i)).map(|j| &old.rules[j as usize]);
        let runs = before.map_or(Runs::New, |before| match fate(before, old, new) {
            Fate::Removed => Runs::Removed,
            Fate::Kept(_) => Runs::Kept,
            Fate::Closes(_) => Runs::Closes,
            Fate::Changed(_, change) => {
                let steps = before.program.rule.steps.iter().zip(&change.steps).filter(|(step, _)| !step.absence);
                let told = steps.map(|(step, to)| StepOutlook {
                    step: step.name.clone(),
                    events: match (&to.new, &to.asked, &to.laid) {
                        (None, ..) => Events::NoStep,
                        (_, None, _) => Events::NotTold,
                        (.., None) => Events::NotKept,
                        (_, Some(asked), _) if !asked.is_empty() => Events::Judged(asked.len()),
                        _ => Events::Same,
                    },
                });
                Runs::Led(told.collect())
            }
            Fate::Restarted => {
                let (a, b) = (&old.spaces[before.space as usize], &new.spaces[entry.space as usize]);
                Runs::Restarted(match a == b {
                    true => Reason::Step,
                    false if a.stratum != b.stratum => Reason::Stratum,
                    false => Reason::Key,
                })
            }
        });
        let goes_on = |window: &u32| windows.contains(&Some(*window));
        let read = entry.program.rule.windows.iter().zip(&entry.windows);
        let empty_windows = read.filter(|(_, index)| !goes_on(index)).map(|(window, _)| window.span).collect();
        all.push(Outlook { rule: name(new, i), runs, empty_windows });
    }
    all
}
