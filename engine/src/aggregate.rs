//! Aggregates over a sequence of values: of a step's elements, of a window.
//!
//! Missing values are passed over. Of nothing, `count` and `sum` are 0 and the others are missing. Sums are exact and rounded
//! once, so that the same values give the same bits in whatever order.

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;

use lapwing_dsl::functions::Outcome;
use lapwing_dsl::ir::Aggregate;
use lapwing_dsl::value::{Type, Value};

use crate::exact::{Moments, Sum, finite, float};

/// The aggregate of the values, oldest first. `ty` is the type of the result.
pub fn aggregate(kind: Aggregate, values: Vec<Value<'_>>, ty: &Type) -> Outcome {
    let present: Vec<Value<'_>> = values.into_iter().filter(|v| !v.is_missing()).collect();
    Ok(match kind {
        Aggregate::Count => Value::Int(present.len() as i64),
        Aggregate::Sum => return sum(&present, ty),
        Aggregate::Avg => return avg(&present, ty),
        Aggregate::Min => extreme(present, std::cmp::Ordering::Less),
        Aggregate::Max => extreme(present, std::cmp::Ordering::Greater),
        Aggregate::Stddev => return stddev(&present, ty),
        Aggregate::Distinct => Value::Int(distinct(present) as i64),
        Aggregate::First => present.into_iter().next().map_or(Value::Missing, Value::into_static),
        Aggregate::Last => present.into_iter().next_back().map_or(Value::Missing, Value::into_static),
        Aggregate::List => Value::List(present.into_iter().map(Value::into_static).collect::<Vec<_>>().into()),
        // Of a step the check gives none of these.
        Aggregate::ListOf(_) | Aggregate::Quantile(_) | Aggregate::ApproxDistinct | Aggregate::Ema(_) => Value::Missing,
        Aggregate::Rate | Aggregate::Topk(_) | Aggregate::Corr => Value::Missing,
    })
}

/// The sum; 0 of the type where there is nothing.
pub fn sum(values: &[Value<'_>], ty: &Type) -> Outcome {
    match total(values) {
        Some(sum) => sum.value(ty),
        None => Ok(match ty {
            Type::Int => Value::Int(0),
            Type::Duration => Value::Duration(0),
            Type::Decimal => Value::Decimal(Decimal::ZERO),
            _ => Value::Float(0.0),
        }),
    }
}

fn total(values: &[Value<'_>]) -> Option<Sum> {
    let mut sum = Sum::of(values.first()?);
    values.iter().for_each(|v| sum.add(v, 1));
    Some(sum)
}

fn avg(values: &[Value<'_>], ty: &Type) -> Outcome {
    total(values).map_or(Ok(Value::Missing), |sum| sum.average(values.len(), ty))
}

fn stddev(values: &[Value<'_>], ty: &Type) -> Outcome {
    if values.len() < 2 {
        return Ok(Value::Missing);
    }
    let mut moments = Moments::default();
    values.iter().for_each(|v| moments.add(float(v), 1));
    deviation(&moments, values.len(), ty)
}

/// The standard deviation of so many values, at least two.
pub fn deviation(moments: &Moments, n: usize, ty: &Type) -> Outcome {
    let deviation = moments.deviation(n);
    match ty {
        Type::Duration => Ok(Value::Duration(deviation as i64)),
        Type::Decimal => Ok(Decimal::from_f64(deviation).map_or(Value::Missing, Value::Decimal)),
        _ => finite(deviation),
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
