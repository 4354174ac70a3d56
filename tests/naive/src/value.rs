//! Values of expressions, with the arithmetic and the comparisons of the language.
//!
//! Missing is a value of its own here: every operation on it gives it back.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::rc::Rc;

use rust_decimal::Decimal;
use rust_decimal::prelude::{FromPrimitive, ToPrimitive};
use serde_json::Value as Json;

use crate::event::Event;

/// What an expression can give.
#[derive(Clone, Debug)]
pub enum Value {
    /// SQL's NULL.
    Missing,
    /// `bool`
    Bool(bool),
    /// `int`
    Int(i64),
    /// `float`
    Float(f64),
    /// `decimal`
    Decimal(Decimal),
    /// `string`
    Text(String),
    /// `timestamp`, milliseconds since 1970
    Timestamp(i64),
    /// `duration`, milliseconds
    Duration(i64),
    /// `ip`
    Ip(IpAddr),
    /// `cidr`
    Cidr(IpAddr, u8),
    /// `geo`: latitude and longitude
    Geo(f64, f64),
    /// `list<T>`
    List(Vec<Value>),
    /// A whole event, as a step's name gives it; never leaves an expression.
    Event(Rc<Event>),
}

use Value::{Bool, Cidr, Duration, Float, Geo, Int, Ip, List, Missing, Text, Timestamp};

impl Value {
    /// Whether there is nothing.
    pub fn is_missing(&self) -> bool {
        matches!(self, Missing)
    }

    /// Three-valued truth: `None` is unknown.
    pub fn truth(&self) -> Option<bool> {
        match self {
            Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// The truth as a value.
    pub fn from_truth(truth: Option<bool>) -> Value {
        truth.map_or(Missing, Bool)
    }

    /// A number as float.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Int(i) => Some(*i as f64),
            Float(f) => Some(*f),
            Value::Decimal(d) => d.to_f64(),
            _ => None,
        }
    }

    /// As it stands in an alert; `None` where it is missing.
    pub fn to_json(&self) -> Option<Json> {
        Some(match self {
            Missing | Value::Event(_) => return None,
            Bool(b) => Json::from(*b),
            Int(i) => Json::from(*i),
            Float(f) => serde_json::Number::from_f64(*f).map_or_else(|| Json::from(f.to_string()), Json::Number),
            Geo(lat, lon) => serde_json::json!({ "lat": lat, "lon": lon }),
            Duration(ms) => Json::from(*ms),
            Value::Decimal(d) => d.to_string().parse().map_or(Json::Null, Json::Number),
            List(items) => Json::Array(items.iter().map(|i| i.to_json().unwrap_or(Json::Null)).collect()),
            other => Json::from(other.to_text()),
        })
    }

    /// As it stands in a message.
    pub fn to_text(&self) -> String {
        match self {
            Missing => "?".to_owned(),
            Bool(b) => b.to_string(),
            Int(i) => i.to_string(),
            Float(f) => f.to_string(),
            Value::Decimal(d) => d.to_string(),
            Text(t) => t.clone(),
            Timestamp(ms) => jiff::Timestamp::from_millisecond(*ms).map_or_else(|_| ms.to_string(), |t| t.to_string()),
            Duration(ms) => duration_text(*ms),
            Ip(ip) => ip.to_string(),
            Cidr(ip, bits) => format!("{ip}/{bits}"),
            Geo(lat, lon) => format!("{lat},{lon}"),
            List(items) => format!("[{}]", items.iter().map(Value::to_text).collect::<Vec<_>>().join(", ")),
            Value::Event(event) => event.ty.clone(),
        }
    }
}

/// `1d2h`, as durations are written, the largest unit a day.
fn duration_text(ms: i64) -> String {
    let mut rest = ms.unsigned_abs();
    let mut text = if ms < 0 { "-".to_owned() } else { String::new() };
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= length {
            text += &format!("{}{unit}", rest / length);
            rest %= length;
        }
    }
    if ms == 0 { "0s".to_owned() } else { text }
}

