//! What a change would do, told before it is done: to each rule, its versions, and the runs that live.

use std::collections::{BTreeMap, BTreeSet};

use lapwing_engine::migrate::outlook::{Events, Outlook, Reason, Runs, StepOutlook, outlook};
use serde::Serialize;

use super::catalog::{Catalog, Refusal};
use super::message::{Message, Stage};

/// What a change does to a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// Its name.
    pub rule: String,
    /// What is in force, or was last, before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<At>,
    /// The same afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<At>,
    /// What becomes of its runs, in words; none where it was not live and is not going to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<&'static str>,
    /// What becomes of those that hold some event.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// How many runs live now.
    pub live_runs: usize,
}

/// A version at a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct At {
    /// Its number.
    pub version: u32,
    /// Where it stands.
    pub stage: Stage,
}

/// What a message would do to the rules of a catalog, of which so many runs live; rules that stay as they are are left out.
pub fn plan(catalog: &Catalog, message: &Message, live: &BTreeMap<String, usize>) -> Result<Vec<Planned>, Refusal> {
    let Some(changed) = catalog.after(message)? else { return Ok(Vec::new()) };
    let outlooks = outlook(&catalog.rule_set(), &changed.rule_set());
    let at = |catalog: &Catalog| -> BTreeMap<String, At> {
        catalog.rules().map(|(name, version, stage)| (name.to_owned(), At { version, stage })).collect()
    };
    let (before, after) = (at(catalog), at(&changed));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let planned = names.into_iter().map(|name| {
        let outlook = outlooks.iter().find(|outlook| outlook.rule == *name);
        let (runs, mut details) = outlook.map(words).unzip();
        if let (Some(outlook), Some(details)) = (outlook, &mut details)
            && !outlook.empty_windows.is_empty()
        {
            details.push(match outlook.empty_windows.len() {
                1 => "a window begins empty".to_owned(),
                n => format!("{n} windows begin empty"),
            });
        }
        Planned {
            rule: name.clone(),
            from: before.get(name).copied(),
            to: after.get(name).copied(),
            runs,
            details: details.unwrap_or_default(),
            live_runs: live.get(name).copied().unwrap_or_default(),
        }
    });
    let stays = |p: &Planned| p.from == p.to && p.details.is_empty();
    Ok(planned.filter(|p| !stays(p)).collect())
}

/// What becomes of a rule's runs, in words, and of those that hold some event.
pub fn words(outlook: &Outlook) -> (&'static str, Vec<String>) {
    let mut details = Vec::new();
    let what = match &outlook.runs {
        Runs::New => "is new",
        Runs::Removed => "goes, and its runs with it; what waits to be reported is reported",
        Runs::Kept => "means the same: its runs go on",
        Runs::Closes => {
            "has changed: its open windows go on and are judged by the new rule; what was reported is final"
        }
        Runs::Led(steps) => {
            details.extend(steps.iter().filter_map(of_step));
            "has changed: its runs are led through the new pattern, and live on where they fit"
        }
        Runs::Restarted(Reason::Key) => "begins anew: it is counted per something else",
        Runs::Restarted(Reason::Stratum) => "begins anew: it builds on other rules",
        Runs::Restarted(Reason::Time) => "begins anew: it goes by another time",
        Runs::Restarted(Reason::Step) => "begins anew: a step of the same name binds other events",
    };
    (what, details)
}

fn of_step(StepOutlook { step, events }: &StepOutlook) -> Option<String> {
    match events {
        Events::NoStep => Some(format!("`{step}` is no step any more: runs that hold such an event end")),
        Events::NotTold => {
            Some(format!("what is asked of `{step}` now is not known of its events: runs that hold one end"))
        }
        Events::NotKept => {
            Some(format!("a field of `{step}` is read now that was not kept: runs that hold such an event end"))
        }
        Events::Judged(1) => Some(format!("events of `{step}` are judged again by one condition")),
        Events::Judged(n) => Some(format!("events of `{step}` are judged again by {n} conditions")),
        Events::Same => None,
    }
}
