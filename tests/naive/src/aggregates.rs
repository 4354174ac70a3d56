//! Aggregates over a list of values, shared by those over a step's elements and those over a window.

use rust_decimal::{Decimal, MathematicalOps};

use crate::value::{self, Value};
use Value::{Float, Int, Missing};

/// Folds what is present; `zero` is the sum of nothing.
pub fn fold(name: &str, values: Vec<Value>, zero: Value) -> Value {
    let values: Vec<Value> = values.into_iter().filter(|v| !v.is_missing()).collect();
    match name {
        "count" => Int(values.len() as i64),
        "sum" => values.iter().fold(zero, |sum, v| value::add(&sum, v)),
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

fn average(values: &[Value]) -> Value {
    let Some(first) = values.first() else { return Missing };
    let sum = values[1..].iter().fold(first.clone(), |sum, v| value::add(&sum, v));
    value::div(&sum, &Int(values.len() as i64))
}

/// Of the sample, n - 1: of fewer than two values there is none.
fn deviation(values: &[Value]) -> Value {
    if values.len() < 2 {
        return Missing;
    }
    if values.iter().any(|v| matches!(v, Value::Decimal(_))) {
        return decimal_deviation(values).unwrap_or(Missing);
    }
    let numbers: Option<Vec<f64>> = values
        .iter()
        .map(|v| if let Value::Duration(ms) = v { Some(*ms as f64) } else { v.as_float() })
        .collect();
    let Some(numbers) = numbers else { return Missing };
    let n = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / n;
    let squares: f64 = numbers.iter().map(|x| (x - mean).powi(2)).sum();
    let deviation = (squares / (n - 1.0)).sqrt();
    if matches!(values[0], Value::Duration(_)) {
        return Value::Duration(deviation.round() as i64);
    }
    if deviation.is_finite() { Float(deviation) } else { Missing }
}

fn decimal_deviation(values: &[Value]) -> Option<Value> {
    let numbers: Option<Vec<Decimal>> = values
        .iter()
        .map(|v| if let Value::Decimal(d) = value::to_decimal(v) { Some(d) } else { None })
        .collect();
    let numbers = numbers?;
    let n = Decimal::from(numbers.len());
    let mut sum = Decimal::ZERO;
    for x in &numbers {
        sum = sum.checked_add(*x)?;
    }
    let mean = sum.checked_div(n)?;
    let mut squares = Decimal::ZERO;
    for x in &numbers {
        let off = x.checked_sub(mean)?;
        squares = squares.checked_add(off.checked_mul(off)?)?;
    }
    squares.checked_div(n - Decimal::ONE)?.sqrt().map(Value::Decimal)
}
