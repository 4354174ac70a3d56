//! Input to batches: what a thread decodes with, and how several share a stretch of lines or records.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lapwing_engine::Millis;
use lapwing_engine::asking::Asked;
use lapwing_engine::batch::{Batch, Origin};
use lapwing_engine::index::Scratch;
use lapwing_engine::rule_set::RuleSet;

use super::decode::json::{self, Reject};
use super::decode::plan::Plan;
use super::decode::shape::Decoder;
use super::pipeline::{Reason, Rejected};
use super::processing::Readings;

/// A stretch of lines of the input.
#[derive(Clone, Copy, Debug)]
pub struct Lines<'a> {
    /// Their bytes, whole lines.
    pub bytes: &'a [u8],
    /// Number of the first.
    pub first: u64,
}

/// A record of a partition: one object.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Where it stands.
    pub origin: Origin,
    /// Its bytes; one without any is rejected.
    pub bytes: &'a [u8],
}

/// Records of several partitions in the order of their places, wherever their bytes are.
pub trait Records: Sync {
    /// How many there are.
    fn count(&self) -> usize;
    /// One of them.
    fn get(&self, index: usize) -> Record<'_>;
    /// Writes the object of one of them with what stands beside its value, where that matters; `all` of it, or only what names its type.
    fn dress(&self, index: usize, all: bool, into: &mut Vec<u8>) -> bool {
        let _ = (index, all, into);
        false
    }
}

/// What is taken at once.
#[derive(Clone)]
pub enum Input<'a> {
    /// Lines of one partition of one source, numbered one after the other.
    Lines(Lines<'a>),
    /// A stretch of records.
    Records(&'a dyn Records, Range<usize>),
}

impl<'a> From<&Lines<'a>> for Input<'a> {
    fn from(lines: &Lines<'a>) -> Self {
        Input::Lines(*lines)
    }
}

impl<'a> Input<'a> {
    /// All of some records.
    pub fn records(all: &'a dyn Records) -> Input<'a> {
        Input::Records(all, 0..all.count())
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        match self {
            Input::Lines(lines) => lines.bytes.len(),
            Input::Records(all, range) => range.clone().map(|i| all.get(i).bytes.len()).sum(),
        }
    }
}

impl std::fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Input::Lines(lines) => lines.fmt(f),
            Input::Records(all, range) => f.debug_list().entries(range.clone().map(|i| all.get(i))).finish(),
        }
    }
}

/// What decoding a stretch of input gave.
#[derive(Default)]
pub(super) struct Decoded {
    pub(super) batch: Batch,
    pub(super) rejected: Vec<Rejected>,
    /// Number of the first line.
    pub(super) first: u64,
    /// Lines or records seen, empty ones too.
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

/// Pieces of input that threads take one after the other, each once for each family of generations.
pub(super) struct Jobs<'a> {
    pub(super) families: &'a [&'a [Generation]],
    pub(super) pieces: &'a [Input<'a>],
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
    pub(super) fn decode(&self, mut hands: Hands) -> (Vec<(usize, Decoded)>, Hands) {
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
            done.push((job, decode(family, piece, batch, decoding, self.readings)));
        }
    }
}

/// A piece while it is decoded.
struct Piece<'f> {
    family: &'f [Generation],
    out: Decoded,
    errors: Cell<u64>,
    /// Whether models are asked: of many events at once, so that rules are looked up when all is decoded.
    asks: bool,
    /// Where events have the time at which they come: that.
    readings: Option<Readings>,
}

