//! Plain values as bytes: little-endian base-128 integers, lengths before contents.
//!
//! A reader checks everything: a length that does not fit what is left, a tag that it does not know and an index that names
//! nothing are a [`Corrupt`], never a panic.

use std::net::IpAddr;

use lapwing_dsl::value::Value;
use rust_decimal::Decimal;

use super::{FORMAT_VERSION, OLDEST_VERSION};
use crate::batch::Origin;

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt(pub &'static str);

impl std::fmt::Display for Corrupt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the state is damaged: {}", self.0)
    }
}

impl std::error::Error for Corrupt {}

/// Writes values.
#[derive(Debug, Default)]
pub struct Writer {
    /// What was written.
    pub bytes: Vec<u8>,
}

impl Writer {
    /// A number.
    pub fn u64(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.bytes.push(v as u8 | 0x80);
            v >>= 7;
        }
        self.bytes.push(v as u8);
    }

    /// A number that may be negative.
    pub fn i64(&mut self, v: i64) {
        self.u64((v << 1 ^ v >> 63) as u64);
    }

    /// A count.
    pub fn len(&mut self, v: usize) {
        self.u64(v as u64);
    }

    /// A truth.
    pub fn bool(&mut self, v: bool) {
        self.bytes.push(v as u8);
    }

    /// Bytes, with their number.
    pub fn slice(&mut self, v: &[u8]) {
        self.len(v.len());
        self.bytes.extend_from_slice(v);
    }

    /// Text.
    pub fn str(&mut self, v: &str) {
        self.slice(v.as_bytes());
    }

    /// Something that may be absent.
    pub fn option<T>(&mut self, v: Option<T>, f: impl FnOnce(&mut Self, T)) {
        self.bool(v.is_some());
        if let Some(v) = v {
            f(self, v);
        }
    }

    /// Several of a kind.
    pub fn list<T>(&mut self, items: impl ExactSizeIterator<Item = T>, mut f: impl FnMut(&mut Self, T)) {
        self.len(items.len());
        items.for_each(|item| f(self, item));
    }

    /// An event's origin.
    pub fn origin(&mut self, v: Origin) {
        self.u64(v.source.into());
        self.u64(v.partition.into());
        self.u64(v.offset);
    }

    /// A value.
    pub fn value(&mut self, v: &Value<'_>) {
        match v {
            Value::Missing => self.bytes.push(0),
            Value::Bool(v) => self.bytes.extend([1, *v as u8]),
            Value::Int(v) => self.tagged(2, *v),
            Value::Float(v) => {
                self.bytes.push(3);
                self.bytes.extend(v.to_bits().to_le_bytes());
            }
            Value::Decimal(v) => {
                self.bytes.push(4);
                self.bytes.extend(v.serialize());
            }
            Value::Text(v) => {
                self.bytes.push(5);
                self.str(v);
            }
            Value::Timestamp(v) => self.tagged(6, *v),
            Value::Duration(v) => self.tagged(7, *v),
            Value::Ip(v) => {
                self.bytes.push(8);
                self.ip(v);
            }
            Value::Cidr(v, n) => {
                self.bytes.push(9);
                self.ip(v);
                self.bytes.push(*n);
            }
            Value::Geo(a, b) => {
                self.bytes.push(10);
                self.bytes.extend(a.to_bits().to_le_bytes());
                self.bytes.extend(b.to_bits().to_le_bytes());
            }
            Value::List(items) => {
                self.bytes.push(11);
                self.list(items.iter(), |w, v| w.value(v));
            }
        }
    }

    fn tagged(&mut self, tag: u8, v: i64) {
        self.bytes.push(tag);
        self.i64(v);
    }

    fn ip(&mut self, v: &IpAddr) {
        match v {
            IpAddr::V4(v) => self.slice(&v.octets()),
            IpAddr::V6(v) => self.slice(&v.octets()),
        }
    }
}

/// The version, if this engine can read it.
pub fn known(version: u16) -> Result<u16, Corrupt> {
    match version {
        OLDEST_VERSION..=FORMAT_VERSION => Ok(version),
        ..OLDEST_VERSION => Err(Corrupt("its format is older than this engine can read")),
        _ => Err(Corrupt("its format is newer than this engine: use the version that wrote it, or a later one")),
    }
}

/// Reads values.
#[derive(Clone, Debug)]
pub struct Reader<'b> {
    bytes: &'b [u8],
    version: u16,
}

impl<'b> Reader<'b> {
    /// Of these bytes, of the present version of the format.
    pub fn new(bytes: &'b [u8]) -> Self {
        Reader { bytes, version: FORMAT_VERSION }
    }

    /// Of bytes of another version.
    pub fn of_version(bytes: &'b [u8], version: u16) -> Self {
        Reader { bytes, version }
    }

    /// Of bytes that begin with the version of their format, which has to be a known one.
    pub fn versioned(bytes: &'b [u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new(bytes);
        reader.version = known(reader.u16()?)?;
        Ok(reader)
    }

