//! The scalar functions, each on values that were already computed.

use std::net::IpAddr;

use regex::RegexBuilder;
use rust_decimal::{Decimal, MathematicalOps, RoundingStrategy};

use crate::value::{self, Value};
use Value::{Duration, Float, Geo, Int, List, Missing, Text, Timestamp};

/// Calls a function; one that is given something missing gives missing.
pub fn call(name: &str, args: &[Value]) -> Value {
    if args.iter().any(Value::is_missing) {
        return Missing;
    }
    match (name, args) {
        ("distance_km", [Geo(a, b), Geo(c, d)]) => value::float(distance_km((*a, *b), (*c, *d))),
        ("speed_kmh", _) => speed(args),
        ("hour" | "weekday" | "date" | "day" | "month" | "year" | "minute", [Timestamp(at), zone @ ..]) => {
            calendar(name, *at, zone.first()).unwrap_or(Missing)
        }
        ("lower" | "upper" | "trim" | "length" | "contains" | "starts_with" | "ends_with" | "split" | "replace", _) => {
            text(name, args)
        }
        ("edit_distance", [Text(a), Text(b)]) => Int(edit_distance(a, b) as i64),
        ("similarity", [Text(a), Text(b)]) => {
            let longest = a.chars().count().max(b.chars().count());
            if longest == 0 { Float(1.0) } else { Float(1.0 - edit_distance(a, b) as f64 / longest as f64) }
        }
        ("min", [first, rest @ ..]) => extreme(first, rest, std::cmp::Ordering::Less),
        ("max", [first, rest @ ..]) => extreme(first, rest, std::cmp::Ordering::Greater),
        ("abs" | "round" | "floor" | "ceil" | "sqrt" | "ln" | "pow", _) => number(name, args),
        ("cidr", [Value::Ip(ip), Int(bits)]) => u8::try_from(*bits)
            .ok()
            .and_then(|bits| value::mask(*ip, bits).map(|net| Value::Cidr(net, bits)))
            .unwrap_or(Missing),
        ("float", [x]) => value::to_float(x),
        ("decimal", [x]) => value::to_decimal(x),
        ("int", [x]) => value::to_int(x),
        ("string", [x]) => Text(x.to_text()),
        ("geo", [lat, lon]) => match (lat.as_float(), lon.as_float()) {
            (Some(lat), Some(lon)) => Geo(lat, lon),
            _ => Missing,
        },
        ("ip", [Text(t)]) => t.parse::<IpAddr>().map_or(Missing, Value::Ip),
        _ => Missing,
    }
}

/// Great-circle distance on a sphere of 6371.0088 km.
pub fn distance_km(a: (f64, f64), b: (f64, f64)) -> f64 {
    let (lat1, lat2) = (a.0.to_radians(), b.0.to_radians());
    let half_lat = (lat2 - lat1) / 2.0;
    let half_lon = (b.1 - a.1).to_radians() / 2.0;
    let h = half_lat.sin().powi(2) + lat1.cos() * lat2.cos() * half_lon.sin().powi(2);
    2.0 * 6371.0088 * h.sqrt().min(1.0).asin()
}

/// `speed_kmh(a, b)` or `speed_kmh(geo, timestamp, geo, timestamp)`, either with `accuracy_km` behind.
fn speed(args: &[Value]) -> Value {
    let (from, start, to, end, rest) = match args {
        [Value::Event(a), Value::Event(b), rest @ ..] => {
            let place = |e: &crate::event::Event| {
                e.fields.values().find_map(|v| match v {
                    Geo(lat, lon) => Some((*lat, *lon)),
                    _ => None,
                })
            };
            let (Some(from), Some(to)) = (place(a), place(b)) else { return Missing };
            (from, a.at, to, b.at, rest)
        }
        [Geo(a, b), Timestamp(start), Geo(c, d), Timestamp(end), rest @ ..] => ((*a, *b), *start, (*c, *d), *end, rest),
        _ => return Missing,
    };
    let accuracy = rest.first().and_then(Value::as_float).unwrap_or(0.0);
    let km = distance_km(from, to);
    if km == 0.0 || km < accuracy {
        return Float(0.0);
    }
    let ms = (end - start).abs();
    Float(if ms == 0 { f64::INFINITY } else { km / (ms as f64 / 3_600_000.0) })
}

fn calendar(name: &str, at: i64, zone: Option<&Value>) -> Option<Value> {
    let zone = match zone {
        Some(Text(name)) => jiff::tz::TimeZone::get(name).ok()?,
        Some(_) => return None,
        None => jiff::tz::TimeZone::UTC,
    };
    let local = jiff::Timestamp::from_millisecond(at).ok()?.to_zoned(zone);
    Some(match name {
        "hour" => Int(i64::from(local.hour())),
        "minute" => Int(i64::from(local.minute())),
        "day" => Int(i64::from(local.day())),
        "month" => Int(i64::from(local.month())),
        "year" => Int(i64::from(local.year())),
        "weekday" => Int(i64::from(local.weekday().to_monday_one_offset())),
        _ => Text(local.date().to_string()),
    })
}

