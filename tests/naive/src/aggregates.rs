//! Aggregates over a list of values, shared by those over a step's elements and those over a window.

use num_rational::BigRational;
use num_traits::ToPrimitive;
use rust_decimal::Decimal;

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
        // With as many places as the value that has most.
        _ => match values.iter().fold(zero, |sum, v| value::add(&sum, v)) {
            Value::Decimal(mut sum) => {
                let places = |v: &Value| if let Value::Decimal(d) = v { d.scale() } else { 0 };
                sum.rescale(values.iter().map(places).max().unwrap_or(0));
                Value::Decimal(sum)
            }
            sum => sum,
        },
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

fn present(values: Vec<Value>) -> Vec<Value> {
    values.into_iter().filter(|v| !v.is_missing()).collect()
}

/// `list(x, n)` over a window.
pub fn last_of(values: Vec<Value>, n: &Value) -> Value {
    let (values, n) = (present(values), count(n));
    Value::List(values[values.len().saturating_sub(n)..].to_vec())
}

/// The smallest value that at least the part `q` of all are no greater than.
pub fn quantile(values: Vec<Value>, q: Decimal) -> Value {
    let mut values: Vec<Value> = present(values).iter().map(shortest).collect();
    values.sort_by(|a, b| value::compare(a, b).unwrap_or(std::cmp::Ordering::Equal));
    let n = Decimal::from(values.len());
    let mut ranked = values.into_iter().enumerate();
    ranked.find(|(i, _)| Decimal::from(i + 1) >= q * n).map_or(Missing, |(_, v)| v)
}

/// `ema(x, alpha)`
pub fn moving_average(values: Vec<Value>, alpha: &Value) -> Value {
    let alpha = alpha.as_float().unwrap_or(1.0);
    let numbers = present(values).into_iter().filter_map(|v| v.as_float());
    numbers.reduce(|average, v| alpha * v + (1.0 - alpha) * average).map_or(Missing, value::float)
}

/// `topk(x, k)`; of those as frequent the smaller first.
pub fn most_frequent(values: Vec<Value>, k: &Value) -> Value {
    let mut counts: Vec<(usize, Value)> = Vec::new();
    for v in present(values) {
        match counts.iter_mut().find(|(_, known)| value::same(known, &v)) {
            Some((n, _)) => *n += 1,
            None => counts.push((1, shortest(&v))),
        }
    }
    counts.sort_by(|(n, a), (m, b)| m.cmp(n).then(value::compare(a, b).unwrap_or(std::cmp::Ordering::Equal)));
    Value::List(counts.into_iter().take(count(k)).map(|(_, v)| v).collect())
}

/// `corr(x, y)`: Pearson's; each of the three sums is exact and rounded once.
pub fn correlation(values: Vec<Value>) -> Value {
    let pairs: Vec<Vec<Value>> =
        present(values).into_iter().filter_map(|v| if let Value::List(pair) = v { Some(pair) } else { None }).collect();
    if pairs.len() < 2 {
        return Missing;
    }
    let column = |i: usize| exact(&pairs.iter().map(|p| p[i].clone()).collect::<Vec<_>>());
    let (xs, ys) = (column(0), column(1));
    let n = BigRational::from_integer(pairs.len().into());
    // n Σab − Σa Σb
    let cross = |a: &[BigRational], b: &[BigRational]| {
        let products: BigRational = a.iter().zip(b).map(|(a, b)| a * b).sum();
        nearest(&n * products - a.iter().sum::<BigRational>() * b.iter().sum::<BigRational>())
    };
    let (x, y) = (cross(&xs, &xs).sqrt(), cross(&ys, &ys).sqrt());
    if x == 0.0 || y == 0.0 { Missing } else { value::float((cross(&xs, &ys) / (x * y)).clamp(-1.0, 1.0)) }
}

/// Whether a value has moved by at least so many percent.
pub fn has_moved(from: &Value, to: &Value, percent: Decimal) -> bool {
    match value::widen(from.clone(), to.clone()) {
        (Missing, _) | (_, Missing) => false,
        (Float(a), Float(b)) => a != b && (b - a).abs() * 100.0 >= percent.to_f64().unwrap_or(0.0) * a.abs(),
        (a, b) => {
            let (a, b) = (value::to_decimal(&number(&a)), value::to_decimal(&number(&b)));
            let (Value::Decimal(a), Value::Decimal(b)) = (a, b) else { return false };
            a != b && (b - a).abs() * Decimal::from(100) >= a.abs() * percent
        }
    }
}

fn number(v: &Value) -> Value {
    if let Value::Duration(ms) = v { Int(*ms) } else { v.clone() }
}

/// Equal values are written in many ways; this is the one way.
fn shortest(v: &Value) -> Value {
    match v {
        Value::Decimal(d) => Value::Decimal(d.normalize()),
        Float(f) if *f == 0.0 => Float(0.0),
        other => other.clone(),
    }
}

fn count(n: &Value) -> usize {
    if let Int(n) = n { *n as usize } else { 0 }
}
