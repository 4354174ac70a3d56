//! Casts between numbers and text. What has no counterpart is a fault, and so missing.

use std::str::FromStr;

use rust_decimal::Decimal;
use rust_decimal::prelude::{FromPrimitive, ToPrimitive};

use super::{Definition, EvalError, Outcome, Signature, text_of};
use crate::value::{Type, Value};

fn to_float(args: &[Value<'_>]) -> Outcome {
    let value = match args {
        [Value::Int(v)] => Some(*v as f64),
        [Value::Float(v)] => Some(*v),
        [Value::Decimal(v)] => v.to_f64(),
        [Value::Text(t)] => f64::from_str(t).ok().filter(|v| v.is_finite()),
        _ => None,
    };
    value.map(Value::Float).ok_or(EvalError::BadCast)
}

fn to_decimal(args: &[Value<'_>]) -> Outcome {
    let value = match args {
        [Value::Int(v)] => Some(Decimal::from(*v)),
        [Value::Float(v)] => Decimal::from_f64(*v),
        [Value::Decimal(v)] => Some(*v),
        [Value::Text(t)] => Decimal::from_str_exact(t).or_else(|_| Decimal::from_scientific(t)).ok(),
        _ => None,
    };
    value.map(Value::Decimal).ok_or(EvalError::BadCast)
}

/// Towards 0.
fn to_int(args: &[Value<'_>]) -> Outcome {
    let value = match args {
        [Value::Int(v)] => Some(*v),
        // 2^63 itself is the first float above the range.
        [Value::Float(v)] if *v >= i64::MIN as f64 && *v < i64::MAX as f64 => Some(*v as i64),
        [Value::Decimal(v)] => v.trunc().to_i64(),
        [Value::Text(t)] => i64::from_str(t).ok(),
        [Value::Bool(b)] => Some(i64::from(*b)),
        _ => None,
    };
    value.map(Value::Int).ok_or(EvalError::BadCast)
}

fn from(types: &[Type], result: &Type) -> Vec<Signature> {
    types.iter().map(|t| Signature::new([t.clone()], result.clone())).collect()
}

/// The functions of this family.
pub(super) static ALL: &[Definition] = &[
    Definition {
        name: "float",
        signatures: || from(&[Type::Float, Type::Int, Type::Decimal, Type::String], &Type::Float),
        eval: to_float,
        takes_missing: false,
        about: "the number as a float; a text is read as one",
        examples: &[("float(\"1.5\")", "1.5"), ("float(decimal(2.5))", "2.5"), ("float(\"x\") is missing", "true")],
    },
    Definition {
        name: "decimal",
        signatures: || from(&[Type::Decimal, Type::Int, Type::Float, Type::String], &Type::Decimal),
        eval: to_decimal,
        takes_missing: false,
        about: "the number as a decimal; a literal is taken exactly, a text is read as one",
        examples: &[
            ("decimal(\"0.10\") == decimal(0.1)", "true"),
            ("decimal(float(\"0.5\")) == decimal(0.5)", "true"),
            ("decimal(\"1,5\") is missing", "true"),
        ],
    },
    Definition {
        name: "int",
        signatures: || from(&[Type::Int, Type::Float, Type::Decimal, Type::String, Type::Bool], &Type::Int),
        eval: to_int,
        takes_missing: false,
        about: "the number without what stands behind the point; a text is read as a whole number; true is 1",
        examples: &[
            ("int(-2.9)", "-2"),
            ("int(\"42\")", "42"),
            ("int(pow(10, 30)) is missing", "true"),
            ("int(true)", "1"),
        ],
    },
    Definition {
        name: "string",
        signatures: || {
            let lists = super::SCALARS.iter().map(|t| Type::List(Box::new(t.clone())));
            from(&super::SCALARS.iter().cloned().chain(lists).collect::<Vec<_>>(), &Type::String)
        },
        eval: |args| text_of(args.first().ok_or(EvalError::BadCast)?),
        takes_missing: false,
        about: "the value as a message shows it",
        examples: &[
            ("string(10.0.0.1)", "\"10.0.0.1\""),
            ("string(90m)", "\"1h30m\""),
            ("string(2026-01-31T10:00:00Z)", "\"2026-01-31T10:00:00Z\""),
        ],
    },
];
