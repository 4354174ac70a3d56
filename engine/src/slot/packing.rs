//! What windows hold of a key becomes small, and large again: then each window of a family keeps its entries itself.

use smallvec::SmallVec;

use super::{Group, KeyHasher, SlotId, WindowCell};
use crate::Millis;
use crate::rule_set::RuleSet;
use crate::store::codec::{Reader, Writer};
use crate::window::family::{Family, Form, Raw, Raws};
use crate::window::packed::{self, ENTRIES_MAX, Packed, Unfit};
use crate::window::{Entries, WindowState, seen_from};

/// What each of the windows holds whose entries stand together, as of a clock.
pub fn unpacked(packed: Packed<'_>, rules: &RuleSet, hasher: KeyHasher, clock: Millis) -> Vec<WindowCell> {
    let family = &rules.families[packed.family() as usize];
    let mut cells = Vec::new();
    for member in family.members(packed.members()) {
        let window = family.windows[member];
        let entry = &rules.windows[window as usize];
        let spec = &entry.spec;
        let mut w = Writer::default();
        packed.save(family, member, spec, seen_from(&spec.kind, entry.clock(clock)).unwrap_or(Millis::MIN), &mut w);
        let state = WindowState::load(&mut Reader::new(&w.bytes), spec, hasher).expect("what was written is read");
        if !state.is_empty() {
            cells.push(WindowCell { window, state, lost_until: Millis::MIN });
        }
    }
    cells
}

/// The entries of a window that may be small.
fn entries_of(cell: &WindowCell) -> Option<&Entries> {
    match &cell.state {
        WindowState::Entries(entries)
            if cell.lost_until == Millis::MIN && (1..=ENTRIES_MAX).contains(&entries.len()) =>
        {
            Some(entries)
        }
        _ => None,
    }
}

impl Group {
    /// Puts windows in that hold something, those that can be small together with others of their family. Returns the slot's number.
    pub fn put_windows(&mut self, mut slot: SlotId, mut cells: Vec<WindowCell>, rules: &RuleSet) -> SlotId {
        while !cells.is_empty() {
            let Some((family, _)) = rules.family_of[cells[0].window as usize] else {
                self.more_or_add(slot).windows.push(cells.remove(0));
                continue;
            };
            // Windows hold the same entries, or stand apart.
            let together = |cell: &mut WindowCell| match (entries_of(cell), rules.family_of[cell.window as usize]) {
                (Some(entries), Some((f, _))) => Some(entries.times().collect::<Vec<_>>()).filter(|_| f == family),
                _ => None,
            };
            let first = together(&mut cells[0]);
            let alike: Vec<WindowCell> = match first {
                Some(times) => cells.extract_if(.., |cell| together(cell).as_ref() == Some(&times)).collect(),
                None => vec![cells.remove(0)],
            };
            slot = self.put_alike(slot, alike, family, rules);
        }
        slot
    }

    /// Puts windows of one family in that hold the same events.
    fn put_alike(&mut self, slot: SlotId, cells: Vec<WindowCell>, family: u32, rules: &RuleSet) -> SlotId {
        if let Ok(words) = packed_of(&cells, family, rules)
            && let Some(slot) = self.append_packed(slot, &words)
        {
            return slot;
        }
        self.more_or_add(slot).windows.extend(cells);
        slot
    }

    /// The windows of a family that keep their entries themselves.
    pub fn large_of(&self, slot: SlotId, family: &Family) -> u32 {
        let windows = self.windows(slot);
        let is_large = |window: &u32| windows.iter().any(|w| w.window == *window);
        if windows.is_empty() {
            return 0;
        }
        family.windows.iter().enumerate().filter(|(_, w)| is_large(w)).fold(0, |set, (member, _)| set | 1 << member)
    }

