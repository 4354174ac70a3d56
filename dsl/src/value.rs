//! Types and values of the language.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;

use rust_decimal::Decimal;
use serde::Serialize;

/// The type of an expression or field. Whether a value may be missing is not part of the type: any may.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the language's own")]
pub enum Type {
    Bool,
    Int,
    Float,
    Decimal,
    String,
    Timestamp,
    Duration,
    Ip,
    Cidr,
    Geo,
    List(Box<Type>),
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::List(of) => write!(f, "list<{of}>"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Float => f.write_str("float"),
            Type::Decimal => f.write_str("decimal"),
            Type::String => f.write_str("string"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Duration => f.write_str("duration"),
            Type::Ip => f.write_str("ip"),
            Type::Cidr => f.write_str("cidr"),
            Type::Geo => f.write_str("geo"),
        }
    }
}

/// A value. Text and lists may be borrowed from the event they stand in.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Value<'a> {
    /// Nothing: SQL's null.
    #[default]
    Missing,
    /// `true`
    Bool(bool),
    /// `10`
    Int(i64),
    /// `0.5`
    Float(f64),
    /// Exact, 28 digits.
    Decimal(Decimal),
    /// `"text"`
    Text(Cow<'a, str>),
    /// Milliseconds since 1970.
    Timestamp(i64),
    /// Milliseconds.
    Duration(i64),
    /// An address.
    Ip(IpAddr),
    /// A network: address and prefix length.
    Cidr(IpAddr, u8),
    /// Latitude and longitude in degrees.
    Geo(f64, f64),
    /// Values of one type.
    List(Cow<'a, [Value<'static>]>),
}

impl<'a> Value<'a> {
    /// A float.
    #[inline]
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Value::Float(v) => Some(*v),
            _ => None,
        }
    }

    /// Whether there is none.
    pub fn is_missing(&self) -> bool {
        matches!(self, Value::Missing)
    }

    /// Whether it is missing or of this type.
    pub fn is_of(&self, ty: &Type) -> bool {
        match (self, ty) {
            (Value::Missing, _)
            | (Value::Bool(_), Type::Bool)
            | (Value::Int(_), Type::Int)
            | (Value::Float(_), Type::Float)
            | (Value::Decimal(_), Type::Decimal)
            | (Value::Text(_), Type::String)
            | (Value::Timestamp(_), Type::Timestamp)
            | (Value::Duration(_), Type::Duration)
            | (Value::Ip(_), Type::Ip)
            | (Value::Cidr(..), Type::Cidr)
            | (Value::Geo(..), Type::Geo) => true,
            (Value::List(items), Type::List(of)) => items.iter().all(|item| item.is_of(of)),
            _ => false,
        }
    }

    /// `Some` of a bool, `None` of a missing value: the three values of a condition.
    pub fn truth(&self) -> Option<bool> {
        if let Value::Bool(b) = self { Some(*b) } else { None }
    }

    /// The three-valued truth as a value.
    pub fn from_truth(truth: Option<bool>) -> Self {
        truth.map_or(Value::Missing, Value::Bool)
    }

    /// A copy that borrows nothing.
    pub fn into_static(self) -> Value<'static> {
        match self {
            Value::Missing => Value::Missing,
            Value::Bool(v) => Value::Bool(v),
            Value::Int(v) => Value::Int(v),
            Value::Float(v) => Value::Float(v),
            Value::Decimal(v) => Value::Decimal(v),
            Value::Text(v) => Value::Text(Cow::Owned(v.into_owned())),
            Value::Timestamp(v) => Value::Timestamp(v),
            Value::Duration(v) => Value::Duration(v),
            Value::Ip(v) => Value::Ip(v),
            Value::Cidr(v, n) => Value::Cidr(v, n),
            Value::Geo(a, b) => Value::Geo(a, b),
            Value::List(v) => Value::List(Cow::Owned(v.into_owned())),
        }
    }

    /// The same value, borrowed from this one.
    pub fn borrow(&self) -> Value<'_> {
        match self {
            Value::Missing => Value::Missing,
            Value::Bool(v) => Value::Bool(*v),
            Value::Int(v) => Value::Int(*v),
            Value::Float(v) => Value::Float(*v),
            Value::Decimal(v) => Value::Decimal(*v),
            Value::Text(v) => Value::Text(Cow::Borrowed(v)),
            Value::Timestamp(v) => Value::Timestamp(*v),
            Value::Duration(v) => Value::Duration(*v),
            Value::Ip(v) => Value::Ip(*v),
            Value::Cidr(v, n) => Value::Cidr(*v, *n),
            Value::Geo(a, b) => Value::Geo(*a, *b),
            Value::List(v) => Value::List(Cow::Borrowed(v)),
        }
    }

    /// A text.
    pub fn text(s: impl Into<Cow<'a, str>>) -> Self {
        Value::Text(s.into())
    }

    /// The order of two values of one type; `None` where either is missing, a float is not a number, or the
    /// types have no common order. An int meets a float or decimal as that.
    pub fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        use Value as V;
        match (self, other) {
            (V::Bool(a), V::Bool(b)) => Some(a.cmp(b)),
            (V::Int(a), V::Int(b)) => Some(a.cmp(b)),
            (V::Float(a), V::Float(b)) => a.partial_cmp(b),
            (V::Int(a), V::Float(b)) => (*a as f64).partial_cmp(b),
            (V::Float(a), V::Int(b)) => a.partial_cmp(&(*b as f64)),
            (V::Decimal(a), V::Decimal(b)) => Some(a.cmp(b)),
            (V::Int(a), V::Decimal(b)) => Some(Decimal::from(*a).cmp(b)),
            (V::Decimal(a), V::Int(b)) => Some(a.cmp(&Decimal::from(*b))),
            (V::Text(a), V::Text(b)) => Some(a.as_ref().cmp(b.as_ref())),
            (V::Timestamp(a), V::Timestamp(b)) | (V::Duration(a), V::Duration(b)) => Some(a.cmp(b)),
            (V::Ip(a), V::Ip(b)) => Some(a.cmp(b)),
            (V::Cidr(a, m), V::Cidr(b, n)) => Some((a, m).cmp(&(b, n))),
            (V::Geo(a, b), V::Geo(c, d)) => (a, b).partial_cmp(&(c, d)),
            (V::List(a), V::List(b)) => compare_lists(a, b),
            _ => None,
        }
    }
}

fn compare_lists(a: &[Value<'static>], b: &[Value<'static>]) -> Option<Ordering> {
    for (x, y) in a.iter().zip(b) {
        match x.compare(y)? {
            Ordering::Equal => {}
            other => return Some(other),
        }
    }
    Some(a.len().cmp(&b.len()))
}
