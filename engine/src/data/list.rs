//! A list: values that an event's value is on, or is not.
//!
//! A list of networks holds an address where one of its networks does. Networks of one length are found as values are: an address is
//! cut to each length that the list has, so that a look-up costs as many probes as there are lengths. Where there are many networks, what the
//! lowest layer holds of IPv4 is laid out as ranges beside it (`ranges`): then only what has changed since is probed for, which is little.

use lapwing_dsl::value::{Type, Value};
use smallvec::SmallVec;
use std::net::IpAddr;
use std::sync::Arc;

use super::layers::{Full, Layer, Layers};
use super::ranges::{Network, Ranges};
use crate::Millis;
use crate::planted::{Bug, bug};

/// While an address is looked for in networks of one length, those of the next few lengths are asked for.
const ASKED_AHEAD: usize = 3;

/// A list.
#[derive(Clone, Debug)]
pub struct List {
    ty: Type,
    entries: Layers,
    lengths: Lengths,
    ranges: Option<Laid>,
}

/// From so many entries on the lowest layer of a list of networks is laid out as ranges.
const RANGES_FROM: usize = 4_096;

/// The lowest layer of a list of networks, laid out.
#[derive(Clone, Debug)]
struct Laid {
    of: Arc<Layer>,
    ranges: Arc<Ranges>,
    /// The lengths of the networks of IPv4 that have changed since.
    changed: u64,
}

impl Laid {
    fn new(of: &Arc<Layer>) -> Laid {
        let network = |(key, until): (&[u8], &[u8])| {
            let [a, b, c, d, length] = key.try_into().ok()?;
            let until = <[u8; 8]>::try_from(until).map_or(Millis::MAX, Millis::from_le_bytes);
            Some(Network { first: u32::from_be_bytes([a, b, c, d]), length, until })
        };
        let ranges = Arc::new(Ranges::new(of.entries().filter_map(network).collect()));
        Laid { of: of.clone(), ranges, changed: 0 }
    }
}

/// The lengths of the networks that a list has, or had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lengths {
    v4: u64,
    /// 0 to 127, and 128.
    v6: (u128, bool),
}

/// What changes a list, or fills it. The last word on a value counts.
#[derive(Clone, Debug)]
pub struct ListChange {
    ty: Type,
    layer: Layer,
    lengths: Lengths,
}

/// A value as bytes: equal values give equal bytes.
type Bytes = SmallVec<[u8; 24]>;

impl List {
    /// A list without an entry.
    pub fn new(ty: &Type) -> List {
        List { ty: ty.clone(), entries: Layers::default(), lengths: Lengths::default(), ranges: None }
    }

    /// The list with a change put over it. What has not changed is shared.
    pub fn with(&self, change: ListChange) -> Result<List, Full> {
        debug_assert_eq!(self.ty, change.ty, "a change is of the list's type");
        let (a, b) = (self.lengths, change.lengths);
        let lengths = Lengths { v4: a.v4 | b.v4, v6: (a.v6.0 | b.v6.0, a.v6.1 || b.v6.1) };
        let entries = self.entries.with(change.layer)?;
        let ranges = match (&self.ranges, entries.lowest().filter(|_| self.ty == Type::Cidr)) {
            (Some(laid), Some(lowest)) if Arc::ptr_eq(&laid.of, lowest) => {
                Some(Laid { changed: laid.changed | b.v4, ..laid.clone() })
            }
            // A lowest layer that is new is the only one.
            (_, lowest) => lowest.filter(|lowest| lowest.len() >= RANGES_FROM).map(Laid::new),
        };
        Ok(List { ty: self.ty.clone(), entries, lengths, ranges })
    }

