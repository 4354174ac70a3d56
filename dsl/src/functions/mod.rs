//! The scalar functions of the language, one file a family, and the registry that names them.
//!
//! A function is pure: the same arguments give the same value. A missing argument gives a missing value
//! unless the definition says otherwise; a fault (overflow, a bad cast, a logarithm of a negative number) is an
//! [`EvalError`], which the engine counts and reads as missing.

mod casts;
mod geo;
mod network;
mod numbers;
mod similarity;
mod text;
pub mod time;

use std::fmt;

use crate::value::{Type, Value};

/// Why an expression gave no value. It is counted as a rule error; the value is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EvalError {
    /// A number left its type's range.
    Overflow,
    /// Division by zero.
    DivisionByZero,
    /// A value that cannot be cast or is outside a function's domain.
    BadCast,
}

/// What an evaluation gives.
pub type Outcome = Result<Value<'static>, EvalError>;

/// One way to call a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    /// Types of the parameters.
    pub params: Vec<Type>,
    /// How many of them, from the end, may be left out.
    pub optional: usize,
    /// Type of the result.
    pub result: Type,
}

impl Signature {
    /// All parameters needed.
    pub fn new(params: impl Into<Vec<Type>>, result: Type) -> Self {
        Signature { params: params.into(), optional: 0, result }
    }
}

/// The types a list can be of.
const SCALARS: [Type; 10] = [
    Type::Bool,
    Type::Int,
    Type::Float,
    Type::Decimal,
    Type::String,
    Type::Timestamp,
    Type::Duration,
    Type::Ip,
    Type::Cidr,
    Type::Geo,
];

/// The longest text a function gives.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// The families, each in the order of its file.
static FAMILIES: [&[Definition]; 7] =
    [casts::ALL, geo::ALL, network::ALL, numbers::ALL, similarity::ALL, text::ALL, time::ALL];

/// All functions.
pub fn all() -> impl Iterator<Item = &'static Definition> {
    FAMILIES.into_iter().flatten()
}

/// The function of a name.
pub fn find(name: &str) -> Option<&'static Definition> {
    all().find(|f| f.name == name)
}

/// A function of the language.
pub struct Definition {
    /// Its name in rules.
    pub name: &'static str,
    /// The ways to call it.
    pub signatures: fn() -> Vec<Signature>,
    /// Its value for arguments that fit a signature, none of which is missing (or `takes_missing`).
    pub eval: fn(&[Value<'_>]) -> Outcome,
    /// Whether it is called with missing arguments too.
    pub takes_missing: bool,
    /// One sentence for the reference.
    pub about: &'static str,
    /// Expressions and what they give, run as tests: `("lower(\"Ab\")", "\"ab\"")`.
    pub examples: &'static [(&'static str, &'static str)],
}

/// A function in a typed expression.
#[derive(Clone, Copy)]
pub struct Function(pub &'static Definition);

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl Function {
    /// The value for these arguments; missing where one is missing.
    pub fn call(self, args: &[Value<'_>]) -> Outcome {
        if !self.0.takes_missing && args.iter().any(Value::is_missing) {
            return Ok(Value::Missing);
        }
        (self.0.eval)(args)
    }
}

/// A value as text, as a message shows it: lists in brackets, times as RFC 3339 in UTC, durations with their units.
pub fn text_of(value: &Value<'_>) -> Outcome {
    Ok(match value {
        Value::Missing => Value::Missing,
        other => Value::text(display(other)),
    })
}

fn display(value: &Value<'_>) -> String {
    match value {
        Value::Missing => "?".to_owned(),
        Value::Bool(v) => v.to_string(),
        Value::Int(v) => v.to_string(),
        Value::Float(v) => v.to_string(),
        Value::Decimal(v) => v.to_string(),
        Value::Text(v) => v.to_string(),
        Value::Timestamp(v) => timestamp_text(*v),
        Value::Duration(v) => duration_text(*v),
        Value::Ip(v) => v.to_string(),
        Value::Cidr(v, n) => format!("{v}/{n}"),
        Value::Geo(a, b) => format!("{a},{b}"),
        Value::List(v) => format!("[{}]", v.iter().map(display).collect::<Vec<_>>().join(", ")),
    }
}

/// A time as RFC 3339 in UTC, with as many digits of a second as it needs.
pub fn timestamp_text(ms: i64) -> String {
    let mut text = Vec::new();
    push_timestamp(&mut text, ms);
    String::from_utf8(text).expect("digits and signs")
}

/// Appends a time as [`timestamp_text`] gives it.
pub fn push_timestamp(text: &mut Vec<u8>, ms: i64) {
    // From 1970 to 9999-12-30T22:00:00Z, where the last times are that have a text.
    const PLAIN: std::ops::Range<i64> = 0..253_402_207_200_000;
    if !PLAIN.contains(&ms) {
        text.extend(jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |t| t.to_string()).bytes());
        return;
    }
    let (year, month, day) = date_of((ms / 86_400_000) as u32);
    let second = (ms / 1_000 % 86_400) as u32;
    let two = |v: u32| [b'0' + (v / 10) as u8, b'0' + (v % 10) as u8];
    let [a, b, c, d] = [two(year / 100), two(year % 100), two(month), two(day)];
    let [h, m, s] = [second / 3_600, second / 60 % 60, second % 60].map(two);
    text.extend([a[0], a[1], b[0], b[1], b'-', c[0], c[1], b'-', d[0], d[1], b'T']);
    text.extend([h[0], h[1], b':', m[0], m[1], b':', s[0], s[1]]);
    let part = (ms % 1_000) as u32;
    if part > 0 {
        let [tens, ones] = two(part % 100);
        let digits = [b'0' + (part / 100) as u8, tens, ones];
        let shown = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
        text.push(b'.');
        text.extend(&digits[..shown]);
    }
    text.push(b'Z');
}

/// Year, month and day of a day from 1970 on (Neri and Schneider, "Euclidean affine functions and their application to calendar algorithms", 2022).
fn date_of(days: u32) -> (u32, u32, u32) {
    // Years begin in March, centuries with their leap day at the end; the epoch moves to 0000-03-01.
    let n = 4 * (days + 719_468) + 3;
    let (century, of_century) = (n / 146_097, n % 146_097 / 4);
    let n = 4 * of_century + 3;
    let (year, of_year) = (n / 1_461, n % 1_461 / 4);
    let n = 2_141 * of_year + 197_913;
    let (month, day) = (n >> 16, (n & 0xffff) / 2_141 + 1);
    let next = u32::from(of_year >= 306);
    (100 * century + year + next, month - 12 * next, day)
}

/// A duration in its largest whole units: `1h30m`, `250ms`.
pub fn duration_text(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::from(if ms < 0 { "-" } else { "" });
    let mut rest = ms.unsigned_abs();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        let n = rest / size;
        rest %= size;
        if n > 0 {
            text.push_str(&format!("{n}{unit}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        let check = |ms: i64| {
            let expected = jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |t| t.to_string());
            assert_eq!(timestamp_text(ms), expected);
        };
        for ms in [
            i64::MIN,
            -1,
            0,
            1,
            10,
            100,
            1_000,
            253_402_207_199_999,
            253_402_207_200_000,
            253_402_207_201_000,
            i64::MAX,
        ] {
            check(ms);
        }
        // Each day to 2400, at another time of it.
        (0..157_000).for_each(|day| check(day * 86_400_000 + day * 7_919_993 % 86_400_000));
    }
}
