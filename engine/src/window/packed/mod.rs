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
pub use self::rewrite::{Unfit, add, build, drop_before};
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
