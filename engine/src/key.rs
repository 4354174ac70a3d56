//! Keys as bytes: equal values give equal bytes, and bytes compare as the values do.
//!
//! Each part is a tag and its value; a missing part (only where the rule says `by x?`) comes before all others. Numbers
//! are big-endian with the sign bit turned; text ends in two zero bytes, and a zero byte within is escaped.

use std::net::IpAddr;

use rust_decimal::Decimal;

use lapwing_dsl::value::Value;

const MISSING: u8 = 0;
const PRESENT: u8 = 1;

/// Appends a part. `false` where the value is missing and may not be.
pub fn push(bytes: &mut Vec<u8>, value: &Value<'_>, optional: bool) -> bool {
    match value {
        Value::Missing => {
            bytes.push(MISSING);
            return optional;
        }
        Value::Bool(v) => bytes.extend([PRESENT, *v as u8]),
        Value::Int(v) | Value::Timestamp(v) | Value::Duration(v) => {
            bytes.push(PRESENT);
            bytes.extend(ordered(*v));
        }
        Value::Float(v) => {
            bytes.push(PRESENT);
            bytes.extend(ordered_float(*v));
        }
        Value::Decimal(v) => {
            bytes.push(PRESENT);
            bytes.extend(ordered_float(f64::try_from(*v).unwrap_or(0.0)));
            push_text(bytes, &v.normalize().to_string());
        }
        Value::Text(v) => {
            bytes.push(PRESENT);
            push_text(bytes, v);
        }
        Value::Ip(v) => {
            bytes.push(PRESENT);
            push_ip(bytes, v);
        }
        Value::Cidr(v, n) => {
            bytes.push(PRESENT);
            push_ip(bytes, v);
            bytes.push(*n);
        }
        Value::Geo(a, b) => {
            bytes.push(PRESENT);
            bytes.extend(ordered_float(*a));
            bytes.extend(ordered_float(*b));
        }
        Value::List(v) => {
            for part in v.iter() {
                push(bytes, part, true);
            }
            bytes.push(MISSING);
        }
    }
    true
}

/// The key of one text, given its bytes.
pub fn of_text(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 3);
    push(&mut bytes, &Value::Text(String::from_utf8_lossy(text)), false);
    bytes
}

fn ordered(v: i64) -> [u8; 8] {
    (v as u64 ^ (1 << 63)).to_be_bytes()
}

fn ordered_float(v: f64) -> [u8; 8] {
    // Both zeros are one key.
    let bits = (if v == 0.0 { 0.0 } else { v }).to_bits();
    (if bits >> 63 == 1 { !bits } else { bits ^ (1 << 63) }).to_be_bytes()
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    for b in text.bytes() {
        bytes.push(b);
        if b == 0 {
            bytes.push(0xff);
        }
    }
    bytes.extend([0, 0]);
}

fn push_ip(bytes: &mut Vec<u8>, ip: &IpAddr) {
    match ip {
        IpAddr::V4(v) => {
            bytes.push(4);
            bytes.extend(v.octets());
        }
        IpAddr::V6(v) => {
            bytes.push(6);
            bytes.extend(v.octets());
        }
    }
}

/// Reads the parts of a key back, given their types.
pub fn decode(mut bytes: &[u8], types: &[lapwing_dsl::value::Type]) -> Vec<Value<'static>> {
    types.iter().map(|ty| take(&mut bytes, ty)).collect()
}

fn take(bytes: &mut &[u8], ty: &lapwing_dsl::value::Type) -> Value<'static> {
    use lapwing_dsl::value::Type;
    if take_bytes(bytes, 1) != [PRESENT] {
        return Value::Missing;
    }
    match ty {
        Type::Bool => Value::Bool(take_bytes(bytes, 1) == [1]),
        Type::Int => Value::Int(take_int(bytes)),
        Type::Timestamp => Value::Timestamp(take_int(bytes)),
        Type::Duration => Value::Duration(take_int(bytes)),
        Type::Float => Value::Float(take_float(bytes)),
        Type::Decimal => {
            take_float(bytes);
            Value::Decimal(take_text(bytes).parse::<Decimal>().unwrap_or_default())
        }
        Type::String => Value::text(take_text(bytes)),
        Type::Ip => Value::Ip(take_ip(bytes)),
        Type::Cidr => {
            let ip = take_ip(bytes);
            Value::Cidr(ip, take_bytes(bytes, 1).first().copied().unwrap_or(0))
        }
        Type::Geo => Value::Geo(take_float(bytes), take_float(bytes)),
        // A list is no key: the check refuses it.
        Type::List(_) => Value::Missing,
    }
}

fn take_bytes<'b>(bytes: &mut &'b [u8], n: usize) -> &'b [u8] {
    let (head, tail) = bytes.split_at(n.min(bytes.len()));
    *bytes = tail;
    head
}

fn take_int(bytes: &mut &[u8]) -> i64 {
    let raw = take_bytes(bytes, 8).try_into().map_or(0, u64::from_be_bytes);
    (raw ^ (1 << 63)) as i64
}

fn take_float(bytes: &mut &[u8]) -> f64 {
    let raw = take_bytes(bytes, 8).try_into().map_or(0, u64::from_be_bytes);
    f64::from_bits(if raw >> 63 == 1 { raw ^ (1 << 63) } else { !raw })
}

fn take_text(bytes: &mut &[u8]) -> String {
    let mut text = Vec::new();
    loop {
        match take_bytes(bytes, 1) {
            [0] => {
                if take_bytes(bytes, 1) != [0xff] {
                    break;
                }
                text.push(0);
            }
            [b] => text.push(*b),
            _ => break,
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn take_ip(bytes: &mut &[u8]) -> IpAddr {
    if take_bytes(bytes, 1) == [4] {
        IpAddr::from(<[u8; 4]>::try_from(take_bytes(bytes, 4)).unwrap_or_default())
    } else {
        IpAddr::from(<[u8; 16]>::try_from(take_bytes(bytes, 16)).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapwing_dsl::value::Type;

    fn bytes(value: Value<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        assert!(push(&mut bytes, &value, true));
        bytes
    }

    fn check_ascending(values: &[Value<'static>], ty: Type) {
        for pair in values.windows(2) {
            assert!(bytes(pair[0].clone()) < bytes(pair[1].clone()), "{pair:?}");
        }
        for value in values {
            assert_eq!(decode(&bytes(value.clone()), std::slice::from_ref(&ty)).first(), Some(value));
        }
    }

    #[test]
    fn bytes_order_as_values() {
        let ints = [i64::MIN, -5, -1, 0, 1, 7, i64::MAX].map(Value::Int);
        check_ascending(&ints, Type::Int);
        let floats = [f64::NEG_INFINITY, -2.5, -0.1, 0.0, 0.1, 1e300].map(Value::Float);
        check_ascending(&floats, Type::Float);
        let texts = ["", "\0", "\0a", "a", "a\0", "aa", "b", "ä"].map(Value::text);
        check_ascending(&texts, Type::String);
        check_ascending(&[Value::Missing, Value::Bool(false), Value::Bool(true)], Type::Bool);
    }

    #[test]
    fn a_missing_part_is_refused_where_it_may_not_be() {
        assert!(!push(&mut Vec::new(), &Value::Missing, false));
    }
}
