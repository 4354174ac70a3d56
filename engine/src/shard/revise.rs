//! Late events, for rules with a `lateness`: what was reported before is said again, or taken back.

use lapwing_dsl::ir::{Closing, Rows, StepId};
use lapwing_dsl::value::Value;

use super::{At, Offered, Shard, hits_of};
use crate::Millis;
use crate::batch::Origin;
use crate::bound::BoundEvents;
use crate::output::Output;
use crate::rule_set::RuleEntry;
use crate::run::Run;
use crate::run::closing::Window;
use crate::run::revise::{retract, say_of_window};
use crate::run::step::Revision;
use crate::slot::Cell;
use crate::window::next_close;

impl Shard {
    /// Offers an event that came behind the watermark to the rules of one key that may take it.
    pub(super) fn offer_late(&mut self, offered: &Offered<'_>, at: &mut At, out: &mut Vec<Output>) {
        let Offered { rules, delivery, event, .. } = *offered;
        self.read.next(rules.windows.len());
        for rule in &rules.revising {
            let entry = &rules.rules[*rule as usize];
            let sees = entry.sees[event.row.event.0 as usize] & delivery.mask != 0;
            if !sees || entry.space != delivery.space {
                continue;
            }
            let runs = std::mem::take(&mut self.spare);
            let cell = match at.slot {
                Some(slot) => self.groups[at.group as usize].take_cell(slot, *rule, rules, runs),
                None => Cell { rule: *rule, runs, more: None },
            };
            self.offer_to(offered, cell, at, hits_of(event.hits(), *rule), out);
        }
    }

    /// Judges the windows again that closed before, and that the event at hand has changed.
    pub(super) fn judge_again(
        &self,
        entry: &RuleEntry,
        closing: &Closing,
        key: &[u8],
        at: At,
        (cell, revision, runs): (&mut Cell, &mut Revision, &mut Vec<Run>),
        (sequence, bound): (u64, &mut BoundEvents),
    ) {
        let open = &mut cell.more.get_or_insert_default().open;
        for first in revision.withdrawn.drain(..) {
            if let Some(i) = open.iter().position(|o| o.body.first_at == first) {
                revision.said.extend(retract(open.remove(i)));
            }
        }
        let values = crate::key::decode(key, &self.rules.spaces[at.space as usize].types);
        for (first, last) in revision.revised.drain(..) {
            let run = runs.iter().find(|run| run.first_at == first);
            let known = run.is_some();
            if !known && !self.is_row(cell.rule, closing, &values, (first, last)) {
                continue;
            }
            let version = run.and_then(|run| run.started_version());
            let body = self.judge_window(cell.rule, at, key, (first, last), version);
            let said = say_of_window(open, first, body);
            if !known && said.is_some() {
                let window = Window { first, last, step: StepId(0), origin: Origin::default() };
                runs.push(window.settled(entry, sequence, bound));
            }
            revision.said.extend(said);
        }
    }

    /// Whether a window that closed was one of a row of the rule's list or table, as far as that is still known.
    fn is_row(&self, rule: u32, closing: &Closing, key: &[Value<'_>], (first, last): (Millis, Millis)) -> bool {
        let data = &self.rules.data;
        let holds = match &closing.rows {
            Some(Rows::List { id, .. }) => data.lists[id.0 as usize].holds(&key[0], last) == Some(true),
            Some(Rows::Table { id, .. }) => data.tables[id.0 as usize].holds(key),
            None => false,
        };
        let since = self.span.0.and_then(|since| next_close(&closing.reach, since));
        holds && first >= self.rows_of(rule).begins && since.is_some_and(|(begin, _)| first >= begin)
    }
}
