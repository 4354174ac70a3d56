//! Reads one JSON value as a field of a type.

use std::borrow::Cow;
use std::net::IpAddr;

use lapwing_dsl::value::{Type, Value};
use rust_decimal::Decimal;

/// A JSON value that is not what its field's type asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// Reads the raw text of a JSON value. `null` is missing.
pub fn read<'a>(raw: &'a str, ty: &Type) -> Result<Value<'a>, Unreadable> {
    match raw.as_bytes().first() {
        Some(b'n') => Ok(Value::Missing),
        Some(b'"') => from_text(&text(raw)?, raw, ty),
        Some(b't') => from_bool(true, ty),
        Some(b'f') => from_bool(false, ty),
        Some(b'-' | b'0'..=b'9') => from_number(raw, ty),
        Some(b'[') => from_list(raw, ty),
        _ => Err(Unreadable),
    }
}

/// Reads text that is no JSON: a cell, a line.
pub fn plain<'a>(text: &'a str, ty: &Type) -> Result<Value<'a>, Unreadable> {
    match ty {
        Type::String => Ok(Value::Text(Cow::Borrowed(text))),
        _ => from_text(text, "", ty),
    }
}

/// The text of a JSON string.
pub fn text(raw: &str) -> Result<Cow<'_, str>, Unreadable> {
    let inner = raw.get(1..raw.len() - 1).ok_or(Unreadable)?;
    if inner.contains('\\') {
        return serde_json::from_str::<String>(raw).map(Cow::Owned).map_err(|_| Unreadable);
    }
    Ok(Cow::Borrowed(inner))
}

fn from_text<'a>(decoded: &str, raw: &'a str, ty: &Type) -> Result<Value<'a>, Unreadable> {
    let trimmed = decoded.trim();
    Ok(match ty {
        Type::String => Value::Text(text(raw)?),
        Type::Timestamp => Value::Timestamp(timestamp(trimmed).ok_or(Unreadable)?),
        Type::Ip => Value::Ip(ip(trimmed).ok_or(Unreadable)?),
        Type::Cidr => cidr(trimmed).ok_or(Unreadable)?,
        Type::Bool => match trimmed {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => return Err(Unreadable),
        },
        // Numbers often travel as text.
        Type::Int | Type::Float | Type::Decimal | Type::Duration => from_number(trimmed, ty)?.into_static(),
        Type::Geo | Type::List(_) => return Err(Unreadable),
    })
}

fn from_bool(value: bool, ty: &Type) -> Result<Value<'static>, Unreadable> {
    match ty {
        Type::Bool => Ok(Value::Bool(value)),
        Type::String => Ok(Value::text(if value { "true" } else { "false" })),
        _ => Err(Unreadable),
    }
}

fn from_number<'a>(raw: &'a str, ty: &Type) -> Result<Value<'a>, Unreadable> {
    Ok(match ty {
        Type::Int => Value::Int(int(raw).ok_or(Unreadable)?),
        Type::Timestamp => Value::Timestamp(int(raw).ok_or(Unreadable)?),
        Type::Duration => Value::Duration(int(raw).ok_or(Unreadable)?),
        Type::Float => Value::Float(raw.parse::<f64>().ok().filter(|v| v.is_finite()).ok_or(Unreadable)?),
        Type::Decimal => Value::Decimal(decimal(raw).ok_or(Unreadable)?),
        Type::String => Value::text(raw),
        _ => return Err(Unreadable),
    })
}

/// A whole number; `3.0` and `3e2` are whole too.
fn int(raw: &str) -> Option<i64> {
    if let Ok(v) = raw.parse::<i64>() {
        return Some(v);
    }
    let exact = decimal(raw)?;
    if exact.fract().is_zero() { i64::try_from(exact).ok() } else { None }
}

fn decimal(raw: &str) -> Option<Decimal> {
    Decimal::from_str_exact(raw).ok().or_else(|| Decimal::from_scientific(raw).ok())
}

/// RFC 3339, with or without a zone (then UTC), or whole milliseconds since 1970.
pub fn timestamp(text: &str) -> Option<i64> {
    if let Some(at) = common_timestamp(text.as_bytes()) {
        return Some(at);
    }
    if let Ok(t) = text.parse::<jiff::Timestamp>() {
        return Some(t.as_millisecond());
    }
    if let Ok(t) = text.parse::<jiff::civil::DateTime>() {
        return t.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|z| z.timestamp().as_millisecond());
    }
    text.parse::<i64>().ok()
}

/// The commonest form of RFC 3339, `2026-01-31T10:00:00Z` with or without a fraction, of a year from 1970 on; none where it is another, or no
/// time at all.
fn common_timestamp(text: &[u8]) -> Option<i64> {
    let (whole, rest) = text.split_first_chunk::<19>()?;
    let digits = |at: usize, count: usize| {
        whole[at..at + count].iter().try_fold(0i64, |v, b| b.is_ascii_digit().then(|| v * 10 + i64::from(b - b'0')))
    };
    if [whole[4], whole[7], whole[10], whole[13], whole[16]] != *b"--T::" {
        return None;
    }
    let (year, month, day) = (digits(0, 4)?, digits(5, 2)?, digits(8, 2)?);
    let (hour, minute, second) = (digits(11, 2)?, digits(14, 2)?, digits(17, 2)?);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if year < 1970 || !(1..=length).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let millis = match rest {
        b"Z" => 0,
        [b'.', fraction @ .., b'Z'] if (1..=9).contains(&fraction.len()) && fraction.iter().all(u8::is_ascii_digit) => {
            (0..3).fold(0, |v, i| v * 10 + fraction.get(i).map_or(0, |b| i64::from(b - b'0')))
        }
        _ => return None,
    };
    // Days since 1970 of a year that begins in March, so that the day that leap years have more is its last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 719_469;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + millis)
}

