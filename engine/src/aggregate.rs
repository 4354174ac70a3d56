//! Aggregates over a sequence of values: of a step's elements, of a window.
//!
//! Missing values are passed over. Of nothing, `count` and `sum` are 0 and the others are missing. Sums of floats run from
//! the oldest value to the newest, so that equal inputs give equal bits.

use rust_decimal::Decimal;
use rust_decimal::prelude::{FromPrimitive, ToPrimitive};

use lapwing_dsl::functions::{EvalError, Outcome};
use lapwing_dsl::ir::Aggregate;
use lapwing_dsl::value::{Type, Value};

/// The aggregate of the values, oldest first. `ty` is the type of the result.
pub fn aggregate(kind: Aggregate, values: Vec<Value<'_>>, ty: &Type) -> Outcome {
    let present: Vec<Value<'_>> = values.into_iter().filter(|v| !v.is_missing()).collect();
    Ok(match kind {
        Aggregate::Count => Value::Int(present.len() as i64),
        Aggregate::Sum => return sum(&present, ty),
        Aggregate::Avg => return avg(&present, ty),
        Aggregate::Min => extreme(present, std::cmp::Ordering::Less),
        Aggregate::Max => extreme(present, std::cmp::Ordering::Greater),
        Aggregate::Stddev => stddev(&present),
        Aggregate::Distinct => Value::Int(distinct(present) as i64),
        Aggregate::First => present.into_iter().next().map_or(Value::Missing, Value::into_static),
        Aggregate::Last => present.into_iter().next_back().map_or(Value::Missing, Value::into_static),
        Aggregate::List => Value::List(present.into_iter().map(Value::into_static).collect::<Vec<_>>().into()),
    })
}

/// The sum; 0 of the type where there is nothing.
pub fn sum(values: &[Value<'_>], ty: &Type) -> Outcome {
    match ty {
        Type::Int => Ok(Value::Int(int_sum(values)?)),
        Type::Duration => Ok(Value::Duration(int_sum(values)?)),
        Type::Decimal => {
            let total = values.iter().try_fold(Decimal::ZERO, |a, v| a.checked_add(decimal(v)));
            total.map(Value::Decimal).ok_or(EvalError::Overflow)
        }
        _ => Ok(Value::Float(values.iter().map(float).sum::<f64>() + 0.0)),
    }
}

fn int_sum(values: &[Value<'_>]) -> Result<i64, EvalError> {
    let total: i128 = values.iter().map(|v| i128::from(int(v))).sum();
    i64::try_from(total).map_err(|_| EvalError::Overflow)
}

fn avg(values: &[Value<'_>], ty: &Type) -> Outcome {
    if values.is_empty() {
        return Ok(Value::Missing);
    }
    let n = values.len();
    match ty {
        Type::Decimal => match sum(values, ty)? {
            Value::Decimal(total) => Ok(Value::Decimal(total / Decimal::from(n))),
            _ => Ok(Value::Missing),
        },
        Type::Duration => Ok(Value::Duration(int_sum(values)? / n as i64)),
        _ => Ok(Value::Float(mean(values))),
    }
}

/// The mean as a float. Whole numbers are summed exactly first.
fn mean(values: &[Value<'_>]) -> f64 {
    let whole: Option<i128> = values
        .iter()
        .map(|v| if let Value::Int(x) | Value::Duration(x) = v { Some(i128::from(*x)) } else { None })
        .sum();
    whole.map_or_else(|| values.iter().map(float).sum::<f64>(), |total| total as f64) / values.len() as f64
}

/// The standard deviation of the sample, n − 1, in two passes.
fn stddev(values: &[Value<'_>]) -> Value<'static> {
    if values.len() < 2 {
        return Value::Missing;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|v| (float(v) - mean).powi(2)).sum();
    let deviation = (squares / (values.len() - 1) as f64).sqrt();
    match values[0] {
        Value::Duration(_) => Value::Duration(deviation as i64),
        Value::Decimal(_) => Decimal::from_f64(deviation).map_or(Value::Missing, Value::Decimal),
        _ => Value::Float(deviation),
    }
}

fn extreme(values: Vec<Value<'_>>, wanted: std::cmp::Ordering) -> Value<'static> {
    let mut best: Option<Value<'_>> = None;
    for value in values {
        if best.as_ref().is_none_or(|b| value.compare(b) == Some(wanted)) {
            best = Some(value);
        }
    }
    best.map_or(Value::Missing, Value::into_static)
}

/// How many different values there are.
pub fn distinct(values: Vec<Value<'_>>) -> usize {
    let mut keys: Vec<Vec<u8>> = values
        .iter()
        .map(|v| {
            let mut bytes = Vec::new();
            crate::key::push(&mut bytes, v, true);
            bytes
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys.len()
}

fn int(value: &Value<'_>) -> i64 {
    match value {
        Value::Int(v) | Value::Duration(v) | Value::Timestamp(v) => *v,
        _ => 0,
    }
}

fn float(value: &Value<'_>) -> f64 {
    match value {
        Value::Float(v) => *v,
        Value::Decimal(v) => v.to_f64().unwrap_or(0.0),
        other => int(other) as f64,
    }
}

fn decimal(value: &Value<'_>) -> Decimal {
    match value {
        Value::Decimal(v) => *v,
        other => Decimal::from(int(other)),
    }
}