/// Brings two numbers to one type: int widens to float and to decimal.
pub fn widen(a: Value, b: Value) -> (Value, Value) {
    match (&a, &b) {
        (Int(x), Float(_)) => (Float(*x as f64), b),
        (Float(_), Int(y)) => (a, Float(*y as f64)),
        (Int(x), Value::Decimal(_)) => (Value::Decimal(Decimal::from(*x)), b),
        (Value::Decimal(_), Int(y)) => (a, Value::Decimal(Decimal::from(*y))),
        _ => (a, b),
    }
}

/// The order of two values of one type; `None` where one is missing or they do not compare.
pub fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (widen(a.clone(), b.clone()), ()) {
        ((Bool(x), Bool(y)), ()) => Some(x.cmp(&y)),
        ((Int(x), Int(y)), ()) => Some(x.cmp(&y)),
        ((Float(x), Float(y)), ()) => x.partial_cmp(&y),
        ((Value::Decimal(x), Value::Decimal(y)), ()) => Some(x.cmp(&y)),
        ((Text(x), Text(y)), ()) => Some(x.cmp(&y)),
        ((Timestamp(x), Timestamp(y)), ()) | ((Duration(x), Duration(y)), ()) => Some(x.cmp(&y)),
        ((Ip(x), Ip(y)), ()) => Some(x.cmp(&y)),
        ((Cidr(x, n), Cidr(y, m)), ()) => Some((x, n).cmp(&(y, m))),
        ((Geo(x, n), Geo(y, m)), ()) => (x, n).partial_cmp(&(y, m)),
        ((List(x), List(y)), ()) => compare_lists(&x, &y),
        ((Value::Event(x), Value::Event(y)), ()) => Some(x.place.cmp(&y.place)),
        _ => None,
    }
}

fn compare_lists(a: &[Value], b: &[Value]) -> Option<Ordering> {
    for (x, y) in a.iter().zip(b) {
        match compare(x, y)? {
            Ordering::Equal => {}
            unequal => return Some(unequal),
        }
    }
    Some(a.len().cmp(&b.len()))
}

/// Whether two present values are equal; unknown where one is missing.
pub fn equal(a: &Value, b: &Value) -> Option<bool> {
    compare(a, b).map(Ordering::is_eq)
}

/// Equality in which missing equals missing, for keys and `distinct`.
pub fn same(a: &Value, b: &Value) -> bool {
    a.is_missing() && b.is_missing() || equal(a, b) == Some(true)
}

