//! What late events change of what was reported, for rules with a `lateness`.
//!
//! A run that time completed, and a window that closed, is settled: it waits on for as long as late events are taken, and stands beside the
//! alert as it was last reported. A late event that an absence forbids takes the alert back; a window is judged again with the event in it.

use lapwing_dsl::value::Value;

use super::Run;
use super::step::Offer;
use crate::Millis;
use crate::batch::EventView;
use crate::bound::{BoundEvents, BoundRef};
use crate::output::{Match, Status};
use crate::rule_set::RuleEntry;
use crate::slot::OpenAlert;

/// The tag of a window that is settled: its alert, if there is one, is known by its beginning.
pub const SETTLED: u32 = u32::MAX;

impl RuleEntry {
    /// Whether a run of the rule is settled.
    pub fn is_settled(&self, run: &Run) -> bool {
        self.program.rule.lateness > 0 && run.tag() != 0
    }

    /// The last moment at which an event takes part in a run: of one that is settled that was its deadline before.
    pub fn last_moment(&self, run: &Run) -> Millis {
        if self.is_settled(run) { run.deadline.saturating_sub(self.program.rule.lateness) } else { run.deadline }
    }
}

impl Offer<'_> {
    /// Whether the event makes false what a run holds that is complete but for absences at the end. A late event has its place by its time.
    pub fn makes_false(&mut self, run: &Run, late: bool, bound: &BoundEvents) -> bool {
        let program = &self.entry.program;
        let state = program.nfa.state(run.state);
        let last = bound.get(run.last);
        let EventView { row, .. } = self.event;
        if !state.is_pending() || late && (row.at, row.origin) <= (last.at, last.origin) {
            return false;
        }
        let whole = program.rule.within.map_or(Millis::MAX, |w| run.first_at.saturating_add(w));
        let end = self.entry.last_moment(run);
        state.absences.iter().filter(|absence| !absence.next).any(|absence| {
            let limit = match (absence.last, absence.within) {
                (false, _) => end,
                (true, Some(within)) => last.at.saturating_add(within),
                (true, None) => whole,
            };
            row.at <= limit && absence.steps.iter().any(|s| self.fits(*s, Some(BoundRef::Shared(last)), bound))
        })
    }
}

/// A window is judged, for the first time or again: what is to be said of it beside what was.
pub fn say_of_window(open: &mut Vec<OpenAlert>, first: Millis, body: Option<Match>) -> Option<Match> {
    let Some(known) = open.iter_mut().find(|o| o.body.first_at == first) else {
        let body = body?;
        open.push(OpenAlert { tag: SETTLED, body: Box::new(body.clone()) });
        return Some(body);
    };
    let before = &mut *known.body;
    let stands = before.status != Status::Retracted;
    let mut next = match body {
        Some(body) if stands && says_the_same(before, &body) => return None,
        Some(body) => Match { status: if stands { Status::Updated } else { Status::Open }, ..body },
        None if stands => Match { status: Status::Retracted, ..before.clone() },
        None => return None,
    };
    next.revision = before.revision + 1;
    *before = next.clone();
    Some(next)
}

/// Takes an alert back.
pub fn retract(alert: OpenAlert) -> Option<Match> {
    let body = *alert.body;
    (body.status != Status::Retracted).then(|| Match { revision: body.revision + 1, status: Status::Retracted, ..body })
}

/// Whether two revisions of an alert differ in nothing that they say.
fn says_the_same(a: &Match, b: &Match) -> bool {
    a.at == b.at
        && a.fields.len() == b.fields.len()
        && a.fields.iter().zip(&b.fields).all(|(a, b)| same_digits(a, b))
        && a.severity == b.severity
        && a.risk == b.risk
        && a.message == b.message
        && a.scores == b.scores
}

/// Whether two values are one and are written alike: 1 is not 1.0.
fn same_digits(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::Decimal(a), Value::Decimal(b)) => a == b && a.scale() == b.scale(),
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(&**b).all(|(a, b)| same_digits(a, b)),
        _ => a == b,
    }
}