fn text(name: &str, args: &[Value]) -> Value {
    match (name, args) {
        ("lower", [Text(t)]) => Text(t.to_lowercase()),
        ("upper", [Text(t)]) => Text(t.to_uppercase()),
        ("trim", [Text(t)]) => Text(t.trim().to_owned()),
        ("length", [Text(t)]) => Int(t.chars().count() as i64),
        ("length", [List(items)]) => Int(items.len() as i64),
        ("contains", [Text(t), Text(part)]) => Value::Bool(t.contains(part.as_str())),
        ("contains", [List(items), item]) => Value::Bool(items.iter().any(|i| value::equal(i, item) == Some(true))),
        ("starts_with", [Text(t), Text(part)]) => Value::Bool(t.starts_with(part.as_str())),
        ("ends_with", [Text(t), Text(part)]) => Value::Bool(t.ends_with(part.as_str())),
        ("split", [Text(t), Text(by)]) if by.is_empty() => List(vec![Text(t.clone())]),
        ("split", [Text(t), Text(by)]) => List(t.split(by.as_str()).map(|p| Text(p.to_owned())).collect()),
        ("replace", [Text(t), Text(from), Text(to)]) if !from.is_empty() => Text(t.replace(from.as_str(), to)),
        ("replace", [Text(t), Text(_), Text(_)]) => Text(t.clone()),
        _ => Missing,
    }
}

fn extreme(first: &Value, rest: &[Value], wanted: std::cmp::Ordering) -> Value {
    let mut best = first.clone();
    for other in rest {
        let (a, b) = value::widen(best, other.clone());
        best = match value::compare(&b, &a) {
            Some(order) if order == wanted => b,
            Some(_) => a,
            None => return Missing,
        };
    }
    best
}

fn number(name: &str, args: &[Value]) -> Value {
    match (name, args) {
        ("abs", [Int(i)]) => i.checked_abs().map_or(Missing, Int),
        ("abs", [Float(f)]) => Float(f.abs()),
        ("abs", [Value::Decimal(d)]) => Value::Decimal(d.abs()),
        ("abs", [Duration(ms)]) => ms.checked_abs().map_or(Missing, Duration),
        ("round" | "floor" | "ceil", [Int(i), ..]) => Int(*i),
        ("round", [Float(f)]) => Float(f.round()),
        ("round", [Float(f), Int(digits)]) => {
            let scale = 10f64.powi((*digits).clamp(-300, 300) as i32);
            value::float((f * scale).round() / scale)
        }
        ("round", [Value::Decimal(d), digits @ ..]) => {
            let digits = if let [Int(n)] = digits { (*n).clamp(0, 28) as u32 } else { 0 };
            Value::Decimal(d.round_dp_with_strategy(digits, RoundingStrategy::MidpointNearestEven))
        }
        ("floor", [Float(f)]) => Float(f.floor()),
        ("ceil", [Float(f)]) => Float(f.ceil()),
        ("floor", [Value::Decimal(d)]) => Value::Decimal(d.floor()),
        ("ceil", [Value::Decimal(d)]) => Value::Decimal(d.ceil()),
        ("sqrt", [Value::Decimal(d)]) => d.sqrt().map_or(Missing, Value::Decimal),
        ("sqrt", [x]) => x.as_float().map_or(Missing, |x| value::float(x.sqrt())),
        ("ln", [Value::Decimal(d)]) => d.checked_ln().map_or(Missing, Value::Decimal),
        ("ln", [x]) => x.as_float().map_or(Missing, |x| value::float(x.ln())),
        ("pow", [Value::Decimal(d), Int(n)]) => d.checked_powi(*n).map_or(Missing, Value::Decimal),
        ("pow", [Int(x), Value::Decimal(n)]) => Decimal::from(*x).checked_powd(*n).map_or(Missing, Value::Decimal),
        ("pow", [x, y]) => match (x.as_float(), y.as_float()) {
            (Some(x), Some(y)) => value::float(x.powf(y)),
            _ => Missing,
        },
        _ => Missing,
    }
}

/// Levenshtein's, on code points.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (above + 1).min(row[j] + 1).min(diagonal + usize::from(x != *y));
            diagonal = above;
        }
    }
    row[b.len()]
}

/// `like` and `ilike`: the whole string, `*` any run of characters, `?` one.
pub fn like(text: &str, pattern: &str, ignore_case: bool) -> bool {
    let mut regex = String::from("^");
    for c in pattern.chars() {
        match c {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            c => regex.push_str(&regex::escape(&c.to_string())),
        }
    }
    regex.push('$');
    RegexBuilder::new(&regex)
        .dot_matches_new_line(true)
        .case_insensitive(ignore_case)
        .build()
        .is_ok_and(|r| r.is_match(text))
}

/// `matches`: the expression anywhere in the text.
pub fn matches(text: &str, expression: &str) -> Value {
    regex::Regex::new(expression).map_or(Missing, |r| Value::Bool(r.is_match(text)))
}
