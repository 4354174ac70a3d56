//! The runs of a key: records that are read where they stand, taken out to be moved, gathered, and held to the caps.

use std::collections::BTreeMap;
use std::ops::Range;

use smallvec::SmallVec;

use super::{Capped, Cell, CellMore, Fate, Group, Shape, SlotId};
use crate::Millis;
use crate::limits::Cap;
use crate::rule_set::RuleSet;
use crate::run::{Run, RunMore};
use crate::state::record::{self, Begin, Record};
use crate::state::starts::{Start, Starts};

impl Group {
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

    /// Where the first record stands, and where the last one ends.
    #[inline]
    pub(super) fn span(&self, slot: SlotId) -> (usize, usize) {
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
        // What stays moves down in stretches, each when the next record goes.
        let (mut read, mut write, mut stays) = (from, from, from);
        for fate in fates {
            let record = Record::first_of(&words[read..to]);
            let length = record.length();
            match fate {
                Fate::Kept => {}
                Fate::Waits => record::grow_stale(&mut words[read]),
                Fate::Gone | Fate::TakenOut => {
                    let rule = record.rule();
                    if *fate == Fate::TakenOut {
                        let program = &rules.rules[rule as usize].program;
                        let mut run = record.run(&mut self.bound, |step| program.kept(step));
                        if let Some((count, more)) = record.more().and_then(|number| self.run_some.remove(number)) {
                            (run.count, run.more) = (count, Some(more));
                        }
                        taken.push((rule, run));
                    } else {
                        if let Some(held) = record.held() {
                            self.bound.release(held);
                        }
                        if let Some(number) = record.more() {
                            self.run_some.remove(number);
                        }
                    }
                    self.runs -= 1;
                    self.of_rule[rule as usize] -= 1;
                    write = move_down(words, stays..read, write);
                    stays = read + length;
                }
            }
            read += length;
        }
        write = move_down(words, stays..read, write);
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
            fresh: true,
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
                self.touch(slot);
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

    /// How many runs live.
    pub fn run_count(&self) -> usize {
        let gathered = self.some.places().flatten().flat_map(|m| &m.starts).map(|(_, starts)| starts.len());
        self.runs + gathered.sum::<usize>()
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

/// Moves words down to a place; returns where they end there.
fn move_down(words: &mut [u64], from: Range<usize>, to: usize) -> usize {
    let end = to + from.len();
    if from.start != to {
        words.copy_within(from, to);
    }
    end
}
