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
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |t| t.to_string())
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
