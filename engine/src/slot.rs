//! State by key: one slot a key, in 256 fixed key groups and one for pinned rules.
//!
//! A slot holds what rules have of its key: runs, windows, open alerts. A rule costs a key nothing until it has something to
//! keep, and a slot that holds nothing goes. A slot is a block of words (see [`crate::state`]):
//!
//! ```text
//! 0  32 bits of the key's hash, length of the key in bytes 32
//! 1  words in use 27, what only some keys hold 27, words of the windows 10
//! 2  key space 16, time of the next sweep 48
//! 3  … the key's bytes, then small windows, then a record for each run
//! ```
//!
//! A window that only counts and has few entries is small: a word with its index (32) and the number of entries (32), then the
//! times of the entries, ascending. Windows stand in the order of their indexes.
//!
//! A slot's number holds until the slot is next written to.

use std::collections::BTreeMap;
use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use smallvec::SmallVec;

use crate::Millis;
use crate::bound::BoundEvents;
use crate::limits::Cap;
use crate::output::Match;
use crate::rule_set::RuleSet;
use crate::run::{Run, RunMore};
use crate::slab::Slab;
use crate::state::blocks::{BlockId, Blocks};
use crate::state::record::{self, Begin, Record};
use crate::state::starts::{Start, Starts};
use crate::state::table::Table;
use crate::window::WindowState;

/// How many key groups there are, the pinned one aside.
pub const GROUPS: usize = 256;
/// The key group of pinned rules and their windows.
pub const PINNED: usize = GROUPS;
/// Sweeps are planned at whole multiples of this time.
pub const SWEEP_GRAIN: Millis = 8_192;
/// What goes is swept away at most so much later, where its key is in memory.
pub const SWEPT_WITHIN: Millis = 2 * SWEEP_GRAIN;

/// The number of a key's slot in its group.
pub type SlotId = BlockId;

/// What only some keys hold.
#[derive(Clone, Debug, Default)]
pub struct SlotMore {
    /// What windows hold.
    pub windows: Vec<WindowCell>,
    /// What rules hold beside runs.
    pub cells: Vec<(u32, CellMore)>,
    /// The runs of rules that have many, gathered.
    pub starts: Vec<(u32, Starts)>,
}

impl SlotMore {
    /// The gathered runs of a rule.
    pub fn starts_of(&mut self, rule: u32) -> Option<&mut Starts> {
        self.starts.iter_mut().find(|(r, _)| *r == rule).map(|(_, starts)| starts)
    }
}

/// What one rule holds of a key, taken out to be moved.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// Index of the rule.
    pub rule: u32,
    /// Live runs.
    pub runs: Vec<Run>,
    /// What few cells need.
    pub more: Option<CellMore>,
}

/// What a rule that reports late, or whose cap bit, holds beside runs.
#[derive(Clone, Debug, Default)]
pub struct CellMore {
    /// `report final`: for each beginning its best complete match so far, ascending by beginning.
    pub candidates: Vec<Candidate>,
    /// `report updates`: alerts that may grow.
    pub open: Vec<OpenAlert>,
    /// The caps that bit, and until when that may matter.
    pub capped: Capped,
}

impl CellMore {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty() && self.open.is_empty() && self.capped.caps == 0
    }
}

/// A complete match that a preferred one may still replace.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Number of its first event.
    pub first_sequence: u64,
    /// Number of its last event.
    pub last_sequence: u64,
    /// The ways taken, in order.
    pub ranks: Vec<u16>,
    /// Numbers of its events with their steps, in order.
    pub bindings: Vec<(u16, u64)>,
    /// The alert as of its last event.
    pub body: Box<Match>,
}

/// An alert that may be revised.
#[derive(Clone, Debug)]
pub struct OpenAlert {
    /// The tag of the runs that may revise it.
    pub tag: u32,
    /// The last revision.
    pub body: Box<Match>,
}

/// What one window holds of a key.
#[derive(Clone, Debug)]
pub struct WindowCell {
    /// Index of the window.
    pub window: u32,
    /// Its content.
    pub state: WindowState,
    /// Until when entries that the cap took would have counted.
    pub lost_until: Millis,
}

