//! A run as a record of words in its key's block.
//!
//! ```text
//! 0  rule 32, length in words 24, flags 8       3  time                         3  last bound event 32
//! 1  state 16, rank 16, count or `more` 32      4  event number                 4  first event's time
//! 2  deadline                                   5  offset                       5  first event's number
//!                                               6  source, partition, step, rank, 16 each
//!                                               7  event before 32, kinds of the captured fields 32
//!                                               8  (where there is one before) first event's time and number
//!                                               …  captured fields
//! ```
//!
//! A run whose last bound event no other run shares holds it in itself (middle column); else it names it in [`BoundEvents`] (right
//! column).

use lapwing_dsl::ir::StepId;
use lapwing_dsl::nfa::StateId;
use lapwing_dsl::schema::FieldId;
use lapwing_dsl::value::Value;
use smallvec::SmallVec;

use super::values::{self, VALUES_MAX};
use crate::Millis;
use crate::batch::Origin;
use crate::bound::{BoundEvent, BoundEvents, BoundId, BoundRef};
use crate::run::Run;

/// It has seen no event since it came where it waits.
const FRESH: u64 = 1 << 56;
/// Word 1 names a `RunMore` in place of the count.
const MORE: u64 = 2 << 56;
/// The last event is in [`BoundEvents`].
const SHARED: u64 = 4 << 56;
/// The last event is in the record and has one before it.
const CHAINED: u64 = 8 << 56;
/// Words of a record without captured fields, at most.
pub const LONGEST_BARE: usize = 10;
const LENGTH_MAX: usize = (1 << 24) - 1;
/// No event before.
const NONE: u32 = u32::MAX;

/// A run in a block.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    words: &'a [u64],
}