    /// Whether a value is on the list at a time: an entry with an end counts up to that very time. A missing value is neither on it nor not.
    #[inline]
    pub fn holds(&self, value: &Value<'_>, now: Millis) -> Option<bool> {
        Some(match (value, &self.ty) {
            (Value::Missing, _) => return None,
            (Value::Ip(ip), Type::Cidr) => self.lies_in(*ip, now),
            (Value::Text(text), _) => self.has(text.as_bytes(), now),
            // No entry is one.
            (Value::Float(v), _) if v.is_nan() => return None,
            (value, _) => self.has(&bytes(value), now),
        })
    }

    /// The entries that hold at a time as keys of rules, ascending; a list of networks has none.
    pub fn keys(&self, now: Millis) -> Vec<Vec<u8>> {
        let live = self.entries.entries().filter(|(key, _)| self.has(key, now) && self.ty != Type::Cidr);
        let mut keys: Vec<Vec<u8>> = live
            .map(|(entry, _)| {
                let mut key = Vec::new();
                match (&self.ty, entry) {
                    (Type::String, text) => return crate::key::of_text(text),
                    (Type::Int | Type::Timestamp | Type::Duration, entry) => {
                        let number = entry.try_into().map_or(0, i64::from_le_bytes);
                        crate::key::push(&mut key, &Value::Int(number), false);
                    }
                    (Type::Ip, entry) => {
                        let v4 = <[u8; 4]>::try_from(entry).map(IpAddr::from);
                        let ip = v4.or_else(|_| <[u8; 16]>::try_from(entry).map(IpAddr::from));
                        crate::key::push(&mut key, &ip.map_or(Value::Missing, Value::Ip), false);
                    }
                    (_, entry) => return entry.to_vec(),
                }
                key
            })
            .collect();
        keys.sort_unstable();
        keys
    }

    #[inline]
    fn has(&self, key: &[u8], now: Millis) -> bool {
        self.entries.get(key).is_some_and(|until| match <[u8; 8]>::try_from(until) {
            Ok(until) => now <= Millis::from_le_bytes(until) - Millis::from(bug(Bug::EntryEnd)),
            Err(_) => true,
        })
    }

    fn lies_in(&self, ip: IpAddr, now: Millis) -> bool {
        if let (IpAddr::V4(v4), Some(laid)) = (ip, &self.ranges) {
            let mut changed = (0..=32).filter(|n| laid.changed >> n & 1 == 1);
            if !changed.any(|n| self.entries.has_changed(&network(ip, n))) {
                return laid.ranges.hold(v4, now);
            }
        }
        let (some, whole) = self.lengths.v6;
        let has_length = |n: &u8| match ip {
            IpAddr::V4(_) => self.lengths.v4 >> n & 1 == 1,
            IpAddr::V6(_) => {
                if *n == 128 {
                    whole
                } else {
                    some >> n & 1 == 1
                }
            }
        };
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        let networks = || (0..=longest).rev().filter(has_length).map(|n| network(ip, n));
        let mut ahead = networks();
        ahead.by_ref().take(ASKED_AHEAD).for_each(|network| self.entries.ask_for(&network));
        networks().any(|network| {
            ahead.next().iter().for_each(|network| self.entries.ask_for(network));
            self.has(&network, now)
        })
    }
}

impl ListChange {
    /// Nothing yet, of a list of this type, with room for so many entries of so many bytes in all.
    pub fn with_capacity(ty: &Type, entries: usize, bytes: usize) -> ListChange {
        let lengths = Lengths::default();
        ListChange { ty: ty.clone(), layer: Layer::with_capacity(entries, bytes), lengths }
    }

    /// Nothing yet, of a list of this type.
    pub fn new(ty: &Type) -> ListChange {
        ListChange::with_capacity(ty, 0, 0)
    }

    /// Puts a value on the list, if given up to a time. In a list of networks an address is the network of itself.
    pub fn add(&mut self, value: &Value<'_>, until: Option<Millis>) -> Result<(), Full> {
        let until = until.map(Millis::to_le_bytes);
        let until = until.as_ref().map_or(&[][..], |bytes| &bytes[..]);
        self.set(value, Some(until))
    }

