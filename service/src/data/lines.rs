//! Lines to batches: what a thread decodes with, and how several share a stretch of lines.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lapwing_engine::Millis;
use lapwing_engine::asking::Asked;
use lapwing_engine::batch::{Batch, Origin};
use lapwing_engine::index::Scratch;
use lapwing_engine::rule_set::RuleSet;

use super::decode::plan::Plan;
use super::decode::shape::Decoder;
use super::pipeline::{Reason, Rejected};
use super::processing::Readings;

/// A stretch of lines of the input.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    /// Their bytes, whole lines.
    pub bytes: &'a [u8],
    /// Number of the first.
    pub first: u64,
}

/// What decoding a stretch of lines gave.
#[derive(Default)]
pub(super) struct DecodedLines {
    pub(super) batch: Batch,
    pub(super) rejected: Vec<Rejected>,
    /// Number of the first line.
    pub(super) first: u64,
    /// Lines seen, empty ones too.
    pub(super) taken: u64,
    pub(super) lines: u64,
    pub(super) unknown: u64,
    pub(super) unused: u64,
    pub(super) unreadable: u64,
    pub(super) errors: u64,
}

/// A rule set with what decoding needs of it.
#[derive(Clone)]
pub(super) struct Generation {
    /// The whole rule set.
    pub(super) all: Arc<RuleSet>,
    /// Those of its rules that go by the times of events.
    pub(super) rules: Arc<RuleSet>,
    pub(super) plan: Arc<Plan>,
    /// In event-time order it judges events of later times than this.
    pub(super) above: Millis,
}

impl Generation {
    pub(super) fn new(all: Arc<RuleSet>, above: Millis) -> Generation {
        let rules = Arc::new(all.by_event_time());
        Generation { plan: Arc::new(Plan::new(&rules)), all, rules, above }
    }

    /// The one after this; where only lists and tables differ, lines are decoded as before.
    pub(super) fn next(&self, all: Arc<RuleSet>, above: Millis) -> Generation {
        if all.shares_programs(&self.all) {
            let rules = Arc::new(all.by_event_time());
            return Generation { plan: self.plan.clone(), all, rules, above };
        }
        Generation::new(all, above)
    }
}

/// What a thread needs to decode by one rule set, and keeps from one stretch of lines to the next.
pub(super) struct Decoding {
    pub(super) decoder: Decoder,
    pub(super) begins: Scratch,
    pub(super) uses: Scratch,
    pub(super) asks: Scratch,
}

/// Pieces of lines that threads take one after the other, each once for each family of generations.
pub(super) struct Jobs<'a> {
    pub(super) families: &'a [&'a [Generation]],
    pub(super) pieces: &'a [Lines<'a>],
    pub(super) next: AtomicUsize,
    /// Where events have the time at which they come: that.
    pub(super) readings: Option<Readings>,
}

/// What a thread decodes with: for each family, and batches.
pub(super) struct Hands {
    pub(super) decoding: Vec<Decoding>,
    pub(super) batches: Vec<Batch>,
}

impl Jobs<'_> {
    /// Decodes pieces until none is left: each with its number, those of the first family first.
    pub(super) fn decode(&self, mut hands: Hands) -> (Vec<(usize, DecodedLines)>, Hands) {
        let mut done = Vec::new();
        loop {
            let job = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(family) = self.families.get(job / self.pieces.len()) else { return (done, hands) };
            let batch = match hands.batches.pop() {
                Some(batch) if Arc::ptr_eq(&batch.layout, &family[0].plan.layout) => batch,
                _ => Batch::new(family[0].plan.layout.clone()),
            };
            let decoding = &mut hands.decoding[job / self.pieces.len()];
            let piece = &self.pieces[job % self.pieces.len()];
            done.push((job, decode_lines(family, piece, batch, decoding, self.readings)));
        }
    }
}

