//! Aggregates over a list of values, shared by those over a step's elements and those over a window.

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

/// Ints are summed exactly: only a sum that is too large in the end has overflowed.
fn sum(values: &[Value], zero: Value) -> Value {
    match int_sum(values) {
        Some(sum) if matches!(zero, Int(_)) => i64::try_from(sum).map_or(Missing, Int),
        _ => values.iter().fold(zero, |sum, v| value::add(&sum, v)),
    }
}

fn int_sum(values: &[Value]) -> Option<i128> {
    values.iter().map(|v| if let Int(i) = v { Some(i128::from(*i)) } else { None }).sum()
}

fn average(values: &[Value]) -> Value {
    let Some(first) = values.first() else { return Missing };
    if let Some(sum) = int_sum(values) {
        return value::float(sum as f64 / values.len() as f64);
    }
    let sum = values[1..].iter().fold(first.clone(), |sum, v| value::add(&sum, v));
    value::div(&sum, &Int(values.len() as i64))
}

/// Of the sample, n - 1: of fewer than two values there is none.
fn deviation(values: &[Value]) -> Value {
    if values.len() < 2 {
        return Missing;
    }
    let numbers: Option<Vec<f64>> =
        values.iter().map(|v| if let Value::Duration(ms) = v { Some(*ms as f64) } else { v.as_float() }).collect();
    let Some(numbers) = numbers else { return Missing };
    let n = numbers.len() as f64;
    let mean = int_sum(values).map_or_else(|| numbers.iter().sum::<f64>(), |sum| sum as f64) / n;
    let squares: f64 = numbers.iter().map(|x| (x - mean).powi(2)).sum();
    let deviation = (squares / (n - 1.0)).sqrt();
    match values[0] {
        Value::Duration(_) => Value::Duration(deviation as i64),
        Value::Decimal(_) => value::to_decimal(&Float(deviation)),
        _ => value::float(deviation),
    }
}