impl Piece<'_> {
    /// Takes what a line or a record gave: rows from `before` on. Looks up which rules they may begin.
    #[inline]
    fn take(
        &mut self,
        origin: Origin,
        decoded: Result<json::Decoded, Reject>,
        before: usize,
        [begins, uses]: [&mut Scratch; 2],
    ) {
        let Piece { family, out, errors, asks, readings } = self;
        match decoded {
            Ok(decoded) => {
                out.unreadable += u64::from(decoded.unreadable);
                if decoded.rows == 0 {
                    out.unknown += 1;
                }
            }
            Err(reject) => {
                out.rejected.push(Rejected { origin, reason: Reason::Bad(reject) });
                return;
            }
        }
        if let Some(readings) = readings {
            out.batch.rows[before..].iter_mut().for_each(|row| row.at = readings.of(row.at));
        }
        if *asks {
            return;
        }
        for row in before..out.batch.rows.len() {
            let rules = judge(family, &out.batch, row);
            rules.index.look_up(&mut out.batch, row, begins, &rules.data, errors);
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
}

/// Decodes input and looks up which rules it may begin: each event by the generation that judges it.
fn decode(
    family: &[Generation],
    input: &Input<'_>,
    batch: Batch,
    with: &mut Decoding,
    readings: Option<Readings>,
) -> Decoded {
    let asks = family[0].rules.asks.any();
    let out = Decoded { batch, ..Decoded::default() };
    let mut piece = Piece { family, out, errors: Cell::new(0), asks, readings };
    match input {
        Input::Lines(lines) => decode_lines(lines, &mut piece, with),
        Input::Records(all, range) => decode_records(*all, range.clone(), &mut piece, with),
    }
    let Piece { mut out, errors, .. } = piece;
    if asks {
        ask_models(family, &mut out.batch, with);
        out.unused += look_up_all(family, &mut out.batch, with, &errors);
    }
    out.errors = errors.get();
    out
}

fn decode_lines(lines: &Lines<'_>, piece: &mut Piece<'_>, with: &mut Decoding) {
    let Decoding { decoder, begins, uses, .. } = with;
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
        piece.out.lines += 1;
        let before = piece.out.batch.rows.len();
        let decoded = decoder.decode_next(bytes, line, origin, &mut piece.out.batch);
        piece.take(origin, decoded, before, [begins, uses]);
    }
    piece.out.first = lines.first;
    piece.out.taken = number - lines.first;
}

fn decode_records(all: &dyn Records, range: Range<usize>, piece: &mut Piece<'_>, with: &mut Decoding) {
    let Decoding { decoder, begins, uses, .. } = with;
    let reads_beside = decoder.plan().reads_beside;
    let mut dressed = Vec::new();
    piece.out.lines = range.len() as u64;
    piece.out.taken = range.len() as u64;
    for index in range {
        let mut record = all.get(index);
        let before = piece.out.batch.rows.len();
        dressed.clear();
        if all.dress(index, reads_beside, &mut dressed) {
            record.bytes = &dressed;
        }
        let decoded = match record.bytes {
            [] => Err(Reject::Empty),
            bytes => decoder.decode(bytes, record.origin, &mut piece.out.batch),
        };
        piece.take(record.origin, decoded, before, [begins, uses]);
    }
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
pub(super) fn numbered(mut pieces: Vec<Decoded>) -> Vec<Decoded> {
    let mut before = 0;
    for (i, piece) in pieces.iter_mut().enumerate() {
        if i > 0 {
            piece.batch.rows.iter_mut().for_each(|row| row.origin.offset += before);
            piece.rejected.iter_mut().for_each(|rejected| rejected.origin.offset += before);
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

/// Cuts input into about equal pieces: one for one thread, else several each.
pub(super) fn split<'a>(input: &Input<'a>, threads: usize) -> Vec<Input<'a>> {
    match input {
        Input::Lines(lines) => split_lines(lines, threads).into_iter().map(Input::Lines).collect(),
        Input::Records(_, range) if range.is_empty() => vec![input.clone()],
        Input::Records(all, range) => {
            let bytes = if threads == 1 { 0 } else { input.bytes() };
            let size = range.len().div_ceil(pieces(bytes, threads)).max(1);
            let cuts = range.clone().step_by(size);
            cuts.map(|from| Input::Records(*all, from..(from + size).min(range.end))).collect()
        }
    }
}

/// Into how many pieces so many bytes are cut.
fn pieces(bytes: usize, threads: usize) -> usize {
    let most = if threads == 1 { 1 } else { threads * PIECES_MAX };
    (bytes / PIECE_MIN).clamp(threads, most)
}

/// The first piece alone knows its lines' numbers.
fn split_lines<'a>(lines: &Lines<'a>, threads: usize) -> Vec<Lines<'a>> {
    let count = pieces(lines.bytes.len(), threads);
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