    /// Takes a value off the list.
    pub fn remove(&mut self, value: &Value<'_>) -> Result<(), Full> {
        self.set(value, None)
    }

    fn set(&mut self, value: &Value<'_>, until: Option<&[u8]>) -> Result<(), Full> {
        debug_assert!(!value.is_missing(), "an entry is never missing");
        match (value, &self.ty) {
            (Value::Text(text), _) => self.layer.set(text.as_bytes(), until)?,
            (Value::Ip(ip), Type::Cidr) => {
                let length = if ip.is_ipv4() { 32 } else { 128 };
                return self.set(&Value::Cidr(*ip, length), until);
            }
            (Value::Cidr(net, length), Type::Cidr) => {
                let (net, length) = unmapped(*net, *length);
                match net {
                    IpAddr::V4(_) => self.lengths.v4 |= 1 << length,
                    IpAddr::V6(_) if length == 128 => self.lengths.v6.1 = true,
                    IpAddr::V6(_) => self.lengths.v6.0 |= 1 << length,
                }
                self.layer.set(&network(net, length), until)?
            }
            (value, _) => self.layer.set(&bytes(value), until)?,
        };
        Ok(())
    }

    /// How many different values it names.
    pub fn len(&self) -> usize {
        self.layer.len()
    }

    /// Whether it names no value.
    pub fn is_empty(&self) -> bool {
        self.layer.is_empty()
    }
}

/// A network of IPv4 mapped into IPv6 is the network of IPv4, as an address is.
fn unmapped(net: IpAddr, length: u8) -> (IpAddr, u8) {
    match net {
        IpAddr::V6(v6) if length >= 96 => match v6.to_ipv4_mapped() {
            Some(v4) => (IpAddr::V4(v4), length.min(128) - 96),
            None => (net, length.min(128)),
        },
        IpAddr::V6(_) => (net, length.min(128)),
        IpAddr::V4(_) => (net, length.min(32)),
    }
}

/// A network as bytes: what stands behind its length does not count.
#[inline]
fn network(net: IpAddr, length: u8) -> Bytes {
    let mut bytes = Bytes::new();
    match net {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            bytes.extend_from_slice(&(u32::from(v4) & mask).to_be_bytes());
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            bytes.extend_from_slice(&(u128::from(v6) & mask).to_be_bytes());
        }
    }
    bytes.push(length);
    bytes
}

