//! Puts entries in and takes them out: what is left is written anew.

use smallvec::SmallVec;

use super::ints::{Ints, missing, width_of};
use super::{BITS, COLUMN_HEAD, Column, ENTRIES_MAX, HEAD, HUNDREDTHS, Packed};
use crate::Millis;
use crate::window::family::{Form, Raw};

/// The most words: their number has sixteen bits, and a key's windows have to fit in its block.
const WORDS_MAX: usize = 1_000;

/// More, or other, than can stand here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfit;

/// One entry more: its time, and a value for each column.
type Entry<'e> = (Millis, &'e [Raw]);

/// Writes what is left once the entries before a time have gone, with one entry more.
pub fn add(
    packed: Packed<'_>,
    from: Millis,
    entry: Entry<'_>,
    forms: &[Form],
    out: &mut Vec<u64>,
) -> Result<(), Unfit> {
    rewrite(packed, from, Some(entry), forms, out)
}

/// Writes what is left once the entries before a time have gone; nothing where none is left.
pub fn drop_before(packed: Packed<'_>, from: Millis, forms: &[Form], out: &mut Vec<u64>) {
    rewrite(packed, from, None, forms, out).expect("less than fitted fits");
}

/// Writes what windows of a family hold that have one entry.
pub fn build(family: u32, members: u32, entry: Entry<'_>, forms: &[Form], out: &mut Vec<u64>) -> Result<(), Unfit> {
    let mut words: SmallVec<[u64; 16]> = SmallVec::from_elem(0, HEAD + (forms.len() * COLUMN_HEAD).div_ceil(8));
    words[0] = u64::from(family) | u64::from(members) << 32;
    words[1] = entry.0 as u64;
    words[2] = words.len() as u64 | 1 << 32 | (forms.len() as u64) << 40;
    let heads: &mut [u8] = bytemuck::cast_slice_mut(&mut words[HEAD..]);
    for (head, form) in heads.chunks_exact_mut(COLUMN_HEAD).zip(forms) {
        head[0] = 1;
        head[1] = if *form == Form::Float { HUNDREDTHS } else { BITS };
    }
    rewrite(Packed { words: &words }, Millis::MIN, Some(entry), forms, out)
}

/// Writes what windows of another family hold that go on from this, with some of its columns.
pub fn go_on(packed: Packed<'_>, family: u32, members: u32, columns: &[usize], out: &mut Vec<u64>) {
    let (times, len) = (packed.times(), packed.len());
    let kept: SmallVec<[Column<'_>; 4]> = columns.iter().map(|column| packed.column(*column)).collect();
    let numbers: usize = kept.iter().map(|c| c.numbers.width() * len + c.values.len()).sum();
    let words = HEAD + (kept.len() * COLUMN_HEAD + times.width() * len + numbers).div_ceil(8);
    out.clear();
    out.resize(words, 0);
    out[0] = u64::from(family) | u64::from(members) << 32;
    out[1] = packed.words[1];
    out[2] = words as u64 | (len as u64) << 16 | (times.width() as u64) << 32 | (kept.len() as u64) << 40;
    let mut w = Put { bytes: bytemuck::cast_slice_mut(&mut out[HEAD..]), at: 0 };
    for column in &kept {
        w.put(&[column.numbers.width() as u8, column.scale]);
        w.put(&(column.values.len() as u16).to_le_bytes());
    }
    w.put(times.slice(0, len));
    kept.iter().for_each(|column| w.put(column.numbers.slice(0, len)));
    kept.iter().for_each(|column| w.put(column.values));
}

/// Which entries stay, and where one more stands among them.
#[derive(Clone, Copy)]
struct Cut {
    from: usize,
    place: usize,
    to: usize,
    more: bool,
}

impl Cut {
    fn len(self) -> usize {
        self.to - self.from + usize::from(self.more)
    }

    fn stays(self) -> std::ops::Range<usize> {
        self.from..self.to
    }
}

/// How a column is written.
struct Plan<'a> {
    column: Column<'a>,
    width: usize,
    scale: u8,
    /// The number of what comes.
    number: i64,
    /// A value that comes to those that are kept once.
    value: Option<&'a [u8]>,
    /// Where values go that were kept once: for each the number that it has from here on.
    renumbered: Option<SmallVec<[i16; 64]>>,
    values_len: usize,
}