/// An address; one of IPv4 mapped into IPv6 is the IPv4 address.
pub fn ip(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

fn cidr(text: &str) -> Option<Value<'static>> {
    let (net, bits) = text.split_once('/')?;
    let (net, bits) = (net.parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?);
    let most = if net.is_ipv4() { 32 } else { 128 };
    (bits <= most).then_some(Value::Cidr(net, bits))
}

fn from_list(raw: &str, ty: &Type) -> Result<Value<'static>, Unreadable> {
    let Type::List(element) = ty else { return Err(Unreadable) };
    let items: Vec<&serde_json::value::RawValue> = serde_json::from_str(raw).map_err(|_| Unreadable)?;
    let items: Result<Vec<Value<'static>>, Unreadable> =
        items.iter().map(|i| read(i.get(), element).map(Value::into_static)).collect();
    Ok(Value::List(items?.into()))
}

/// Latitude and longitude in degrees, from two raw numbers.
pub fn geo(lat: &str, lon: &str) -> Result<Value<'static>, Unreadable> {
    match (read(lat, &Type::Float)?, read(lon, &Type::Float)?) {
        (Value::Float(lat), Value::Float(lon)) if lat.abs() <= 90.0 && lon.abs() <= 180.0 => Ok(Value::Geo(lat, lon)),
        (Value::Missing, _) | (_, Value::Missing) => Ok(Value::Missing),
        _ => Err(Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, ty: Type, expected: Value<'_>) {
        assert_eq!(read(raw, &ty), Ok(expected), "{raw} as {ty}");
    }

    #[test]
    fn values_of_each_type() {
        check("12", Type::Int, Value::Int(12));
        check("12.0", Type::Int, Value::Int(12));
        check("\"12\"", Type::Int, Value::Int(12));
        check("12", Type::Float, Value::Float(12.0));
        check("0.10", Type::Decimal, Value::Decimal("0.10".parse().expect("a decimal")));
        check("4625", Type::String, Value::text("4625"));
        check("\"a\\u0041\"", Type::String, Value::text("aA"));
        check("1700000000001", Type::Timestamp, Value::Timestamp(1_700_000_000_001));
        check("\"1970-01-01T00:00:01Z\"", Type::Timestamp, Value::Timestamp(1_000));
        check("\"1970-01-01T00:00:01.5\"", Type::Timestamp, Value::Timestamp(1_500));
        check("\"1970-01-01 00:00:02\"", Type::Timestamp, Value::Timestamp(2_000));
        check("\"::ffff:10.0.0.1\"", Type::Ip, Value::Ip("10.0.0.1".parse().expect("an address")));
        check("null", Type::Ip, Value::Missing);
        check("[1,2]", Type::List(Box::new(Type::Int)), Value::List(vec![Value::Int(1), Value::Int(2)].into()));
    }

    #[test]
    fn common_timestamps_as_any_other() {
        let in_full = |text: &str| text.parse::<jiff::Timestamp>().ok().map(|t| t.as_millisecond());
        // A step that is no whole number of days, so that all of the clock's hands move.
        for i in 0..60_000i64 {
            let at = jiff::Timestamp::from_millisecond(i * 4_111_222_333).expect("up to the year 9786");
            let text = at.to_string();
            assert_eq!(common_timestamp(text.as_bytes()), in_full(&text), "{text}");
            assert!(in_full(&text).is_some());
        }
        for text in [
            "2026-02-29T10:00:00Z",
            "2024-02-29T10:00:00Z",
            "2100-02-29T10:00:00Z",
            "2000-02-29T23:59:59.999999999Z",
            "2026-04-31T10:00:00Z",
            "2026-13-01T10:00:00Z",
            "2026-00-01T10:00:00Z",
            "2026-01-00T10:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T10:60:00Z",
            "2026-01-01T10:00:00.5Z",
            "2026-01-01T10:00:00.12Z",
            "2026-01-01T10:00:00.Z",
            "2026-01-01T10:00:00.1234567890Z",
            "2026-01-01T10:00:0xZ",
            "2O26-01-01T10:00:00Z",
        ] {
            assert_eq!(common_timestamp(text.as_bytes()), in_full(text), "{text}");
        }
        // A leap second, a year before 1970 and a zone are left to the library.
        for text in
            ["2016-12-31T23:59:60Z", "1969-12-31T23:59:59.5Z", "2026-01-01T10:00:00+01:00", "2026-01-01 10:00:00Z"]
        {
            assert_eq!(common_timestamp(text.as_bytes()), None, "{text}");
            assert_eq!(timestamp(text), in_full(text), "{text}");
        }
    }

    #[test]
    fn what_is_not_of_the_type_is_unreadable() {
        for (raw, ty) in [("1.5", Type::Int), ("\"-\"", Type::Ip), ("{}", Type::String), ("\"x\"", Type::Timestamp)] {
            assert_eq!(read(raw, &ty), Err(Unreadable), "{raw} as {ty}");
        }
        assert_eq!(geo("91", "0"), Err(Unreadable));
    }
}