/// Nothing of what only some keys hold.
const NONE: u32 = (1 << 27) - 1;
/// The most entries of a small window, and the most words of all small windows of a key.
pub const SMALL_ENTRIES_MAX: usize = 32;
const SMALL_WORDS_MAX: usize = (1 << 10) - 1;
/// Words before the key.
pub const HEAD: usize = 3;
/// No sweep is planned.
const NEVER: i64 = (1 << 47) - 1;

/// What becomes of a run where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays as it is.
    Kept,
    /// It waits on, and has seen an event.
    Waits,
    /// It goes.
    Gone,
    /// It is taken out with the others of its rule: there is more to be done.
    TakenOut,
}

/// Which caps bit, as a bit set of [`Cap`], and the last deadline of what they took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capped {
    /// The caps.
    pub caps: u8,
    /// The last deadline.
    pub until: Millis,
}

impl Capped {
    /// A cap bit: it may matter until then.
    pub fn add(&mut self, cap: Cap, until: Millis) {
        self.until = if self.caps == 0 { until } else { self.until.max(until) };
        self.caps |= cap as u8;
    }

    /// The caps that may have changed what is reported at a time.
    pub fn at(&self, at: Millis) -> u8 {
        if at <= self.until { self.caps } else { 0 }
    }

    /// Forgets caps that no longer matter.
    pub fn forget(&mut self, now: Millis) {
        if self.until < now {
            self.caps = 0;
        }
    }
}

/// The slots of one key group, with the events that runs of the group share.
#[derive(Clone, Debug, Default)]
pub struct Group {
    table: Table,
    blocks: Blocks,
    some: Slab<SlotMore>,
    run_some: Slab<(u32, Box<RunMore>)>,
    /// How many runs live that are not gathered: in all, and of each rule.
    runs: usize,
    of_rule: Vec<u32>,
    /// The caps of more than one key that took runs of a rule, and until when that may matter.
    capped: BTreeMap<u32, Capped>,
    /// Events that more than one run of the group has bound, or that have one bound behind them.
    pub bound: BoundEvents,
    /// Memory for records on their way.
    words: Vec<u64>,
}

/// The 32 bits of a key's hash that its group finds it by.
#[inline]
pub fn tag_of(hash: u64) -> u32 {
    hash as u32
}

fn low(word: u64) -> u32 {
    word as u32
}

fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// What word 1 of a slot says.
#[derive(Clone, Copy)]
struct Shape {
    /// Where the key ends.
    from: usize,
    used: usize,
    more: u32,
    small: usize,
}

impl Shape {
    #[inline]
    fn of(words: &[u64]) -> Shape {
        let word = words[1];
        let from = HEAD + (high(words[0]) as usize).div_ceil(8);
        Shape { from, used: word as usize & 0x7ff_ffff, more: (word >> 27) as u32 & NONE, small: (word >> 54) as usize }
    }

    #[inline]
    fn write(self, words: &mut [u64]) {
        debug_assert!(self.used <= 0x7ff_ffff && self.small <= SMALL_WORDS_MAX && self.more <= NONE);
        words[1] = self.used as u64 | u64::from(self.more) << 27 | (self.small as u64) << 54;
    }
}

impl Group {
    /// Asks the processor to have a key's place in the table at hand.
    #[inline]
    pub fn prefetch_place(&self, hash: u64) {
        self.table.prefetch(tag_of(hash));
    }

    /// Asks the processor to have the beginning of a key's slot at hand.
    #[inline]
    pub fn prefetch_slot(&self, hash: u64) {
        if let Some(slot) = self.table.all(tag_of(hash)).next() {
            for line in self.blocks.get(slot).chunks(8).take(3) {
                crate::state::prefetch(&line[0]);
            }
        }
    }

    /// The slot of a key.
    #[inline]
    pub fn find(&self, space: u16, hash: u64, key: &[u8]) -> Option<SlotId> {
        self.table.find(tag_of(hash), |slot| self.space(slot) == space && self.key(slot) == key)
    }