fn rewrite(
    packed: Packed<'_>,
    from: Millis,
    entry: Option<Entry<'_>>,
    forms: &[Form],
    out: &mut Vec<u64>,
) -> Result<(), Unfit> {
    out.clear();
    let gone = packed.find(from);
    let place = entry.map_or(packed.len(), |(at, _)| packed.find(at.saturating_add(1)).max(gone));
    let cut = Cut { from: gone, place, to: packed.len(), more: entry.is_some() };
    if cut.len() == 0 {
        return Ok(());
    }
    if cut.len() > ENTRIES_MAX {
        return Err(Unfit);
    }
    let (base, time_width) = times_plan(packed, cut, entry.map(|(at, _)| at))?;
    let mut plans: SmallVec<[Plan<'_>; 4]> = SmallVec::new();
    for (i, form) in forms.iter().enumerate() {
        let raw = entry.map_or(&Raw::Missing, |(_, raws)| &raws[i]);
        plans.push(plan(packed.column(i), *form, cut, raw)?);
    }
    let numbers: usize = plans.iter().map(|p| p.width * cut.len() + p.values_len).sum();
    let bytes = plans.len() * COLUMN_HEAD + cut.len() * time_width + numbers;
    let words = HEAD + bytes.div_ceil(8);
    if words > WORDS_MAX {
        return Err(Unfit);
    }
    out.resize(words, 0);
    out[0] = packed.words[0];
    out[1] = base as u64;
    out[2] = words as u64 | (cut.len() as u64) << 16 | (time_width as u64) << 32 | (plans.len() as u64) << 40;
    let mut w = Put { bytes: bytemuck::cast_slice_mut(&mut out[HEAD..]), at: 0 };
    for plan in &plans {
        w.put(&[plan.width as u8, plan.scale]);
        w.put(&(plan.values_len as u16).to_le_bytes());
    }
    let time = entry.map_or(0, |(at, _)| at.saturating_sub(base));
    if (base, time_width) == (packed.base(), packed.times().width()) {
        w.put_around(packed.times(), cut, time);
    } else {
        w.put_each(time_width, cut, time, |i| packed.time(i).saturating_sub(base));
    }
    for plan in &plans {
        w.put_numbers(plan, cut);
    }
    for plan in &plans {
        w.put_values(plan);
    }
    Ok(())
}

/// From which time on times are counted, and the bytes of each: as before, if all fit.
fn times_plan(packed: Packed<'_>, cut: Cut, at: Option<Millis>) -> Result<(Millis, usize), Unfit> {
    let before = (packed.base(), packed.times().width());
    let Some(at) = at else { return Ok(before) };
    let needs = |base: Millis, at: Millis| width_of(at.checked_sub(base).ok_or(Unfit)?).ok_or(Unfit);
    if needs(before.0, at).is_ok_and(|width| width <= before.1) {
        return Ok(before);
    }
    let (mut first, mut last) = (at, at);
    if cut.from < cut.to {
        (first, last) = (packed.time(cut.from).min(at), packed.time(cut.to - 1).max(at));
    }
    Ok((first, needs(first, last)?))
}

/// How a column goes on.
fn plan<'a>(column: Column<'a>, form: Form, cut: Cut, raw: &'a Raw) -> Result<Plan<'a>, Unfit> {
    let width = column.numbers.width();
    let mut plan = Plan {
        column,
        width,
        scale: column.scale,
        number: 0,
        value: None,
        renumbered: None,
        values_len: column.values.len(),
    };
    if form == Form::Key {
        plan.renumbered = renumbered(column, cut);
        if let Some(renumbered) = &plan.renumbered {
            let stays = column.kept_once().zip(renumbered).filter(|(_, number)| **number >= 0);
            plan.values_len = stays.map(|(value, _)| 1 + value.len()).sum();
        }
    }
    let number = match raw {
        Raw::Missing => None,
        Raw::Whole(v) => Some(*v),
        Raw::Float(v) => Some(match (column.scale, hundredths(*v)) {
            (HUNDREDTHS, Some(v)) => v,
            _ => {
                plan.scale = BITS;
                v.to_bits() as i64
            }
        }),
        Raw::Decimal(v) => Some(of_decimal(v)?),
        Raw::Key(value) => Some(plan.number_of(value)?),
    };
    let needs = number.map_or(Ok(1), |v| width_of(v).ok_or(Unfit))?;
    if plan.scale != column.scale {
        let bits = |i: usize| column.number(i).map_or(1, |v| width_of(bits_of(v)).unwrap_or(8));
        plan.width = cut.stays().map(bits).max().unwrap_or(1).max(needs);
    } else {
        plan.width = width.max(needs);
    }
    plan.number = number.unwrap_or(missing(plan.width));
    Ok(plan)
}

/// Where entries go: the numbers that values have without those that no entry has any more; none where all stay.
fn renumbered(column: Column<'_>, cut: Cut) -> Option<SmallVec<[i16; 64]>> {
    let has = |number: i64| cut.stays().any(|i| column.numbers.get(i) == number);
    if (0..cut.from).filter_map(|i| column.number(i)).all(has) {
        return None;
    }
    let mut next = 0;
    let number = |(old, _): (usize, &[u8])| {
        let stays = has(old as i64);
        next += i16::from(stays);
        if stays { next - 1 } else { -1 }
    };
    Some(column.kept_once().enumerate().map(number).collect())
}

impl<'a> Plan<'a> {
    /// The number of a value that is kept once.
    fn number_of(&mut self, value: &'a [u8]) -> Result<i64, Unfit> {
        let mut count = 0;
        for (old, kept) in self.column.kept_once().enumerate() {
            let number = self.renumbered.as_ref().map_or(old as i64, |new| new[old].into());
            if number >= 0 && kept == value {
                return Ok(number);
            }
            count += i64::from(number >= 0);
        }
        if value.len() > usize::from(u8::MAX) {
            return Err(Unfit);
        }
        self.value = Some(value);
        self.values_len += 1 + value.len();
        Ok(count)
    }

    /// The number of an entry that stays.
    fn number(&self, i: usize) -> i64 {
        match self.column.number(i) {
            None => missing(self.width),
            Some(v) if self.scale != self.column.scale => bits_of(v),
            Some(v) => self.renumbered.as_ref().map_or(v, |new| new[v as usize].into()),
        }
    }
}

/// Writes one stretch of bytes behind the other.
struct Put<'o> {
    bytes: &'o mut [u8],
    at: usize,
}

