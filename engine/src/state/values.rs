//! Captured fields in words: four bits say what each is, words follow where there is more to say.

use std::borrow::Cow;

use lapwing_dsl::value::Value;
use rust_decimal::Decimal;

use crate::store::codec::{Reader, Writer};

/// The most values whose kinds fit [`Kinds`].
pub const VALUES_MAX: usize = 8;

/// The kinds of up to eight values, four bits each.
pub type Kinds = u32;

const MISSING: u32 = 0;
const FALSE: u32 = 1;
const TRUE: u32 = 2;
const INT: u32 = 3;
const FLOAT: u32 = 4;
const TIMESTAMP: u32 = 5;
const DURATION: u32 = 6;
const GEO: u32 = 7;
const DECIMAL: u32 = 8;
/// A number of bytes, then the bytes.
const TEXT: u32 = 9;
/// As text, of the bytes that [`Writer::value`] writes.
const OTHER: u32 = 10;

/// Appends the words of the values, at most [`VALUES_MAX`].
pub fn pack<'v>(values: impl Iterator<Item = Value<'v>>, words: &mut Vec<u64>) -> Kinds {
    let mut kinds = 0;
    for (i, value) in values.enumerate() {
        debug_assert!(i < VALUES_MAX, "the caller keeps more values elsewhere");
        kinds |= push(&value, words) << (4 * i);
    }
    kinds
}

fn push(value: &Value<'_>, words: &mut Vec<u64>) -> u32 {
    match value {
        Value::Missing => return MISSING,
        Value::Bool(v) => return if *v { TRUE } else { FALSE },
        Value::Int(v) => words.push(*v as u64),
        Value::Float(v) => words.push(v.to_bits()),
        Value::Timestamp(v) => words.push(*v as u64),
        Value::Duration(v) => words.push(*v as u64),
        Value::Geo(a, b) => words.extend([a.to_bits(), b.to_bits()]),
        Value::Decimal(v) => {
            let bits = u128::from_le_bytes(v.serialize());
            words.extend([bits as u64, (bits >> 64) as u64]);
        }
        Value::Text(v) => push_bytes(v.as_bytes(), words),
        Value::Ip(_) | Value::Cidr(..) | Value::List(_) => {
            let mut w = Writer::default();
            w.value(value);
            push_bytes(&w.bytes, words);
        }
    }
    match value {
        Value::Int(_) => INT,
        Value::Float(_) => FLOAT,
        Value::Timestamp(_) => TIMESTAMP,
        Value::Duration(_) => DURATION,
        Value::Geo(..) => GEO,
        Value::Decimal(_) => DECIMAL,
        Value::Text(_) => TEXT,
        _ => OTHER,
    }
}

/// Appends bytes, filled up to whole words.
pub fn push_bytes(bytes: &[u8], words: &mut Vec<u64>) {
    words.push(bytes.len() as u64);
    let at = words.len();
    words.resize(at + bytes.len().div_ceil(8), 0);
    bytemuck::cast_slice_mut::<u64, u8>(&mut words[at..])[..bytes.len()].copy_from_slice(bytes);
}

fn bytes(words: &[u64]) -> &[u8] {
    &bytemuck::cast_slice(&words[1..])[..words[0] as usize]
}

/// How many words a value of this kind takes, given those that begin with it.
fn width(kind: u32, words: &[u64]) -> usize {
    match kind {
        MISSING | FALSE | TRUE => 0,
        INT | FLOAT | TIMESTAMP | DURATION => 1,
        GEO | DECIMAL => 2,
        _ => 1 + (words[0] as usize).div_ceil(8),
    }
}

/// Reads value `i`.
#[inline]
pub fn unpack(mut kinds: Kinds, words: &[u64], i: usize) -> Value<'_> {
    let mut at = 0;
    for _ in 0..i {
        at += width(kinds & 15, &words[at..]);
        kinds >>= 4;
    }
    let words = &words[at..];
    match kinds & 15 {
        FALSE => Value::Bool(false),
        TRUE => Value::Bool(true),
        INT => Value::Int(words[0] as i64),
        FLOAT => Value::Float(f64::from_bits(words[0])),
        TIMESTAMP => Value::Timestamp(words[0] as i64),
        DURATION => Value::Duration(words[0] as i64),
        GEO => Value::Geo(f64::from_bits(words[0]), f64::from_bits(words[1])),
        DECIMAL => {
            let bits = u128::from(words[0]) | u128::from(words[1]) << 64;
            Value::Decimal(Decimal::deserialize(bits.to_le_bytes()))
        }
        TEXT => {
            debug_assert!(std::str::from_utf8(bytes(words)).is_ok());
            // SAFETY: only `push` writes this kind, and it writes a whole `&str`.
            Value::Text(Cow::Borrowed(unsafe { std::str::from_utf8_unchecked(bytes(words)) }))
        }
        OTHER => Reader::new(bytes(words)).value().expect("what a writer wrote is read"),
        _ => Value::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let values = [
            Value::text("a text of more than a word"),
            Value::Missing,
            Value::Bool(true),
            Value::Ip("2001:db8::1".parse().expect("an address")),
            Value::Decimal("-12.340".parse().expect("a decimal")),
            Value::Geo(52.5, -13.4),
            Value::List(vec![Value::Int(1), Value::Missing].into()),
            Value::Timestamp(-5),
        ];
        let mut words = Vec::new();
        let kinds = pack(values.iter().map(Value::borrow), &mut words);
        for (i, value) in values.iter().enumerate() {
            assert_eq!(unpack(kinds, &words, i), *value);
        }
        let others =
            [Value::Bool(false), Value::Int(i64::MIN), Value::Float(-0.5), Value::Duration(3), Value::text("")];
        words.clear();
        let kinds = pack(others.iter().map(Value::borrow), &mut words);
        for (i, value) in others.iter().enumerate() {
            assert_eq!(unpack(kinds, &words, i), *value);
        }
    }
}
