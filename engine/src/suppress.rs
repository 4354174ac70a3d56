//! Holds alerts back: `suppress`. It stands behind the merge, where alerts are in their one order.

use std::collections::BTreeMap;

use crate::Millis;
use crate::migrate::suppresses_on;
use crate::output::{AlertId, Match, Status};
use crate::planted::{Bug, bug};
use crate::rule_set::RuleSet;

/// The most values remembered; the ones let through longest ago go first.
pub const SUPPRESSED_MAX: usize = 1_000_000;

/// Up to so many alerts that were held back are remembered without looking whether they can still be revised.
const SILENCED_KEPT: usize = 1_024;

/// What is remembered of a rule's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Time of the last alert that was let through.
    pub at: Millis,
    /// How many were held back since.
    pub count: u64,
}

/// Remembers what was let through.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Suppressor {
    /// By rule and value.
    pub held: BTreeMap<(String, Vec<u8>), Held>,
    /// Alerts that were held back and may be revised, with the time of an alert after which they are not any more; [`Millis::MAX`] where the
    /// last revision says so.
    pub silenced: BTreeMap<AlertId, Millis>,
}

/// What becomes of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It leaves, and tells how many were held back before it.
    Passes(u64),
    /// It is held back.
    Held,
}

impl Suppressor {
    /// Judges the next match.
    pub fn judge(&mut self, body: &Match, rules: &RuleSet) -> Verdict {
        let rule = &rules.rules[body.rule as usize].program.rule;
        let (Some(by), Some(suppress)) = (&body.suppress_by, &rule.suppress) else { return Verdict::Passes(0) };
        if body.revision > 0 {
            // Revisions follow their first alert.
            let silent = self.silenced.contains_key(&body.id);
            if body.status == Status::Closed {
                self.silenced.remove(&body.id);
            }
            return if silent { Verdict::Held } else { Verdict::Passes(0) };
        }
        let key = (rule.name.clone(), by.clone());
        if let Some(held) = self.held.get_mut(&key)
            && body.at < held.at.saturating_add(suppress.duration) + crate::Millis::from(bug(Bug::Suppress))
        {
            held.count += 1;
            if rule.report == lapwing_dsl::syntax::ast::Report::Updates {
                self.silenced.insert(body.id, Millis::MAX);
            } else if rule.lateness > 0 {
                self.silence(body, rule.lateness);
            }
            return Verdict::Held;
        }
        let before = self.held.insert(key, Held { at: body.at, count: 0 });
        if self.held.len() > SUPPRESSED_MAX {
            self.forget_oldest();
        }
        Verdict::Passes(before.map_or(0, |h| h.count))
    }

    /// An alert that was held back may be revised for as long as late events are taken, which alerts of later times tell the end of.
    fn silence(&mut self, body: &Match, lateness: Millis) {
        let past = |until: &Millis| *until < body.at;
        if self.silenced.len() >= SILENCED_KEPT
            && self.silenced.values().filter(|until| past(until)).count() * 2 > self.silenced.len()
        {
            self.silenced.retain(|_, until| !past(until));
        }
        self.silenced.insert(body.id, body.at.saturating_add(lateness));
    }

    /// Forgets rules that are gone, and those that no longer suppress by the same value.
    pub fn keep_rules(&mut self, old: &RuleSet, new: &RuleSet) {
        let mut stays: Option<(String, bool)> = None;
        self.held.retain(|(name, _), _| {
            // Values of one rule stand together.
            let known = stays.take().filter(|(of, _)| of == name);
            let (of, stay) = known.unwrap_or_else(|| (name.clone(), suppresses_on(name, old, new)));
            stays = Some((of, stay));
            stay
        });
    }

    fn forget_oldest(&mut self) {
        let oldest = self.held.iter().min_by_key(|(_, h)| h.at).map(|(k, _)| k.clone());
        if let Some(oldest) = oldest {
            self.held.remove(&oldest);
        }
    }
}
