//! What a family's windows keep of one key while it is small: one list of times, and columns of values beside it, each number in as many bytes as
//! the widest of its column needs. It stands in the block of its key; nothing is carried along, a read walks what it sees.
//!
//! ```text
//! 0  index of the family 32, set of its windows 32
//! 1  the time from which times are counted
//! 2  words in all 16, entries 16, bytes of a time 8, columns 8
//! 3  … for each column: bytes of a number 8, scale 8, bytes of its values 16
//!    then the times, then the numbers of each column, then the values of columns of values that are kept once
//! ```
//!
//! Times ascend, those that are equal in the order of processing. A column of values that are kept once holds their numbers; the values stand in
//! the order of these, each behind a byte that says its length, and each is of some entry. `rewrite` puts entries in and takes them out, `read`
//! says what a window makes of them.

mod ints;
mod read;
mod rewrite;

use self::ints::{Ints, missing};
pub use self::rewrite::{Unfit, add, build, drop_before, go_on};
use crate::Millis;

/// The most entries: all of them are walked when they are read.
pub const ENTRIES_MAX: usize = 256;

/// Words before the columns.
const HEAD: usize = 3;

/// Bytes that say what a column is.
const COLUMN_HEAD: usize = 4;

/// How the floats of a column are written: as their bits, or, where all of them are that, as so many hundredths.
const BITS: u8 = 0;
const HUNDREDTHS: u8 = 1;

/// What windows of one family hold of one key.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    words: &'a [u64],
}

impl<'a> Packed<'a> {
    /// That which words begin with.
    #[inline]
    pub fn first_of(words: &'a [u64]) -> Packed<'a> {
        Packed { words: &words[..words[2] as usize & 0xffff] }
    }

    /// All of it.
    pub fn words(self) -> &'a [u64] {
        self.words
    }

    /// Index of the family.
    #[inline]
    pub fn family(self) -> u32 {
        self.words[0] as u32
    }

    /// Which of its windows.
    #[inline]
    pub fn members(self) -> u32 {
        (self.words[0] >> 32) as u32
    }

    /// How many entries.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(self) -> usize {
        (self.words[2] >> 16) as usize & 0xffff
    }

    /// The time of an entry.
    pub fn time(self, i: usize) -> Millis {
        self.base().saturating_add(self.times().get(i))
    }

    /// The time of the newest entry.
    pub fn newest(self) -> Millis {
        self.time(self.len() - 1)
    }

    fn base(self) -> Millis {
        self.words[1] as i64
    }

    fn column_count(self) -> usize {
        (self.words[2] >> 40) as usize & 0xff
    }

    fn bytes(self) -> &'a [u8] {
        bytemuck::cast_slice(&self.words[HEAD..])
    }

    fn times(self) -> Ints<'a> {
        let width = (self.words[2] >> 32) as usize & 0xff;
        Ints::new(&self.bytes()[self.column_count() * COLUMN_HEAD..], width)
    }

    /// The first entry of a time or later.
    fn find(self, time: Millis) -> usize {
        self.times().lower(self.len(), time.saturating_sub(self.base()))
    }

    fn column_head(self, column: usize) -> (usize, u8, usize) {
        let head = &self.bytes()[column * COLUMN_HEAD..][..COLUMN_HEAD];
        (head[0].into(), head[1], u16::from_le_bytes([head[2], head[3]]).into())
    }

    /// A column by its place among those that are there.
    fn column(self, column: usize) -> Column<'a> {
        let (mut numbers, mut values) = (self.column_count() * COLUMN_HEAD + self.len() * self.times().width(), 0);
        for other in 0..self.column_count() {
            let (width, _, bytes) = self.column_head(other);
            numbers += if other < column { width * self.len() } else { 0 };
            values += width * self.len();
            values += if other < column { bytes } else { 0 };
        }
        values += self.column_count() * COLUMN_HEAD + self.len() * self.times().width();
        let (width, scale, bytes) = self.column_head(column);
        let all = self.bytes();
        Column { numbers: Ints::new(&all[numbers..], width), scale, values: &all[values..values + bytes] }
    }
}

/// The values of one column.
#[derive(Clone, Copy, Debug)]
struct Column<'a> {
    numbers: Ints<'a>,
    scale: u8,
    /// Of values that are kept once each with its length before it.
    values: &'a [u8],
}

impl<'a> Column<'a> {
    /// The number of an entry; none where its value is missing.
    #[inline]
    fn number(self, i: usize) -> Option<i64> {
        Some(self.numbers.get(i)).filter(|v| *v != missing(self.numbers.width()))
    }

    /// The values that are kept once, by number.
    fn kept_once(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.values;
        std::iter::from_fn(move || {
            let (length, behind) = rest.split_first()?;
            let (value, behind) = behind.split_at(usize::from(*length));
            rest = behind;
            Some(value)
        })
    }
}

#[cfg(test)]
mod tests {
    use lapwing_dsl::ir::{Aggregate, Expr, ExprKind, Reach, Window, WindowKey, WindowKind};
    use lapwing_dsl::schema::EventId;
    use lapwing_dsl::value::{Type, Value};
    use rust_decimal::Decimal;

    use super::*;
    use crate::slot::KeyHasher;
    use crate::store::codec::Writer;
    use crate::window::family::{Family, Raw, Raws, form_of};
    use crate::window::{Look, WindowState, seen_from};