/// The order of keys: a missing part stands before all others.
pub fn key_order(a: &[Value], b: &[Value]) -> Ordering {
    for (x, y) in a.iter().zip(b) {
        let order = match (x.is_missing(), y.is_missing()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => compare(x, y).unwrap_or(Ordering::Equal),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

/// `a + b`
pub fn add(a: &Value, b: &Value) -> Value {
    match widen(a.clone(), b.clone()) {
        (Int(x), Int(y)) => int(x.checked_add(y)),
        (Float(x), Float(y)) => float(x + y),
        (Value::Decimal(x), Value::Decimal(y)) => decimal(x.checked_add(y)),
        (Duration(x), Duration(y)) => x.checked_add(y).map_or(Missing, Duration),
        (Timestamp(x), Duration(y)) | (Duration(x), Timestamp(y)) => x.checked_add(y).map_or(Missing, Timestamp),
        (Text(x), Text(y)) => Text(x + &y),
        _ => Missing,
    }
}

/// `a - b`
pub fn sub(a: &Value, b: &Value) -> Value {
    match widen(a.clone(), b.clone()) {
        (Int(x), Int(y)) => int(x.checked_sub(y)),
        (Float(x), Float(y)) => float(x - y),
        (Value::Decimal(x), Value::Decimal(y)) => decimal(x.checked_sub(y)),
        (Duration(x), Duration(y)) | (Timestamp(x), Timestamp(y)) => x.checked_sub(y).map_or(Missing, Duration),
        (Timestamp(x), Duration(y)) => x.checked_sub(y).map_or(Missing, Timestamp),
        _ => Missing,
    }
}

/// `a * b`
pub fn mul(a: &Value, b: &Value) -> Value {
    match widen(a.clone(), b.clone()) {
        (Int(x), Int(y)) => int(x.checked_mul(y)),
        (Float(x), Float(y)) => float(x * y),
        (Value::Decimal(x), Value::Decimal(y)) => decimal(x.checked_mul(y)),
        (Duration(x), Int(y)) | (Int(y), Duration(x)) => x.checked_mul(y).map_or(Missing, Duration),
        _ => Missing,
    }
}

/// `a / b`; of two ints a float.
pub fn div(a: &Value, b: &Value) -> Value {
    match widen(a.clone(), b.clone()) {
        (Int(x), Int(y)) if y != 0 => float(x as f64 / y as f64),
        (Float(x), Float(y)) if y != 0.0 => float(x / y),
        (Value::Decimal(x), Value::Decimal(y)) => decimal(x.checked_div(y)),
        (Duration(x), Int(y)) => x.checked_div(y).map_or(Missing, Duration),
        (Duration(x), Duration(y)) if y != 0 => float(x as f64 / y as f64),
        _ => Missing,
    }
}

/// `a % b`
pub fn rem(a: &Value, b: &Value) -> Value {
    match widen(a.clone(), b.clone()) {
        (Int(x), Int(y)) => int(x.checked_rem(y)),
        (Float(x), Float(y)) if y != 0.0 => float(x % y),
        (Value::Decimal(x), Value::Decimal(y)) => decimal(x.checked_rem(y)),
        _ => Missing,
    }
}

/// `-a`
pub fn neg(a: &Value) -> Value {
    match a {
        Int(x) => int(x.checked_neg()),
        Float(x) => Float(-x),
        Value::Decimal(x) => Value::Decimal(-*x),
        Duration(x) => x.checked_neg().map_or(Missing, Duration),
        _ => Missing,
    }
}

/// A float that overflowed or is no number is missing.
pub fn float(f: f64) -> Value {
    if f.is_finite() { Float(f) } else { Missing }
}

fn int(i: Option<i64>) -> Value {
    i.map_or(Missing, Int)
}

fn decimal(d: Option<Decimal>) -> Value {
    d.map_or(Missing, Value::Decimal)
}

/// Whether the address lies in the network.
pub fn in_network(ip: IpAddr, network: IpAddr, bits: u8) -> bool {
    mask(ip, bits) == mask(network, bits)
}

/// The address with all but its first bits zero; `None` where it has not that many.
pub fn mask(ip: IpAddr, bits: u8) -> Option<IpAddr> {
    let bits = u32::from(bits);
    match ip {
        IpAddr::V4(v4) if bits <= 32 => {
            let keep = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            Some(IpAddr::from((u32::from(v4) & keep).to_be_bytes()))
        }
        IpAddr::V6(v6) if bits <= 128 => {
            let keep = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            Some(IpAddr::from((u128::from(v6) & keep).to_be_bytes()))
        }
        _ => None,
    }
}

/// `float(x)`
pub fn to_float(v: &Value) -> Value {
    match v {
        Text(t) => t.trim().parse().map_or(Missing, float),
        Duration(ms) => Float(*ms as f64),
        other => other.as_float().map_or(Missing, float),
    }
}

/// `decimal(x)`
pub fn to_decimal(v: &Value) -> Value {
    match v {
        Int(i) => Value::Decimal(Decimal::from(*i)),
        Float(f) => decimal(Decimal::from_f64(*f)),
        Value::Decimal(d) => Value::Decimal(*d),
        Text(t) => decimal(t.trim().parse().ok()),
        _ => Missing,
    }
}

/// `int(x)`: towards zero.
pub fn to_int(v: &Value) -> Value {
    match v {
        Int(i) => Int(*i),
        Float(f) if f.trunc() >= -(2f64.powi(63)) && f.trunc() < 2f64.powi(63) => Int(f.trunc() as i64),
        Value::Decimal(d) => int(d.trunc().to_i64()),
        Text(t) => int(t.trim().parse().ok()),
        Bool(b) => Int(i64::from(*b)),
        Duration(ms) | Timestamp(ms) => Int(*ms),
        _ => Missing,
    }
}
