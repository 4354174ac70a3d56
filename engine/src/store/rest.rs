//! What is not by key as bytes: the order of events, and suppression.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::FORMAT_VERSION;
use super::codec::{Corrupt, Reader, Writer};
use crate::Millis;
use crate::batch::{Batch, Layout};
use crate::index::Scratch;
use crate::order::{PartitionTime, Sequencer, Span};
use crate::output::AlertId;
use crate::rule_set::RuleSet;
use crate::suppress::{Held, Suppressor};

/// The first version that says from when to when events were taken.
const SPAN_VERSION: u16 = 6;

/// The first version that knows late events that wait, and alerts that are silent for a time.
const LATE_VERSION: u16 = 7;

/// Writes what suppression remembers.
pub fn save_suppressor(s: &Suppressor) -> Vec<u8> {
    let mut w = Writer::default();
    w.u64(FORMAT_VERSION.into());
    w.list(s.held.iter(), |w, ((rule, by), held)| {
        w.str(rule);
        w.slice(by);
        w.i64(held.at);
        w.u64(held.count);
    });
    w.list(s.silenced.iter(), |w, (id, until)| {
        w.slice(&id.0);
        w.i64(*until);
    });
    w.bytes
}

/// Reads what suppression remembers.
pub fn load_suppressor(bytes: &[u8]) -> Result<Suppressor, Corrupt> {
    let mut r = Reader::versioned(bytes)?;
    let held = r.list(|r| Ok(((r.str()?.to_owned(), r.slice()?.to_vec()), Held { at: r.i64()?, count: r.u64()? })))?;
    let silenced = r.list(|r| {
        let id = r.slice()?.try_into().map(AlertId).map_err(|_| Corrupt("an id has not 16 bytes"))?;
        Ok((id, if r.version() < LATE_VERSION { Millis::MAX } else { r.i64()? }))
    })?;
    r.end()?;
    Ok(Suppressor { held: held.into_iter().collect(), silenced: silenced.into_iter().collect() })
}

/// A rule set that judges waiting events of later times than `above`, with the columns that were kept for it.
#[derive(Clone, Debug)]
pub struct Judge {
    /// The rule set.
    pub rules: Arc<RuleSet>,
    /// Which columns there are.
    pub layout: Arc<Layout>,
    /// The time that its events are later than.
    pub above: Millis,
}

/// Writes where the order of events stands, with the events that wait.
pub fn save_sequencer(s: &Sequencer) -> Vec<u8> {
    let mut w = Writer::default();
    w.u64(FORMAT_VERSION.into());
    w.list(s.partitions().iter(), |w, ((source, partition), time)| {
        w.u64((*source).into());
        w.u64((*partition).into());
        w.option(time.greatest, Writer::i64);
        w.bool(time.idle);
    });
    w.i64(s.clock());
    w.u64(s.next_sequence());
    w.list(s.waiting_rows().into_iter(), |w, (row, batch, late)| {
        // First its time: that tells which rule set judges it, and so how its fields are read.
        w.i64(row.at);
        w.bool(late);
        batch.save_row(row, w);
    });
    w.option(s.span().since, Writer::i64);
    w.option(s.span().newest, Writer::i64);
    w.bytes
}

/// Reads where the order of events stood into a new sequencer. The judges stand in order of their times.
pub fn load_sequencer(bytes: &[u8], judges: &[Judge], into: &mut Sequencer) -> Result<(), Corrupt> {
    let mut r = Reader::versioned(bytes)?;
    let partitions = r.list(|r| {
        let partition = (r.u16()?, r.u16()?);
        Ok((partition, PartitionTime { greatest: r.option(|r| r.i64())?, idle: r.bool()? }))
    })?;
    let (clock, next_sequence) = (r.i64()?, r.u64()?);
    let mut batches: Vec<Batch> = judges.iter().map(|j| Batch::new(j.layout.clone())).collect();
    let mut scratches: Vec<Scratch> = judges.iter().map(|j| j.rules.index.scratch()).collect();
    let seen = Cell::new(0);
    let mut late = BTreeSet::new();
    for _ in 0..r.len()? {
        let at = r.i64()?;
        let is_late = r.version() >= LATE_VERSION && r.bool()?;
        let judge = judges.iter().rposition(|j| at > j.above).unwrap_or(0);
        let batch = batches.get_mut(judge).ok_or(Corrupt("events wait, and no rule set judges them"))?;
        batch.load_row(&mut r)?;
        let row = batch.rows.len() - 1;
        if batch.rows[row].at != at {
            return Err(Corrupt("an event has two times"));
        }
        if is_late {
            late.insert((batch.rows[row].origin, batch.rows[row].event.0));
        }
        judges[judge].rules.index.look_up(batch, row, &mut scratches[judge], &judges[judge].rules.data, &seen);
    }
    let span = match r.version() {
        ..SPAN_VERSION => {
            Span { since: (clock > Millis::MIN).then_some(clock), newest: (clock > Millis::MIN).then_some(clock) }
        }
        _ => Span { since: r.option(|r| r.i64())?, newest: r.option(|r| r.i64())? },
    };
    r.end()?;
    into.go_on(partitions.into_iter().collect(), clock, next_sequence, span, batches, &late);
    Ok(())
}