/// A value as bytes; text is itself.
#[inline]
fn bytes(value: &Value<'_>) -> Bytes {
    match value {
        Value::Int(v) | Value::Timestamp(v) | Value::Duration(v) => SmallVec::from_slice(&v.to_le_bytes()),
        Value::Ip(IpAddr::V4(v4)) => SmallVec::from_slice(&v4.octets()),
        Value::Ip(IpAddr::V6(v6)) => SmallVec::from_slice(&v6.octets()),
        other => {
            let mut bytes = Vec::new();
            crate::key::push(&mut bytes, other, true);
            Bytes::from_vec(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Value<'static> {
        Value::Ip(text.parse().expect("an address"))
    }

    fn net(text: &str) -> Value<'static> {
        let (net, length) = text.split_once('/').expect("a network");
        Value::Cidr(net.parse().expect("an address"), length.parse().expect("a length"))
    }

    fn list(ty: Type, entries: &[(Value<'static>, Option<Millis>)]) -> List {
        let mut change = ListChange::new(&ty);
        entries.iter().for_each(|(value, until)| change.add(value, *until).expect("a few entries"));
        List::new(&ty).with(change).expect("a few entries")
    }

    fn check(list: &List, value: Value<'_>, now: Millis, expected: Option<bool>) {
        assert_eq!(list.holds(&value, now), expected, "{value:?} at {now}");
    }

    #[test]
    fn an_entry_counts_up_to_its_end() {
        let texts = list(Type::String, &[(Value::text("a"), None), (Value::text("b"), Some(10))]);
        check(&texts, Value::text("a"), 1_000, Some(true));
        check(&texts, Value::text("b"), 10, Some(true));
        check(&texts, Value::text("b"), 11, Some(false));
        check(&texts, Value::text("c"), 0, Some(false));
        check(&texts, Value::Missing, 0, None);
        let mut change = ListChange::new(&Type::String);
        change.remove(&Value::text("a")).expect("room");
        change.add(&Value::text("b"), None).expect("room");
        let changed = texts.with(change).expect("room");
        check(&changed, Value::text("a"), 0, Some(false));
        check(&changed, Value::text("b"), 11, Some(true));
    }

    #[test]
    fn numbers_are_compared_by_value() {
        let decimal = |text: &str| Value::Decimal(text.parse().expect("a decimal"));
        check(&list(Type::Decimal, &[(decimal("1.50"), None)]), decimal("1.5"), 0, Some(true));
        let floats = list(Type::Float, &[(Value::Float(0.0), None)]);
        check(&floats, Value::Float(-0.0), 0, Some(true));
        check(&floats, Value::Float(f64::NAN), 0, None);
        check(&list(Type::Int, &[(Value::Int(-7), None)]), Value::Int(-7), 0, Some(true));
    }

    #[test]
    fn addresses_lie_in_networks() {
        let entries = [
            (net("10.0.0.0/8"), Some(5)),
            // What stands behind the length does not count.
            (net("10.1.2.3/16"), None),
            (ip("192.0.2.7"), None),
            (net("2001:db8::/32"), None),
            (ip("2001:db9::1"), None),
            (net("::ffff:198.51.100.0/120"), None),
        ];
        let list = list(Type::Cidr, &entries);
        for (address, now, expected) in [
            ("10.9.9.9", 5, true),
            ("10.9.9.9", 6, false),
            ("10.1.9.9", 6, true),
            ("192.0.2.7", 0, true),
            ("192.0.2.8", 0, false),
            ("2001:db8:ffff::1", 0, true),
            ("2001:db9::1", 0, true),
            ("2001:db9::2", 0, false),
            ("198.51.100.200", 0, true),
            ("198.51.101.0", 0, false),
        ] {
            check(&list, ip(address), now, Some(expected));
        }
        let all = self::list(Type::Cidr, &[(net("0.0.0.0/0"), None)]);
        check(&all, ip("203.0.113.9"), 0, Some(true));
        check(&all, ip("::1"), 0, Some(false));
    }

    /// Many networks, and changes of them, against a list that is asked length by length.
    #[test]
    fn many_networks_hold_what_a_few_would() {
        let mut seed = 11u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let mut many = List::new(&Type::Cidr);
        for round in 0..200 {
            let mut change = ListChange::new(&Type::Cidr);
            for _ in 0..if round == 0 { 3 * RANGES_FROM as u64 } else { random(60) } {
                let ip = std::net::Ipv4Addr::from(0x0a00_0000 + random(1 << 16) as u32);
                let value = Value::Cidr(ip.into(), 12 + random(21) as u8);
                let until = (random(3) == 0).then(|| random(4) as Millis);
                match random(3) {
                    0 if round > 0 => change.remove(&value).expect("room"),
                    _ => change.add(&value, until).expect("room"),
                }
            }
            many = many.with(change).expect("room");
            assert!(many.ranges.is_some());
            let asked = List { ranges: None, ..many.clone() };
            for _ in 0..300 {
                let ip = Value::Ip(std::net::Ipv4Addr::from(0x09ff_f000 + random(1 << 17) as u32).into());
                let now = random(5) as Millis;
                assert_eq!(many.holds(&ip, now), asked.holds(&ip, now), "{ip:?} at {now} in round {round}");
            }
        }
    }
}