    /// The slot of a key, made where there is none, with room for so many words.
    pub fn find_or_add(&mut self, space: u16, hash: u64, key: &[u8], room: usize) -> SlotId {
        if let Some(slot) = self.find(space, hash, key) {
            return slot;
        }
        self.words.clear();
        self.words.extend([pair(tag_of(hash), key.len() as u32), 0, (NEVER << 16) as u64 | u64::from(space)]);
        let used = HEAD + key.len().div_ceil(8);
        self.words.resize(used, 0);
        bytemuck::cast_slice_mut::<u64, u8>(&mut self.words[HEAD..])[..key.len()].copy_from_slice(key);
        Shape { from: used, used, more: NONE, small: 0 }.write(&mut self.words);
        let slot = self.blocks.add(used + room);
        self.blocks.get_mut(slot)[..used].copy_from_slice(&self.words);
        self.table.insert(tag_of(hash), slot);
        slot
    }

    /// The key's bytes.
    #[inline]
    pub fn key(&self, slot: SlotId) -> &[u8] {
        let words = self.blocks.get(slot);
        &bytemuck::cast_slice(&words[HEAD..])[..high(words[0]) as usize]
    }

    /// Index of the key space.
    #[inline]
    pub fn space(&self, slot: SlotId) -> u16 {
        self.blocks.get(slot)[2] as u16
    }

    /// The rule set has changed: the key space has another index.
    pub fn set_space(&mut self, slot: SlotId, space: u16) {
        let word = &mut self.blocks.get_mut(slot)[2];
        *word = *word & !0xffff | u64::from(space);
    }

    /// The 32 bits of the key's hash that the slot is found by.
    pub fn tag(&self, slot: SlotId) -> u32 {
        low(self.blocks.get(slot)[0])
    }

    /// The slots found by these 32 bits.
    pub fn tagged(&self, tag: u32) -> SmallVec<[SlotId; 2]> {
        self.table.all(tag).collect()
    }

    /// When to look whether something has gone; none where no look is planned.
    #[inline]
    pub fn sweep_at(&self, slot: SlotId) -> Option<Millis> {
        let grains = self.blocks.get(slot)[2] as i64 >> 16;
        (grains != NEVER).then_some(grains * SWEEP_GRAIN)
    }

    /// Plans a look. What is too far ahead to be written is looked at earlier.
    pub fn set_sweep_at(&mut self, slot: SlotId, at: Option<Millis>) -> Option<Millis> {
        let grains = at.map_or(NEVER, |at| at.div_euclid(SWEEP_GRAIN).clamp(-NEVER, NEVER - 1));
        let word = &mut self.blocks.get_mut(slot)[2];
        *word = (grains << 16) as u64 | *word & 0xffff;
        self.sweep_at(slot)
    }

    /// What only some keys hold.
    #[inline]
    pub fn more(&self, slot: SlotId) -> Option<&SlotMore> {
        self.some.get(Shape::of(self.blocks.get(slot)).more)
    }

    /// What only some keys hold, to change.
    #[inline]
    pub fn more_mut(&mut self, slot: SlotId) -> Option<&mut SlotMore> {
        self.some.get_mut(Shape::of(self.blocks.get(slot)).more)
    }

    /// What only some keys hold, made where there is none.
    pub fn more_or_add(&mut self, slot: SlotId) -> &mut SlotMore {
        let words = self.blocks.get_mut(slot);
        let mut shape = Shape::of(words);
        if shape.more == NONE {
            shape.more = self.some.add(SlotMore::default());
            shape.write(words);
        }
        self.some.get_mut(shape.more).expect("a slot names what is there")
    }

    /// The state of a window that is not small.
    pub fn window(&self, slot: SlotId, window: u32) -> Option<&WindowCell> {
        self.windows(slot).iter().find(|w| w.window == window)
    }

    /// What windows hold that are not small.
    pub fn windows(&self, slot: SlotId) -> &[WindowCell] {
        self.more(slot).map_or(&[], |m| &m.windows)
    }