    /// The version of the format that is read.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Everything must have been read.
    pub fn end(&self) -> Result<(), Corrupt> {
        if self.is_empty() { Ok(()) } else { Err(Corrupt("bytes are left over")) }
    }

    /// So many bytes.
    pub fn take(&mut self, n: usize) -> Result<&'b [u8], Corrupt> {
        if n > self.bytes.len() {
            return Err(Corrupt("it ends too early"));
        }
        let (head, tail) = self.bytes.split_at(n);
        self.bytes = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        self.take(N)?.try_into().map_err(|_| Corrupt("it ends too early"))
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Corrupt> {
        Ok(self.array::<1>()?[0])
    }

    /// A number.
    pub fn u64(&mut self) -> Result<u64, Corrupt> {
        let mut v = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                break;
            }
            v |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(v);
            }
        }
        Err(Corrupt("a number is too large"))
    }

    /// A number of at most 32 bits.
    pub fn u32(&mut self) -> Result<u32, Corrupt> {
        u32::try_from(self.u64()?).map_err(|_| Corrupt("a number is too large"))
    }

    /// A number of at most 16 bits.
    pub fn u16(&mut self) -> Result<u16, Corrupt> {
        u16::try_from(self.u64()?).map_err(|_| Corrupt("a number is too large"))
    }

    /// A number that may be negative.
    pub fn i64(&mut self) -> Result<i64, Corrupt> {
        let v = self.u64()?;
        Ok((v >> 1) as i64 ^ -((v & 1) as i64))
    }

    /// A count of things of at least one byte each.
    pub fn len(&mut self) -> Result<usize, Corrupt> {
        let n = self.u64()?;
        if n > self.bytes.len() as u64 { Err(Corrupt("a count is larger than what is left")) } else { Ok(n as usize) }
    }

    /// A truth.
    pub fn bool(&mut self) -> Result<bool, Corrupt> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Corrupt("a truth is neither 0 nor 1")),
        }
    }

    /// Bytes, after their number.
    pub fn slice(&mut self) -> Result<&'b [u8], Corrupt> {
        let n = self.len()?;
        self.take(n)
    }

    /// Text.
    pub fn str(&mut self) -> Result<&'b str, Corrupt> {
        std::str::from_utf8(self.slice()?).map_err(|_| Corrupt("a text is not UTF-8"))
    }

    /// Something that may be absent.
    pub fn option<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, Corrupt>) -> Result<Option<T>, Corrupt> {
        if self.bool()? { f(self).map(Some) } else { Ok(None) }
    }

    /// Several of a kind.
    pub fn list<T>(&mut self, mut f: impl FnMut(&mut Self) -> Result<T, Corrupt>) -> Result<Vec<T>, Corrupt> {
        let n = self.len()?;
        let mut items = Vec::new();
        for _ in 0..n {
            items.push(f(self)?);
        }
        Ok(items)
    }

    /// An event's origin.
    pub fn origin(&mut self) -> Result<Origin, Corrupt> {
        Ok(Origin { source: self.u16()?, partition: self.u16()?, offset: self.u64()? })
    }

    /// A value.
    pub fn value(&mut self) -> Result<Value<'static>, Corrupt> {
        self.value_within(8)
    }

    /// A value; a text stays where it stands.
    pub fn value_here(&mut self) -> Result<Value<'b>, Corrupt> {
        match self.bytes {
            [5, rest @ ..] => {
                self.bytes = rest;
                self.str().map(|text| Value::Text(text.into()))
            }
            _ => self.value(),
        }
    }

    fn value_within(&mut self, depth: u8) -> Result<Value<'static>, Corrupt> {
        Ok(match self.u8()? {
            0 => Value::Missing,
            1 => Value::Bool(self.bool()?),
            2 => Value::Int(self.i64()?),
            3 => Value::Float(self.f64()?),
            4 => Value::Decimal(self.decimal()?),
            5 => Value::text(self.str()?.to_owned()),
            6 => Value::Timestamp(self.i64()?),
            7 => Value::Duration(self.i64()?),
            8 => Value::Ip(self.ip()?),
            9 => Value::Cidr(self.ip()?, self.u8()?),
            10 => Value::Geo(self.f64()?, self.f64()?),
            11 if depth > 0 => Value::List(self.list(|r| r.value_within(depth - 1))?.into()),
            _ => return Err(Corrupt("a value of an unknown kind")),
        })
    }

    fn f64(&mut self) -> Result<f64, Corrupt> {
        Ok(f64::from_bits(u64::from_le_bytes(self.array()?)))
    }

    fn decimal(&mut self) -> Result<Decimal, Corrupt> {
        let bytes: [u8; 16] = self.array()?;
        let value = Decimal::deserialize(bytes);
        if value.scale() > 28 || value.serialize() != bytes { Err(Corrupt("a decimal is none")) } else { Ok(value) }
    }

    fn ip(&mut self) -> Result<IpAddr, Corrupt> {
        let bytes = self.slice()?;
        if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
            return Ok(IpAddr::from(v4));
        }
        <[u8; 16]>::try_from(bytes).map(IpAddr::from).map_err(|_| Corrupt("an address has neither 4 nor 16 bytes"))
    }
}
