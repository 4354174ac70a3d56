//! Numbers. Halves round to the even neighbour, for floats as for decimals.

use rust_decimal::{Decimal, RoundingStrategy};

use super::{Definition, EvalError, Outcome, Signature};
use crate::value::{Type, Value};

/// The most digits behind the point that `round` keeps.
const DIGITS_MAX: i64 = 28;

fn abs(args: &[Value<'_>]) -> Outcome {
    Ok(match args {
        [Value::Int(v)] => Value::Int(v.checked_abs().ok_or(EvalError::Overflow)?),
        [Value::Duration(v)] => Value::Duration(v.checked_abs().ok_or(EvalError::Overflow)?),
        [Value::Float(v)] => Value::Float(v.abs()),
        [Value::Decimal(v)] => Value::Decimal(v.abs()),
        _ => return Err(EvalError::BadCast),
    })
}

/// The least or greatest of the arguments; of equals the first.
fn extreme(args: &[Value<'_>], wanted: std::cmp::Ordering) -> Outcome {
    let mut best = args.first().ok_or(EvalError::BadCast)?;
    for value in &args[1..] {
        match value.compare(best) {
            Some(order) if order == wanted => best = value,
            Some(_) => {}
            None => return Err(EvalError::BadCast),
        }
    }
    Ok(best.clone().into_static())
}

/// Rounds to whole numbers.
fn whole(args: &[Value<'_>], float: fn(f64) -> f64, decimal: fn(&Decimal) -> Decimal) -> Outcome {
    match args {
        [Value::Int(v)] => Ok(Value::Int(*v)),
        [Value::Float(v)] => Ok(Value::Float(float(*v))),
        [Value::Decimal(v)] => Ok(Value::Decimal(decimal(v))),
        _ => Err(EvalError::BadCast),
    }
}

fn round(args: &[Value<'_>]) -> Outcome {
    match args {
        [value, Value::Int(digits)] if (0..=DIGITS_MAX).contains(digits) => round_to(value, *digits as u32),
        [value] => round_to(value, 0),
        _ => Err(EvalError::BadCast),
    }
}

fn round_to(value: &Value<'_>, digits: u32) -> Outcome {
    Ok(match value {
        Value::Int(v) => Value::Int(*v),
        Value::Decimal(v) => Value::Decimal(v.round_dp_with_strategy(digits, RoundingStrategy::MidpointNearestEven)),
        Value::Float(v) if digits == 0 => Value::Float(v.round_ties_even()),
        Value::Float(v) => {
            let scale = 10f64.powi(digits as i32);
            let scaled = (v * scale).round_ties_even();
            // Where the scaled number leaves the range of floats there is nothing behind the point to round.
            Value::Float(if scaled.is_finite() { scaled / scale } else { *v })
        }
        _ => return Err(EvalError::BadCast),
    })
}

/// A function of floats; what is no number or leaves the range is a fault.
fn float(args: &[Value<'_>], f: fn(f64) -> f64) -> Outcome {
    match args {
        [Value::Float(v)] => finite(f(*v)),
        _ => Err(EvalError::BadCast),
    }
}

fn finite(v: f64) -> Outcome {
    match v {
        v if v.is_nan() => Err(EvalError::BadCast),
        v if v.is_infinite() => Err(EvalError::Overflow),
        v => Ok(Value::Float(v)),
    }
}

fn pow(args: &[Value<'_>]) -> Outcome {
    match args {
        [Value::Float(base), Value::Float(exponent)] => finite(base.powf(*exponent)),
        _ => Err(EvalError::BadCast),
    }
}

fn same(types: &[Type]) -> Vec<Signature> {
    types.iter().map(|t| Signature::new([t.clone()], t.clone())).collect()
}

fn several() -> Vec<Signature> {
    let types = [Type::Int, Type::Float, Type::Decimal, Type::String, Type::Timestamp, Type::Duration, Type::Ip];
    types.into_iter().map(|t| Signature { optional: 2, ..Signature::new(vec![t.clone(); 4], t) }).collect()
}

fn floats(n: usize) -> Vec<Signature> {
    vec![Signature::new(vec![Type::Float; n], Type::Float)]
}

const NUMBERS: [Type; 3] = [Type::Int, Type::Float, Type::Decimal];

/// The functions of this family.
pub(super) static ALL: &[Definition] = &[
    Definition {
        name: "abs",
        signatures: || same(&[Type::Int, Type::Float, Type::Decimal, Type::Duration]),
        eval: abs,
        takes_missing: false,
        about: "the number without its sign",
        examples: &[("abs(-3)", "3"), ("abs(-2.5)", "2.5"), ("abs(decimal(-2.50))", "decimal(2.5)")],
    },
    Definition {
        name: "min",
        signatures: several,
        eval: |args| extreme(args, std::cmp::Ordering::Less),
        takes_missing: false,
        about: "the least of two to four values; of one argument it is an aggregate",
        examples: &[("min(3, 2)", "2"), ("min(3, 2.5, 4)", "2.5"), ("min(1h, 90s)", "90s")],
    },
    Definition {
        name: "max",
        signatures: several,
        eval: |args| extreme(args, std::cmp::Ordering::Greater),
        takes_missing: false,
        about: "the greatest of two to four values; of one argument it is an aggregate",
        examples: &[("max(3, 2)", "3"), ("max(\"a\", \"b\")", "\"b\"")],
    },
    Definition {
        name: "round",
        signatures: || {
            let with_digits = |t: Type| Signature { optional: 1, ..Signature::new([t.clone(), Type::Int], t) };
            NUMBERS.into_iter().map(with_digits).collect()
        },
        eval: round,
        takes_missing: false,
        about: "the nearest whole number, or the nearest with so many digits behind the point; halves go to the even one",
        examples: &[
            ("round(2.5)", "2.0"),
            ("round(3.5)", "4.0"),
            ("round(1.2345, 2)", "1.23"),
            ("round(decimal(0.125), 2)", "decimal(0.12)"),
        ],
    },
    Definition {
        name: "floor",
        signatures: || same(&NUMBERS),
        eval: |args| whole(args, f64::floor, Decimal::floor),
        takes_missing: false,
        about: "the greatest whole number that is not greater",
        examples: &[("floor(-1.5)", "-2.0"), ("floor(decimal(1.5))", "decimal(1.0)")],
    },
    Definition {
        name: "ceil",
        signatures: || same(&NUMBERS),
        eval: |args| whole(args, f64::ceil, Decimal::ceil),
        takes_missing: false,
        about: "the least whole number that is not less",
        examples: &[("ceil(1.2)", "2.0"), ("ceil(7)", "7")],
    },
    Definition {
        name: "sqrt",
        signatures: || floats(1),
        eval: |args| float(args, f64::sqrt),
        takes_missing: false,
        about: "the square root; of a negative number missing",
        examples: &[("sqrt(9)", "3.0"), ("sqrt(-1) is missing", "true")],
    },
    Definition {
        name: "ln",
        signatures: || floats(1),
        eval: |args| match args {
            [Value::Float(v)] if *v == 0.0 => Err(EvalError::BadCast),
            _ => float(args, f64::ln),
        },
        takes_missing: false,
        about: "the natural logarithm; of 0 and below missing",
        examples: &[("ln(1)", "0.0"), ("ln(0) is missing", "true")],
    },
    Definition {
        name: "pow",
        signatures: || floats(2),
        eval: pow,
        takes_missing: false,
        about: "the first number to the power of the second",
        examples: &[("pow(2, 10)", "1024.0"), ("pow(-1, 0.5) is missing", "true")],
    },
];