impl<'a> Record<'a> {
    /// The record that some words begin with.
    #[inline]
    pub fn first_of(words: &'a [u64]) -> Record<'a> {
        Record { words: &words[..length(words[0])] }
    }

    /// How many words it takes.
    #[inline]
    pub fn length(self) -> usize {
        self.words.len()
    }

    /// Index of its rule.
    #[inline]
    pub fn rule(self) -> u32 {
        self.words[0] as u32
    }

    /// Whether the run has seen no event since it came where it waits.
    #[inline]
    pub fn is_fresh(self) -> bool {
        self.words[0] & FRESH != 0
    }

    /// Where the run waits.
    #[inline]
    pub fn state(self) -> StateId {
        StateId(self.words[1] as u16)
    }

    /// When the run ends.
    #[inline]
    pub fn deadline(self) -> Millis {
        self.words[2] as i64
    }

    /// Which of the ways on the run took after its last event.
    pub fn rank(self) -> u16 {
        (self.words[1] >> 16) as u16
    }

    /// Passes of the pattern's only loop, where the run needs nothing beside the record.
    pub fn count(self) -> u32 {
        self.count_or_more().0
    }

    /// The count of passes, or the number of what few runs need.
    fn count_or_more(self) -> (u32, Option<u32>) {
        let word = (self.words[1] >> 32) as u32;
        if self.words[0] & MORE != 0 { (0, Some(word)) } else { (word, None) }
    }

    /// The number of what few runs need.
    pub fn more(self) -> Option<u32> {
        self.count_or_more().1
    }

    /// Number of the first event.
    #[inline]
    pub fn first_sequence(self) -> u64 {
        self.words[match self.words[0] & (SHARED | CHAINED) {
            0 => 4,
            CHAINED => 9,
            _ => 5,
        }]
    }

    /// Time of the first event.
    #[inline]
    pub fn first_at(self) -> Millis {
        self.words[match self.words[0] & (SHARED | CHAINED) {
            0 => 3,
            CHAINED => 8,
            _ => 4,
        }] as i64
    }

    /// The last event bound.
    #[inline]
    pub fn last(self, bound: &'a BoundEvents) -> BoundRef<'a> {
        match self.shared() {
            Some(id) => BoundRef::Shared(bound.get(id)),
            None => BoundRef::Own(OwnEvent { words: self.words }),
        }
    }

    /// The last event bound, where other runs may share it.
    #[inline]
    pub fn shared(self) -> Option<BoundId> {
        (self.words[0] & SHARED != 0).then(|| BoundId(self.words[3] as u32))
    }

    /// The bound event that this record holds, apart from what it holds in itself.
    pub fn held(self) -> Option<BoundId> {
        self.shared().or_else(|| OwnEvent { words: self.words }.before())
    }

    /// The run, with its last event among the bound events, held once by the run; `captured` says how many fields a step keeps. What
    /// few runs need is for the caller to add.
    pub fn run(self, bound: &mut BoundEvents, captured: impl Fn(StepId) -> usize) -> Run {
        let last = match self.shared() {
            Some(id) => id,
            None => {
                let own = OwnEvent { words: self.words };
                let values = (0..captured(own.step())).map(|i| own.captured(i).into_static()).collect();
                let node = BoundEvent::from_parts(
                    own.before(),
                    own.step(),
                    own.rank(),
                    own.origin(),
                    own.at(),
                    own.sequence(),
                    values,
                    1,
                );
                bound.put_back(node)
            }
        };
        Run {
            state: self.state(),
            rank: self.rank(),
            fresh: self.is_fresh(),
            last,
            count: self.count_or_more().0,
            first_at: self.first_at(),
            first_sequence: self.first_sequence(),
            deadline: self.deadline(),
            more: None,
        }
    }
}

#[inline]
fn length(word: u64) -> usize {
    (word >> 32) as usize & LENGTH_MAX
}

/// Marks a record, given the first of its words, as having seen an event.
#[inline]
pub fn grow_stale(word: &mut u64) {
    *word &= !FRESH;
}

/// Where a run begins: what its record says beside its first event.
#[derive(Clone, Debug, PartialEq)]
pub struct Begin {
    /// Index of the rule.
    pub rule: u32,
    /// The rule's key space.
    pub space: u16,
    /// The extraction that gives the step's key.
    pub extraction: u8,
    /// Whether the step's condition reads windows too.
    pub asks_windows: bool,
    /// `match last`: the place at which an older run that waits gives way.
    pub replaces: Option<u16>,
    /// The fields that are kept of the first event.
    pub captured: SmallVec<[FieldId; 4]>,
    /// The step that binds the first event.
    pub step: StepId,
    /// The rank of the way in.
    pub rank_before: u16,
    /// Where the run waits then.
    pub state: StateId,
    /// The rank of the way there.
    pub rank: u16,
    /// Passes of the pattern's only loop.
    pub count: u32,
    /// How long after the first event it ends; [`Millis::MAX`] where nothing ends it.
    pub lasts: Millis,
}

/// Appends the record of a run that has bound its first event. `false` and nothing is appended where that holds too much to stand in a
/// record.
pub fn begin<'v>(
    begin: &Begin,
    at: Millis,
    sequence: u64,
    origin: Origin,
    captured: impl ExactSizeIterator<Item = Value<'v>>,
    words: &mut Vec<u64>,
) -> bool {
    if captured.len() > VALUES_MAX {
        return false;
    }
    let start = words.len();
    let place = pack_place(origin, begin.step, begin.rank_before);
    let deadline = if begin.lasts == Millis::MAX { Millis::MAX } else { at.saturating_add(begin.lasts) };
    words.extend([
        u64::from(begin.rule) | FRESH,
        u64::from(begin.state.0) | u64::from(begin.rank) << 16 | u64::from(begin.count) << 32,
        deadline as u64,
        at as u64,
        sequence,
        origin.offset,
        place,
    ]);
    words.push(0);
    let kinds = values::pack(captured, words);
    words[start + 7] = u64::from(NONE) | u64::from(kinds) << 32;
    close(words, start)
}

/// Appends the record of a run. Its last event leaves `bound` where only the run holds it. `more` is the number of what few
/// runs need.
pub fn push(rule: u32, run: &Run, more: Option<u32>, bound: &mut BoundEvents, words: &mut Vec<u64>) {
    let start = words.len();
    let mut head = u64::from(rule);
    if run.fresh {
        head |= FRESH;
    }
    if more.is_some() {
        head |= MORE;
    }
    let count = more.unwrap_or(run.count);
    let second = u64::from(run.state.0) | u64::from(run.rank) << 16 | u64::from(count) << 32;
    let node = bound.get(run.last);
    if node.holders() == 1 && node.captured.len() <= VALUES_MAX {
        let chained = node.before.is_some();
        if chained {
            head |= CHAINED;
        }
        words.extend([head, second, run.deadline as u64, node.at as u64, node.sequence, node.origin.offset]);
        words.push(pack_place(node.origin, node.step, node.rank));
        words.push(0);
        if chained {
            words.extend([run.first_at as u64, run.first_sequence]);
        }
        let kinds = values::pack(node.captured.iter().map(Value::borrow), words);
        words[start + 7] = u64::from(node.before.map_or(NONE, |b| b.0)) | u64::from(kinds) << 32;
        if close(words, start) {
            // What stood before it is held by the record now.
            bound.take_out(run.last);
            return;
        }
        head &= !CHAINED;
    }
    words.extend([
        head | SHARED,
        second,
        run.deadline as u64,
        run.last.0.into(),
        run.first_at as u64,
        run.first_sequence,
    ]);
    close(words, start);
}

fn pack_place(origin: Origin, step: StepId, rank: u16) -> u64 {
    u64::from(origin.source) | u64::from(origin.partition) << 16 | u64::from(step.0) << 32 | u64::from(rank) << 48
}

/// Writes the length of the record that begins at `start`; takes it back and says `false` where it is too long.
fn close(words: &mut Vec<u64>, start: usize) -> bool {
    let length = words.len() - start;
    if length > LENGTH_MAX {
        words.truncate(start);
        return false;
    }
    words[start] |= (length as u64) << 32;
    true
}

/// A bound event that stands in its run's record.
#[derive(Clone, Copy, Debug)]
pub struct OwnEvent<'a> {
    words: &'a [u64],
}

impl<'a> OwnEvent<'a> {
    /// Its time.
    #[inline]
    pub fn at(self) -> Millis {
        self.words[3] as i64
    }

    /// Its number in processing order.
    #[inline]
    pub fn sequence(self) -> u64 {
        self.words[4]
    }

    /// Where it came from.
    pub fn origin(self) -> Origin {
        let place = self.words[6];
        Origin { source: place as u16, partition: (place >> 16) as u16, offset: self.words[5] }
    }

    /// The step it is bound to.
    #[inline]
    pub fn step(self) -> StepId {
        StepId((self.words[6] >> 32) as u16)
    }

    /// Which of the ways on the run had taken before it.
    pub fn rank(self) -> u16 {
        (self.words[6] >> 48) as u16
    }

    /// The event bound before it.
    #[inline]
    pub fn before(self) -> Option<BoundId> {
        let before = self.words[7] as u32;
        (before != NONE).then_some(BoundId(before))
    }

    /// A captured field.
    #[inline]
    pub fn captured(self, i: usize) -> Value<'a> {
        let from = if self.words[0] & CHAINED != 0 { 10 } else { 8 };
        values::unpack((self.words[7] >> 32) as u32, &self.words[from..], i)
    }
}