/// Decodes lines and looks up which rules they may begin: each event by the generation that judges it.
fn decode_lines(
    family: &[Generation],
    lines: &Lines<'_>,
    batch: Batch,
    with: &mut Decoding,
    mut readings: Option<Readings>,
) -> DecodedLines {
    let mut out = DecodedLines { batch, first: lines.first, ..DecodedLines::default() };
    let errors = Cell::new(0);
    let Decoding { decoder, begins, uses, .. } = with;
    // Models are asked of many events at once: these are looked up when all lines are decoded.
    let asks = family[0].rules.asks.any();
    let mut number = lines.first;
    let mut rest = lines.bytes;
    while !rest.is_empty() {
        let bytes = rest;
        let line = decoder.next(bytes);
        rest = bytes.get(line.length + 1..).unwrap_or_default();
        let origin = Origin { source: 0, partition: 0, offset: number };
        number += 1;
        if bytes[..line.length].iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        out.lines += 1;
        let before = out.batch.rows.len();
        match decoder.decode_next(bytes, line, origin, &mut out.batch) {
            Ok(decoded) => {
                out.unreadable += u64::from(decoded.unreadable);
                if decoded.rows == 0 {
                    out.unknown += 1;
                }
            }
            Err(reject) => {
                out.rejected.push(Rejected { line: origin.offset, reason: Reason::Bad(reject) });
                continue;
            }
        }
        if let Some(readings) = &mut readings {
            out.batch.rows[before..].iter_mut().for_each(|row| row.at = readings.of(row.at));
        }
        if asks {
            continue;
        }
        for row in before..out.batch.rows.len() {
            let rules = judge(family, &out.batch, row);
            rules.index.look_up(&mut out.batch, row, begins, &rules.data, &errors);
        }
        // The fields of the last row alone can go.
        if let Some(row) = out.batch.rows.len().checked_sub(1).filter(|row| *row >= before)
            && out.batch.rows[row].begins_nothing()
            && let rules = judge(family, &out.batch, row)
            && !rules.uses.has(&out.batch, row, uses, &rules.data)
        {
            out.batch.pass_over();
            out.unused += 1;
        }
    }
    if asks {
        ask_models(family, &mut out.batch, with);
        out.unused += look_up_all(family, &mut out.batch, with, &errors);
    }
    out.taken = number - lines.first;
    out.errors = errors.get();
    out
}

/// Asks models what rules will ask of the events of a batch. What a rule asks may depend on what it was answered: so it is done again until
/// nothing new is asked.
fn ask_models(family: &[Generation], batch: &mut Batch, with: &mut Decoding) {
    let mut rows: Vec<usize> = (0..batch.rows.len()).collect();
    while !rows.is_empty() {
        let asking = RefCell::new(Asked::default());
        rows.retain(|row| {
            let rules = judge(family, batch, *row);
            let before = asking.borrow().len();
            rules.asks.ask(&rules.index, (batch, *row), [&mut with.begins, &mut with.asks], &rules.data, &asking);
            asking.borrow().len() > before
        });
        asking.into_inner().answer(&mut batch.scores);
    }
}

/// Looks up which rules each event of a batch may begin. Returns how many are of no use.
fn look_up_all(family: &[Generation], batch: &mut Batch, with: &mut Decoding, errors: &Cell<u64>) -> u64 {
    let mut unused = 0;
    for row in 0..batch.rows.len() {
        let rules = judge(family, batch, row);
        rules.index.look_up(batch, row, &mut with.begins, &rules.data, errors);
        if batch.rows[row].begins_nothing() && !rules.uses.has(batch, row, &mut with.uses, &rules.data) {
            batch.set_unused(row);
            unused += 1;
        }
    }
    unused
}

/// Gives lines their numbers: the first piece has them, the others were numbered from 0.
pub(super) fn numbered(mut pieces: Vec<DecodedLines>) -> Vec<DecodedLines> {
    let mut before = 0;
    for (i, piece) in pieces.iter_mut().enumerate() {
        if i > 0 {
            piece.batch.rows.iter_mut().for_each(|row| row.origin.offset += before);
            piece.rejected.iter_mut().for_each(|rejected| rejected.line += before);
        }
        before += piece.first + piece.taken;
    }
    pieces
}

/// The most pieces a thread, and the fewest bytes of one that is worth a batch.
pub(super) const PIECES_MAX: usize = 4;
const PIECE_MIN: usize = 1 << 15;

/// The rule set of a family that judges a row.
fn judge<'f>(family: &'f [Generation], batch: &Batch, row: usize) -> &'f RuleSet {
    let at = batch.rows[row].at;
    &family.iter().rfind(|g| at > g.above).unwrap_or(&family[0]).rules
}

/// Cuts lines into about equal pieces: one for one thread, else several each, of which the first alone knows its lines' numbers.
pub(super) fn split<'a>(lines: &Lines<'a>, threads: usize) -> Vec<Lines<'a>> {
    let most = if threads == 1 { 1 } else { threads * PIECES_MAX };
    let count = (lines.bytes.len() / PIECE_MIN).clamp(threads, most);
    let mut out = Vec::with_capacity(count);
    let mut rest = lines.bytes;
    for left in (1..=count).rev() {
        let middle = rest.len() / left;
        let cut = if left == 1 { None } else { memchr::memchr(b'\n', &rest[middle..]).map(|i| middle + i + 1) };
        let (piece, others) = rest.split_at(cut.unwrap_or(rest.len()));
        out.push(Lines { bytes: piece, first: if out.is_empty() { lines.first } else { 0 } });
        rest = others;
    }
    out
}