    /// Makes what is small and stands at a place large.
    pub fn make_large(&mut self, slot: SlotId, place: usize, rules: &RuleSet, hasher: KeyHasher, clock: Millis) {
        let Some(packed) = self.packed_at(slot, place) else { return };
        let length = packed.words().len();
        let cells = unpacked(packed, rules, hasher, clock);
        self.replace_packed(slot, place, length, &[]).expect("nothing needs no room");
        self.more_or_add(slot).windows.extend(cells);
    }

    /// Drops what no reader at a time can see from what is small. Returns the slot's number.
    pub fn drop_small(&mut self, mut slot: SlotId, rules: &RuleSet, clock: Millis) -> SlotId {
        let mut place = 0;
        while let Some(packed) = self.packed_at(slot, place) {
            let (from, length) = (rules.seen_from(packed, clock), packed.words().len());
            if packed.time(0) >= from {
                place += length;
                continue;
            }
            let family = &rules.families[packed.family() as usize];
            let forms = family.forms_of(&family.columns_of(packed.members()));
            let mut left = Vec::new();
            packed::drop_before(packed, from, &forms, &mut left);
            slot = self.replace_packed(slot, place, length, &left).expect("less needs no room");
            place += left.len();
        }
        slot
    }

    /// Leads what is small to another rule set; takes out what goes on otherwise.
    pub fn renumber_small(
        &mut self,
        slot: SlotId,
        mut together: impl FnMut(Packed<'_>) -> Option<Together>,
        mut out: impl FnMut(Packed<'_>),
    ) {
        let (mut place, mut words) = (0, Vec::new());
        while let Some(packed) = self.packed_at(slot, place) {
            words.clear();
            match together(packed) {
                Some(to) => packed::go_on(packed, to.family, to.members, &to.columns, &mut words),
                None => out(packed),
            }
            let length = packed.words().len();
            self.replace_packed(slot, place, length, &words).expect("no more than before");
            place += words.len();
        }
    }
}

/// What windows whose entries stand together are in another rule set.
#[derive(Clone, Debug)]
pub struct Together {
    /// Their family.
    pub family: u32,
    /// Which of its windows those are that go on.
    pub members: u32,
    /// The columns that they read, by their places among those that are there.
    pub columns: SmallVec<[usize; 4]>,
}

/// The entries of windows of one family, which have the same times, together.
fn packed_of(cells: &[WindowCell], number: u32, rules: &RuleSet) -> Result<Vec<u64>, Unfit> {
    let family = &rules.families[number as usize];
    let place = |cell: &WindowCell| rules.family_of[cell.window as usize].map_or(0, |(_, member)| member);
    let members = cells.iter().fold(0, |set, cell| set | 1 << place(cell));
    let columns = family.columns_of(members);
    let forms = family.forms_of(&columns);
    let reader = |column: &u8| {
        let reads = |cell: &&WindowCell| family.column_of[usize::from(place(cell))] == Some(*column);
        cells.iter().find(reads).and_then(entries_of).ok_or(Unfit)
    };
    let readers = columns.iter().map(reader).collect::<Result<Vec<_>, _>>()?;
    let times = cells.first().and_then(entries_of).ok_or(Unfit)?.times();
    let (mut words, mut next) = (Vec::new(), Vec::new());
    for (i, at) in times.enumerate() {
        let raws: Raws = readers.iter().zip(&forms).map(|(entries, form)| of_form(entries.raw(i), *form)).collect();
        match words.is_empty() {
            true => packed::build(number, members, (at, &raws), &forms, &mut next)?,
            false => packed::add(Packed::first_of(&words), Millis::MIN, (at, &raws), &forms, &mut next)?,
        }
        std::mem::swap(&mut words, &mut next);
    }
    Ok(words)
}

/// Windows that count different floats keep their bits.
fn of_form(raw: Raw, form: Form) -> Raw {
    match (raw, form) {
        (Raw::Whole(bits), Form::Float) => Raw::Float(f64::from_bits(bits as u64)),
        (raw, _) => raw,
    }
}