    /// The small windows: their indexes, and the times of their entries, ascending.
    pub fn small_windows(&self, slot: SlotId) -> SmallWindows<'_> {
        let words = self.blocks.get(slot);
        let shape = Shape::of(words);
        SmallWindows { words: &words[shape.from..shape.from + shape.small] }
    }

    /// The times of a small window's entries.
    pub fn small_window(&self, slot: SlotId, window: u32) -> Option<&[i64]> {
        self.small_windows(slot).find(|(w, _)| *w == window).map(|(_, times)| times)
    }

    /// Adds an entry to a small window; none where it would not be small any more. Returns the slot's number.
    pub fn add_to_small(&mut self, slot: SlotId, window: u32, at: Millis) -> Option<SlotId> {
        let words = self.blocks.get(slot);
        let shape = Shape::of(words);
        let mut place = shape.from;
        let mut found = None;
        for (index, times) in self.small_windows(slot) {
            if index >= window {
                found = (index == window).then_some(times);
                break;
            }
            place += 1 + times.len();
        }
        let added = if found.is_some() { 1 } else { 2 };
        if found.is_some_and(|t| t.len() >= SMALL_ENTRIES_MAX) || shape.small + added > SMALL_WORDS_MAX {
            return None;
        }
        let entry = found.map_or(1, |times| 1 + times.partition_point(|t| *t <= at));
        let slot = self.resize(slot, shape.used, shape.used + added);
        let words = self.blocks.get_mut(slot);
        if added == 2 {
            words.copy_within(place..shape.used, place + 2);
            words[place] = pair(window, 1);
        } else {
            words.copy_within(place + entry..shape.used, place + entry + 1);
            words[place] = pair(window, high(words[place]) + 1);
        }
        words[place + entry] = at as u64;
        Shape { used: shape.used + added, small: shape.small + added, ..shape }.write(words);
        Some(slot)
    }

    /// Whether a small window of so many entries can be added.
    pub fn has_room_for_small(&self, slot: SlotId, entries: usize) -> bool {
        entries <= SMALL_ENTRIES_MAX && Shape::of(self.blocks.get(slot)).small + 1 + entries <= SMALL_WORDS_MAX
    }

    /// Gives the small windows other indexes; those without one go. Returns the slot's number.
    pub fn renumber_small(&mut self, mut slot: SlotId, index: impl Fn(u32) -> Option<u32>) -> SlotId {
        let small: Vec<(u32, Vec<Millis>)> = self.small_windows(slot).map(|(w, times)| (w, times.to_vec())).collect();
        if small.iter().all(|(w, _)| index(*w) == Some(*w)) {
            return slot;
        }
        self.rewrite_small(slot, |_, _| None);
        for (window, times) in small.iter().filter_map(|(w, times)| Some((index(*w)?, times))) {
            for at in times {
                slot = self.add_to_small(slot, window, *at).expect("what had room has room");
            }
        }
        slot
    }

    /// Of each small window so many of the first entries go, or all.
    pub fn rewrite_small(&mut self, slot: SlotId, mut gone: impl FnMut(u32, &[i64]) -> Option<usize>) {
        let words = self.blocks.get_mut(slot);
        let shape = Shape::of(words);
        let (mut read, mut write) = (shape.from, shape.from);
        while read < shape.from + shape.small {
            let count = high(words[read]) as usize;
            let index = low(words[read]);
            let gone = gone(index, bytemuck::cast_slice(&words[read + 1..read + 1 + count]));
            if let Some(gone) = gone.filter(|gone| *gone < count) {
                words[write] = pair(index, (count - gone) as u32);
                words.copy_within(read + 1 + gone..read + 1 + count, write + 1);
                write += 1 + count - gone;
            }
            read += 1 + count;
        }
        let gone = read - write;
        if gone > 0 {
            words.copy_within(read..shape.used, write);
            Shape { used: shape.used - gone, small: shape.small - gone, ..shape }.write(words);
        }
    }

    /// Takes a window out of the small ones.
    pub fn take_small(&mut self, slot: SlotId, window: u32) -> Vec<Millis> {
        let mut taken = Vec::new();
        self.rewrite_small(slot, |index, times| {
            if index == window {
                taken = times.to_vec();
                return None;
            }
            Some(0)
        });
        taken
    }

    /// What a rule holds of a key beside runs.
    pub fn cell_more(&self, slot: SlotId, rule: u32) -> Option<&CellMore> {
        self.more(slot)?.cells.iter().find(|(r, _)| *r == rule).map(|(_, more)| more)
    }

    /// What a rule holds of a key beside runs, made where there is none.
    pub fn cell_more_or_add(&mut self, slot: SlotId, rule: u32) -> &mut CellMore {
        let cells = &mut self.more_or_add(slot).cells;
        let i = cells.iter().position(|(r, _)| *r == rule).unwrap_or_else(|| {
            cells.push((rule, CellMore::default()));
            cells.len() - 1
        });
        &mut cells[i].1
    }

    /// Gives up what is empty.
    pub fn tidy(&mut self, slot: SlotId) {
        let Some(more) = self.more_mut(slot) else { return };
        more.cells.retain(|(_, c)| !c.is_empty());
        more.starts.retain(|(_, s)| !s.is_empty());
        if more.cells.is_empty() && more.windows.is_empty() && more.starts.is_empty() {
            let words = self.blocks.get_mut(slot);
            let shape = Shape::of(words);
            Shape { more: NONE, ..shape }.write(words);
            self.some.remove(shape.more);
        }
    }

    /// Where the first record stands, and where the last one ends.
    #[inline]
    fn span(&self, slot: SlotId) -> (usize, usize) {
        let shape = Shape::of(self.blocks.get(slot));
        (shape.from + shape.small, shape.used)
    }

    /// The records of a key's runs; those of one rule in their order.
    #[inline]
    pub fn records(&self, slot: SlotId) -> Records<'_> {
        let (from, to) = self.span(slot);
        Records { words: &self.blocks.get(slot)[from..to] }
    }

    /// What the run of a record holds beside it, with its count of passes.
    pub fn run_more(&self, record: Record<'_>) -> Option<(u32, &RunMore)> {
        let (count, more) = self.run_some.get(record.more()?)?;
        Some((*count, more))
    }

    /// The rules that hold something of a key, ascending.
    pub fn rules(&self, slot: SlotId) -> SmallVec<[u32; 8]> {
        let mut rules: SmallVec<[u32; 8]> = SmallVec::new();
        for record in self.records(slot) {
            if rules.last() != Some(&record.rule()) {
                rules.push(record.rule());
            }
        }
        if let Some(more) = self.more(slot) {
            rules.extend(more.cells.iter().map(|(rule, _)| *rule));
            rules.extend(more.starts.iter().map(|(rule, _)| *rule));
        }
        if rules.len() > 1 {
            rules.sort_unstable();
            rules.dedup();
        }
        rules
    }

    /// Carries out what was decided of each record, in their order. What is taken out is appended to `taken` with its rule.
    pub fn apply(&mut self, slot: SlotId, fates: &[Fate], rules: &RuleSet, taken: &mut Vec<(u32, Run)>) {
        let (from, to) = self.span(slot);
        let words = self.blocks.get_mut(slot);
        let (mut read, mut write) = (from, from);
        for fate in fates {
            let record = Record::first_of(&words[read..to]);
            let length = record.length();
            match fate {
                Fate::Gone => {
                    if let Some(held) = record.held() {
                        self.bound.release(held);
                    }
                    if let Some(number) = record.more() {
                        self.run_some.remove(number);
                    }
                    self.runs -= 1;
                    self.of_rule[record.rule() as usize] -= 1;
                    read += length;
                    continue;
                }
                Fate::TakenOut => {
                    let rule = record.rule();
                    let captures = &rules.rules[rule as usize].program.captures;
                    let mut run = record.run(&mut self.bound, |step| captures[step.0 as usize].len());
                    if let Some((count, more)) = record.more().and_then(|number| self.run_some.remove(number)) {
                        (run.count, run.more) = (count, Some(more));
                    }
                    taken.push((rule, run));
                    self.runs -= 1;
                    self.of_rule[rule as usize] -= 1;
                    read += length;
                    continue;
                }
                Fate::Waits => record::grow_stale(&mut words[read]),
                Fate::Kept => {}
            }
            if write != read {
                words.copy_within(read..read + length, write);
            }
            read += length;
            write += length;
        }
        Shape { used: write, ..Shape::of(words) }.write(words);
    }

    /// Takes out what a rule holds of a key; `runs` is emptied and used for its runs.
    pub fn take_cell(&mut self, slot: SlotId, rule: u32, rules: &RuleSet, mut runs: Vec<Run>) -> Cell {
        let fate = |r: Record<'_>| if r.rule() == rule { Fate::TakenOut } else { Fate::Kept };
        let fates: Vec<Fate> = self.records(slot).map(fate).collect();
        let mut taken = Vec::new();
        self.apply(slot, &fates, rules, &mut taken);
        runs.clear();
        runs.extend(taken.into_iter().map(|(_, run)| run));
        Cell { rule, runs, more: self.take_more(slot, rule) }
    }

    /// Gathers the runs of a rule that differ only in the event they began with. Those that are older than one that
    /// came before, or began under another version, stay as they are.
    pub fn gather(&mut self, slot: SlotId, begin: &Begin, mut starts: Starts, rules: &RuleSet) {
        let mut fates = Vec::new();
        for record in self.records(slot) {
            let last = record.last(&self.bound);
            let plain = record.rule() == begin.rule && record.state() == begin.state && record.more().is_none();
            let ascends = starts.newest_at().is_none_or(|newest| newest <= last.at());
            if !plain || !ascends || last.before().is_some() {
                fates.push(Fate::Kept);
                continue;
            }
            let captured = (0..begin.captured.len()).map(|i| last.captured(i));
            starts.push(last.at(), last.sequence(), last.origin(), captured);
            if !record.is_fresh() {
                starts.see(last.sequence() + 1);
            }
            fates.push(Fate::Gone);
        }
        self.apply(slot, &fates, rules, &mut Vec::new());
        self.more_or_add(slot).starts.push((begin.rule, starts));
    }

    /// Takes out the gathered runs of a rule.
    pub fn take_starts(&mut self, slot: SlotId, rule: u32) -> Option<Starts> {
        let more = self.more_mut(slot)?;
        let i = more.starts.iter().position(|(r, _)| *r == rule)?;
        Some(more.starts.swap_remove(i).1)
    }

    /// Makes runs of gathered starts again, at most the newest `most` of them, and puts them among those of the cell.
    pub fn part(&mut self, begin: &Begin, starts: &Starts, most: usize, cell: &mut Cell) {
        let surplus = starts.len().saturating_sub(most);
        let runs: Vec<Run> = starts.iter().skip(surplus).map(|start| self.run_of_start(begin, &start)).collect();
        cell.runs.extend(runs);
        cell.runs.sort_by_key(|run| run.first_sequence);
        if surplus > 0 {
            cell.more.get_or_insert_default().capped.add(Cap::RunsPerKey, Millis::MAX);
        }
    }

    /// The run that a gathered start stands for.
    pub fn run_of_start(&mut self, begin: &Begin, start: &Start<'_>) -> Run {
        let captured = start.captured.iter().map(|v| v.clone().into_static()).collect();
        let last =
            self.bound.add(None, begin.step, begin.rank_before, start.origin, start.at, start.sequence, captured);
        let more = start.version.map(|v| Box::new(RunMore { started_version: Some(v), ..RunMore::default() }));
        Run {
            state: begin.state,
            rank: begin.rank,
            fresh: start.fresh,
            last,
            count: begin.count,
            first_at: start.at,
            first_sequence: start.sequence,
            deadline: start.at.saturating_add(begin.lasts),
            more,
        }
    }

    /// Takes out what a rule holds of a key beside runs.
    pub fn take_more(&mut self, slot: SlotId, rule: u32) -> Option<CellMore> {
        let more = self.more_mut(slot)?;
        let i = more.cells.iter().position(|(r, _)| *r == rule)?;
        Some(more.cells.swap_remove(i).1)
    }

    /// Puts back what a rule holds of a key; gives the slot's number and the memory of the runs.
    pub fn put_cell(&mut self, slot: SlotId, mut cell: Cell) -> (SlotId, Vec<Run>) {
        let mut words = std::mem::take(&mut self.words);
        words.clear();
        self.count(cell.rule, cell.runs.len());
        for mut run in cell.runs.drain(..) {
            let more = run.more.take().map(|more| self.run_some.add((run.count, more)));
            record::push(cell.rule, &run, more, &mut self.bound, &mut words);
        }
        let slot = self.append(slot, &words);
        self.words = words;
        if let Some(more) = cell.more.filter(|m| !m.is_empty()) {
            self.more_or_add(slot).cells.push((cell.rule, more));
        }
        self.tidy(slot);
        (slot, cell.runs)
    }

    /// Adds the records of runs that have begun. Returns the slot's number.
    pub fn add_records(&mut self, slot: SlotId, words: &[u64]) -> SlotId {
        for record in (Records { words }) {
            self.count(record.rule(), 1);
        }
        self.append(slot, words)
    }

    fn count(&mut self, rule: u32, runs: usize) {
        self.runs += runs;
        if self.of_rule.len() <= rule as usize {
            self.of_rule.resize(rule as usize + 1, 0);
        }
        self.of_rule[rule as usize] += runs as u32;
    }

    /// How many runs of a rule live that are not gathered.
    #[inline]
    pub fn runs_of(&self, rule: u32) -> usize {
        self.of_rule.get(rule as usize).map_or(0, |n| *n as usize)
    }

    /// How many runs of all rules live that are not gathered.
    #[inline]
    pub fn runs_of_all(&self) -> usize {
        self.runs
    }

    /// Ends the runs of a rule, or of all, that began first, so that about `keep` are left. Returns how many went.
    pub fn end_oldest(&mut self, rule: Option<u32>, keep: usize, cap: Cap, rules: &RuleSet) -> usize {
        let concerned = |r: &Record<'_>| rule.is_none_or(|rule| r.rule() == rule);
        let slots = self.slots();
        let records = slots.iter().flat_map(|slot| self.records(*slot)).filter(concerned);
        let mut begins: Vec<u64> = records.map(|r| r.first_sequence()).collect();
        if begins.len() <= keep {
            return 0;
        }
        let surplus = begins.len() - keep;
        let (before, last, _) = begins.select_nth_unstable(surplus - 1);
        // Runs that began with one event go or stay together, whatever the order of the table.
        let until = if before.iter().any(|b| b < last) { *last } else { *last + 1 };
        let mut count = 0;
        let (mut fates, mut capped) = (Vec::new(), BTreeMap::<u32, Capped>::new());
        for slot in slots {
            fates.clear();
            for record in self.records(slot) {
                let goes = concerned(&record) && record.first_sequence() < until;
                if goes {
                    count += 1;
                    capped.entry(record.rule()).or_default().add(cap, record.deadline());
                }
                fates.push(if goes { Fate::Gone } else { Fate::Kept });
            }
            if fates.contains(&Fate::Gone) {
                self.apply(slot, &fates, rules, &mut Vec::new());
            }
        }
        for (rule, more) in capped {
            self.capped.entry(rule).or_default().add(cap, more.until);
        }
        count
    }

    /// The caps of more than one key that may have changed what a rule reports at a time.
    pub fn capped(&self, rule: u32, at: Millis) -> u8 {
        self.capped.get(&rule).map_or(0, |c| c.at(at))
    }

    /// What caps of more than one key have done, by rule.
    pub fn all_capped(&self) -> &BTreeMap<u32, Capped> {
        &self.capped
    }

    /// Goes on with what caps have done.
    pub fn set_capped(&mut self, capped: BTreeMap<u32, Capped>) {
        self.capped = capped;
    }

    /// Forgets caps that no longer matter.
    pub fn forget_caps(&mut self, now: Millis) {
        self.capped.retain(|_, c| c.until >= now);
    }

    /// Gives up memory that the slot no longer needs. Returns the slot's number.
    pub fn fit(&mut self, slot: SlotId) -> SlotId {
        let (_, used) = self.span(slot);
        self.resize(slot, used, used)
    }

    fn resize(&mut self, slot: SlotId, used: usize, words: usize) -> SlotId {
        let new = self.blocks.resize(slot, used, words);
        if new != slot {
            let tag = self.tag(new);
            self.table.replace(tag, slot, new);
        }
        new
    }

    fn append(&mut self, slot: SlotId, words: &[u64]) -> SlotId {
        let (_, used) = self.span(slot);
        let all = used + words.len();
        let new = self.resize(slot, used, all);
        let block = self.blocks.get_mut(new);
        block[used..all].copy_from_slice(words);
        Shape { used: all, ..Shape::of(block) }.write(block);
        new
    }

    /// Whether a slot holds nothing.
    #[inline]
    pub fn holds_nothing(&self, slot: SlotId) -> bool {
        let shape = Shape::of(self.blocks.get(slot));
        shape.more == NONE && shape.used == shape.from
    }

    /// Frees a slot that holds nothing.
    pub fn remove(&mut self, slot: SlotId) {
        self.table.remove(self.tag(slot), slot);
        self.blocks.remove(slot);
        if self.table.is_empty() {
            // Keys that are not in memory may still feel what a cap did.
            let capped = std::mem::take(&mut self.capped);
            *self = Group { capped, ..Group::default() };
        }
    }

    /// Gives up a key with all that it holds.
    pub fn discard(&mut self, slot: SlotId, rules: &RuleSet) {
        let fates: Vec<Fate> = self.records(slot).map(|_| Fate::Gone).collect();
        self.apply(slot, &fates, rules, &mut Vec::new());
        if let Some(more) = self.more_mut(slot) {
            *more = SlotMore::default();
            self.tidy(slot);
        }
        self.remove(slot);
    }

    /// The time of the newest event that a key's state remembers; none where what it remembers has no times.
    pub fn newest(&self, slot: SlotId) -> Option<Millis> {
        let runs = self.records(slot).map(|r| r.last(&self.bound).at());
        let small = self.small_windows(slot).filter_map(|(_, times)| times.last().copied());
        let windows = self.windows(slot).iter().filter_map(|w| w.state.newest());
        let starts = self.more(slot).into_iter().flat_map(|m| &m.starts).filter_map(|(_, starts)| starts.newest_at());
        runs.chain(small).chain(windows).chain(starts).max()
    }

    /// Numbers of the slots in use, in no order that means anything.
    pub fn slots(&self) -> Vec<SlotId> {
        self.table.iter().collect()
    }

    /// Numbers of the slots in use, ordered by space and key.
    pub fn in_order(&self) -> Vec<SlotId> {
        let mut all = self.slots();
        all.sort_unstable_by(|a, b| (self.space(*a), self.key(*a)).cmp(&(self.space(*b), self.key(*b))));
        all
    }

    /// How many keys it holds.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// How many runs live.
    pub fn run_count(&self) -> usize {
        let gathered = self.some.places().flatten().flat_map(|m| &m.starts).map(|(_, starts)| starts.len());
        self.runs + gathered.sum::<usize>()
    }

    /// Whether it holds no key.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

