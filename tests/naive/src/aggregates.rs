//! Aggregates over a list of values, shared by those over a step's elements and those over a window.

use num_rational::BigRational;
use num_traits::ToPrimitive;

use crate::value::{self, Value};
use Value::{Float, Int, Missing};

/// Folds what is present; `zero` is the sum of nothing.
pub fn fold(name: &str, values: Vec<Value>, zero: Value) -> Value {
    let values: Vec<Value> = values.into_iter().filter(|v| !v.is_missing()).collect();
    match name {
        "count" => Int(values.len() as i64),
        "sum" => sum(&values, zero),
        "avg" => average(&values),
        "min" => extreme(values, std::cmp::Ordering::Less),
        "max" => extreme(values, std::cmp::Ordering::Greater),
        "stddev" => deviation(&values),
        "distinct" => {
            let mut seen: Vec<Value> = Vec::new();
            for v in values {
                if !seen.iter().any(|s| value::same(s, &v)) {
                    seen.push(v);
                }
            }
            Int(seen.len() as i64)
        }
        "list" => Value::List(values),
        "first" => values.into_iter().next().unwrap_or(Missing),
        "last" => values.into_iter().next_back().unwrap_or(Missing),
        _ => Missing,
    }
}

fn extreme(values: Vec<Value>, wanted: std::cmp::Ordering) -> Value {
    let mut values = values.into_iter();
    let Some(mut best) = values.next() else { return Missing };
    for v in values {
        if value::compare(&v, &best) == Some(wanted) {
            best = v;
        }
    }
    best
}

/// Sums are exact: only one that is too large in the end has overflowed, and a float is rounded once.
fn sum(values: &[Value], zero: Value) -> Value {
    match int_sum(values) {
        Some(sum) if matches!(zero, Int(_)) => return i64::try_from(sum).map_or(Missing, Int),
        _ => {}
    }
    match values {
        [] => zero,
        [Float(_), ..] => value::float(nearest(exact(values).into_iter().sum())),
        _ => values.iter().fold(zero, |sum, v| value::add(&sum, v)),
    }
}

fn int_sum(values: &[Value]) -> Option<i128> {
    values.iter().map(|v| if let Int(i) = v { Some(i128::from(*i)) } else { None }).sum()
}

/// Values as fractions; other numbers than floats as the nearest floats.
fn exact(values: &[Value]) -> Vec<BigRational> {
    let float = |v: &Value| if let Value::Duration(ms) = v { Some(*ms as f64) } else { v.as_float() };
    values.iter().filter_map(float).filter_map(BigRational::from_float).collect()
}

fn nearest(exact: BigRational) -> f64 {
    exact.to_f64().unwrap_or(f64::NAN)
}

fn average(values: &[Value]) -> Value {
    let Some(first) = values.first() else { return Missing };
    if let Some(sum) = int_sum(values) {
        return value::float(sum as f64 / values.len() as f64);
    }
    let zero = if let Float(_) = first { Float(0.0) } else { value::sub(first, first) };
    value::div(&sum(values, zero), &Int(values.len() as i64))
}

/// Of the sample, n - 1: of fewer than two values there is none. The variance is exact and rounded once.
fn deviation(values: &[Value]) -> Value {
    if values.len() < 2 {
        return Missing;
    }
    let numbers = exact(values);
    let count = |n: usize| BigRational::from_integer(n.into());
    let mean = numbers.iter().sum::<BigRational>() / count(numbers.len());
    let squares: BigRational = numbers.iter().map(|x| (x - &mean) * (x - &mean)).sum();
    let deviation = nearest(squares / count(numbers.len() - 1)).sqrt();
    match values[0] {
        Value::Duration(_) => Value::Duration(deviation as i64),
        Value::Decimal(_) => value::to_decimal(&Float(deviation)),
        _ => value::float(deviation),
    }
}