impl Put<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    fn put_int(&mut self, width: usize, v: i64) {
        self.put(&v.to_le_bytes()[..width]);
    }

    /// What stays as it is, with one number more.
    fn put_around(&mut self, numbers: Ints<'_>, cut: Cut, number: i64) {
        self.put(numbers.slice(cut.from, cut.place));
        if cut.more {
            self.put_int(numbers.width(), number);
        }
        self.put(numbers.slice(cut.place, cut.to));
    }

    /// What stays number by number, with one more.
    fn put_each(&mut self, width: usize, cut: Cut, number: i64, of: impl Fn(usize) -> i64) {
        (cut.from..cut.place).for_each(|i| self.put_int(width, of(i)));
        if cut.more {
            self.put_int(width, number);
        }
        (cut.place..cut.to).for_each(|i| self.put_int(width, of(i)));
    }

    fn put_numbers(&mut self, plan: &Plan<'_>, cut: Cut) {
        let Plan { column, width, scale, .. } = plan;
        if (*width, *scale) == (column.numbers.width(), column.scale) && plan.renumbered.is_none() {
            self.put_around(column.numbers, cut, plan.number);
        } else {
            self.put_each(*width, cut, plan.number, |i| plan.number(i));
        }
    }

    fn put_values(&mut self, plan: &Plan<'_>) {
        match &plan.renumbered {
            None => self.put(plan.column.values),
            Some(renumbered) => {
                for (value, _) in plan.column.kept_once().zip(renumbered).filter(|(_, number)| **number >= 0) {
                    self.put(&[value.len() as u8]);
                    self.put(value);
                }
            }
        }
        if let Some(value) = plan.value {
            self.put(&[value.len() as u8]);
            self.put(value);
        }
    }
}

/// A float as hundredths, where it is the nearest one to so many.
fn hundredths(v: f64) -> Option<i64> {
    let whole = (v * 100.0).round() as i64;
    (whole.unsigned_abs() < 1 << 50 && bits_of(whole) == v.to_bits() as i64).then_some(whole)
}

/// The bits of the float that is so many hundredths.
pub(super) fn bits_of(hundredths: i64) -> i64 {
    (hundredths as f64 / 100.0).to_bits() as i64
}

/// A decimal as a number that says its digits and its places.
fn of_decimal(v: &rust_decimal::Decimal) -> Result<i64, Unfit> {
    if v.is_zero() && v.is_sign_negative() {
        return Err(Unfit);
    }
    let mantissa = i64::try_from(v.mantissa()).map_err(|_| Unfit)?;
    Ok(mantissa.checked_mul(32).ok_or(Unfit)? + i64::from(v.scale()))
}