/// The small windows of a key.
#[derive(Clone, Debug)]
pub struct SmallWindows<'a> {
    words: &'a [u64],
}

impl<'a> Iterator for SmallWindows<'a> {
    type Item = (u32, &'a [i64]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.words.split_first()?;
        let (times, rest) = rest.split_at(high(*head) as usize);
        self.words = rest;
        Some((low(*head), bytemuck::cast_slice(times)))
    }
}

/// The records of a key's runs.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    words: &'a [u64],
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        if self.words.is_empty() {
            return None;
        }
        let record = Record::first_of(self.words);
        self.words = &self.words[record.length()..];
        Some(record)
    }
}

/// Hashes keys with a secret, so that nobody can choose keys that fall into one group or chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHasher {
    secret: u64,
}

impl KeyHasher {
    /// With a secret, which is saved with the state.
    pub fn new(secret: u64) -> Self {
        KeyHasher { secret }
    }

    /// The secret.
    pub fn secret(self) -> u64 {
        self.secret
    }

    /// Hash of a key in a space of this seed.
    #[inline]
    pub fn hash(self, seed: u64, key: &[u8]) -> u64 {
        static SEED: SharedSeed = SharedSeed::from_u64(0x1a9_71e6);
        let mut hasher = FoldHasher::with_seed(self.secret ^ seed, &SEED);
        hasher.write(key);
        hasher.finish()
    }
}

/// The key group of a hash.
#[inline]
pub fn group_of(hash: u64, pinned: bool) -> usize {
    // The table within a group uses the low 32 bits.
    if pinned { PINNED } else { (hash >> 40) as usize & (GROUPS - 1) }
}