    fn window(aggregate: Aggregate, arg: Option<Type>, ty: Type, length: Millis, offset: Millis) -> Window {
        let arg = arg.map(|ty| Expr { kind: ExprKind::Const(Value::Missing), ty, span: Default::default() });
        Window {
            kind: WindowKind::Over { aggregate, reach: Reach::Sliding { length, offset } },
            event: EventId(0),
            key: WindowKey::Rule(Vec::new()),
            filter: None,
            args: arg.into_iter().collect(),
            ty,
            span: Default::default(),
        }
    }

    fn windows() -> Vec<Window> {
        use Aggregate::{Avg, Count, Distinct, First, Last, Max, Min, Rate, Stddev, Sum};
        let mut windows = Vec::new();
        for (length, offset) in [(5_000, 0), (700, 0), (2_000, 300)] {
            let mut add = |aggregate, arg, ty| windows.push(window(aggregate, arg, ty, length, offset));
            add(Count, None, Type::Int);
            add(Rate, None, Type::Float);
            add(Sum, Some(Type::Int), Type::Int);
            add(Distinct, Some(Type::Int), Type::Int);
            add(Min, Some(Type::Int), Type::Int);
            add(Avg, Some(Type::Float), Type::Float);
            add(Distinct, Some(Type::Float), Type::Int);
            add(Stddev, Some(Type::Decimal), Type::Decimal);
            add(Max, Some(Type::Decimal), Type::Decimal);
            add(Distinct, Some(Type::String), Type::Int);
        }
        windows.push(window(First, Some(Type::Timestamp), Type::Timestamp, 3_000, 0));
        windows.push(window(Last, Some(Type::Duration), Type::Duration, 3_000, 0));
        windows
    }

    /// A value of a type, now and then one that is rare, or none.
    fn value(ty: &Type, random: u64, wild: bool) -> Value<'static> {
        let n = (random % 50) as i64 - 10;
        let far = if wild && random.is_multiple_of(17) { n << (random % 50) } else { n };
        match ty {
            _ if random.is_multiple_of(11) => Value::Missing,
            Type::Int => Value::Int(far),
            Type::Timestamp => Value::Timestamp(1_760_000_000_000 + far),
            Type::Duration => Value::Duration(far),
            Type::Float if wild && random.is_multiple_of(13) => Value::Float(f64::from_bits(random << 3 >> 3)),
            Type::Float => Value::Float(n as f64 / 4.0),
            Type::Decimal => Value::Decimal(Decimal::new(far, (random % 5) as u32)),
            _ => Value::text(format!("v{n}{}", if wild { "x".repeat((random % 30) as usize) } else { String::new() })),
        }
    }

    /// The same events, small and large: all that can be asked is answered alike, and what is written is the same.
    fn check(seed: u64, wild: bool) -> usize {
        let (windows, hasher) = (windows(), KeyHasher::new(7));
        let mut family = Family::default();
        for (i, window) in windows.iter().enumerate() {
            family.add(i as u32, window, form_of(window).expect("it can be small"));
        }
        let mut large: Vec<WindowState> = windows.iter().map(|w| WindowState::new(w, hasher)).collect();
        let (mut words, mut next): (Vec<u64>, Vec<u64>) = Default::default();
        let (mut state, mut clock) = (seed, 1_000_000);
        for step in 0..1_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let random = state >> 20;
            clock += (random % 61) as Millis * if random.is_multiple_of(97) { 200 } else { 1 };
            let at = clock - if random.is_multiple_of(7) { (random % 900) as Millis } else { 0 };
            let values: Vec<Value<'_>> =
                family.columns.iter().map(|args| value(&args[0].ty, random, wild && step > 500)).collect();
            let raws: Raws = values.iter().zip(&family.forms).map(|(v, form)| Raw::new(*form, v)).collect();
            let from = windows.iter().filter_map(|w| seen_from(&w.kind, clock)).min().expect("each has a length");
            let done = match words.is_empty() {
                true => build(3, family.all(), (at, &raws), &family.forms, &mut next),
                false => add(Packed::first_of(&words), from, (at, &raws), &family.forms, &mut next),
            };
            if done.is_err() {
                return step;
            }
            std::mem::swap(&mut words, &mut next);
            let packed = Packed::first_of(&words);
            for (member, window) in windows.iter().enumerate() {
                let value = family.column_of[member].map_or(Value::Missing, |c| values[usize::from(c)].clone());
                large[member].add(window, at, clock, value, Value::Missing);
                let look = Look { now: at, clock };
                let expected = large[member].read(window, look, &Value::Missing);
                assert_eq!(packed.read(&family, member, window, look), expected, "{seed} {step} {:?}", window.kind);
                if random.is_multiple_of(20) {
                    large[member].expire(&window.kind, clock);
                    let (mut a, mut b) = (Writer::default(), Writer::default());
                    let seen = seen_from(&window.kind, clock).expect("it has a length");
                    packed.save(&family, member, window, seen, &mut a);
                    large[member].save(&mut b, &window.kind);
                    assert_eq!(a.bytes, b.bytes, "{seed} {step} {:?}", window.kind);
                }
            }
            if random.is_multiple_of(31) {
                drop_before(packed, from + 2_000, &family.forms, &mut next);
                std::mem::swap(&mut words, &mut next);
                for (state, window) in large.iter_mut().zip(&windows) {
                    let WindowKind::Over { reach: Reach::Sliding { length, offset }, .. } = window.kind else {
                        continue;
                    };
                    state.expire(&window.kind, from + 2_000 + length + offset);
                }
            }
        }
        1_000
    }

    #[test]
    fn small_windows_say_what_large_ones_do() {
        for seed in 0..20 {
            assert_eq!(check(seed, false), 1_000, "{seed}");
            assert!(check(seed, true) > 400, "{seed}");
        }
    }
}
