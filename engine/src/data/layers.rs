//! A map from bytes to bytes that is never changed but made anew, and shares almost all with the one before.
//!
//! It is a stack of layers, each larger than the one above it: the newest layer that knows a key decides, be it that the key is gone. A
//! change is one more layer on top; where it is not much smaller than the one below, the two become one, and so on down. So a change of
//! a few entries of ten million costs those few, on the average times the logarithm of the size, and a look-up asks a handful of layers
//! of which all but the lowest are small. (O'Neil, Cheng, Gawlick, O'Neil: "The log-structured merge-tree", Acta Informatica 33, 1996, in
//! memory.)
//!
//! A layer is a hash table of buckets of 64 bytes, one line of the cache, with four slots each. A key of at most 15 bytes that has no value stands
//! in its slot, so that looking it up costs one access to memory; all others stand one after the other in one piece of memory, and the slot
//! says where, with the key's hash. What finds its bucket full goes to the next. The hash is the same in every process, and the order of the
//! table reaches no result: what walks it puts what it finds in an order of its own, or into another table.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::planted::{Bug, bug};
use crate::state::prefetch;

/// A layer is at least this many times as large as the one above it.
const GROWTH: usize = 4;

/// The most bytes that the keys and values of one layer take: places are 32 bits.
pub const LAYER_BYTES_MAX: usize = u32::MAX as usize;

/// More keys and values than [`LAYER_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "its entries take more than {LAYER_BYTES_MAX} bytes, which is the limit")
    }
}

impl std::error::Error for Full {}

/// The hash of a key, the same everywhere.
#[inline]
fn hash(key: &[u8]) -> u64 {
    FixedState::with_seed(0x6c69_7374).hash_one(key)
}

/// The map.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// The lowest first.
    layers: Vec<Arc<Layer>>,
}

impl Layers {
    /// The value of a key.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let sought = Sought::new(key);
        self.layers.iter().rev().find_map(|layer| layer.find(&sought))?
    }

    /// Asks the memory for what a look-up of a key will look at first.
    #[inline]
    pub fn ask_for(&self, key: &[u8]) {
        if let Some(bucket) = self.layers.first().and_then(|layer| layer.buckets.get(layer.first(hash(key)))) {
            prefetch(bucket);
        }
    }

    /// The keys that it has, with their values, in no order.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.layers.iter().enumerate().flat_map(move |(i, layer)| {
            let above = &self.layers[i + 1..];
            layer.records().filter_map(move |record| {
                let sought = Sought::new(record.key);
                let hidden = above.iter().any(|layer| layer.find(&sought).is_some());
                (!hidden).then_some((record.key, record.value?))
            })
        })
    }

    /// The map with what a layer says put over it.
    pub fn with(&self, layer: Layer) -> Result<Layers, Full> {
        let mut layers = self.layers.clone();
        let mut top = Arc::new(layer);
        while let Some(below) = layers.last() {
            if below.len() >= GROWTH * top.len() {
                break;
            }
            top = Arc::new(Layer::merged(below, &top, layers.len() == 1)?);
            layers.pop();
        }
        if !top.is_empty() {
            layers.push(top);
        }
        Ok(Layers { layers })
    }

    /// The lowest layer, which is the largest.
    pub(super) fn lowest(&self) -> Option<&Arc<Layer>> {
        self.layers.first()
    }

    /// Whether a layer above the lowest says something of a key.
    #[inline]
    pub(super) fn has_changed(&self, key: &[u8]) -> bool {
        let above = self.layers.get(1..).unwrap_or_default();
        let sought = Sought::new(key);
        above.iter().any(|layer| layer.find(&sought).is_some())
    }

    /// How many layers there are.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }
}

/// Slots of a bucket.
const SLOTS: usize = 4;

/// Of so many slots of a table ...
const LOAD_OF: usize = 4;

/// ... at most so many are taken.
const LOAD: usize = 3;

/// A slot: how it is used in its first byte, then the key, or from the fifth byte on the place of its record (32 bits) and its hash (64).
type Slot = [u8; 16];

/// In the first byte: nothing. A key that stands in the slot has its length and one more there.
const EMPTY: u8 = 0;

/// In the first byte: the key stands elsewhere.
const ELSEWHERE: u8 = 0x7f;

/// In the first byte of a bucket, beside the others: a key had to go on to the next bucket.
const PASSED: u8 = 0x80;

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Bucket([Slot; SLOTS]);

impl Bucket {
    /// A slot as it was put there; the first one may say more.
    #[inline]
    fn slot(&self, at: usize) -> Slot {
        let mut slot = self.0[at];
        slot[0] &= !PASSED;
        slot
    }
}

/// Where the record of a key that stands elsewhere begins.
fn place_of(slot: &Slot) -> usize {
    u32::from_le_bytes([slot[4], slot[5], slot[6], slot[7]]) as usize
}

fn hash_of(slot: &Slot) -> u64 {
    (u128::from_le_bytes(*slot) >> 64) as u64
}

fn elsewhere(place: u32, hash: u64) -> Slot {
    (u128::from(ELSEWHERE) | u128::from(place) << 32 | u128::from(hash) << 64).to_le_bytes()
}

/// The slot of a key that stands in it.
fn inline(key: &[u8]) -> Option<Slot> {
    let mut slot = [0u8; 16];
    slot.get_mut(1..=key.len())?.copy_from_slice(key);
    slot[0] = key.len() as u8 + 1;
    Some(slot)
}

/// The key that stands in a slot.
fn key_in(slot: &Slot) -> &[u8] {
    &slot[1..usize::from(slot[0] & !PASSED)]
}

/// A key that is looked for.
struct Sought<'k> {
    key: &'k [u8],
    hash: u64,
    inline: Option<Slot>,
}

impl<'k> Sought<'k> {
    #[inline]
    fn new(key: &'k [u8]) -> Sought<'k> {
        Sought { key, hash: hash(key), inline: inline(key) }
    }
}

/// Keys with values, and keys that are gone.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    /// At least one slot is empty, or there is none.
    buckets: Vec<Bucket>,
    len: usize,
    /// For each key that stands in no slot: its length, 0 or the length of its value and one more, the key, the value. The numbers are base-128.
    bytes: Vec<u8>,
}

/// What a layer says of a key.
struct Record<'l> {
    key: &'l [u8],
    /// None where the key is gone.
    value: Option<&'l [u8]>,
}

impl Layer {
    /// An empty layer with room for so many keys, of so many bytes that stand in no slot.
    pub fn with_capacity(keys: usize, bytes: usize) -> Layer {
        let buckets = (keys * LOAD_OF).div_ceil(LOAD * SLOTS);
        Layer { buckets: vec![Bucket::default(); buckets], len: 0, bytes: Vec::with_capacity(bytes) }
    }

    /// How many keys it knows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it knows no key.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The keys that have a value, with it, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.records().filter_map(|record| Some((record.key, record.value?)))
    }

    /// Gives a key a value, or says that it is gone. The last word on a key counts. Returns whether the key is new to the layer.
    pub fn set(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<bool, Full> {
        if value.is_none() && bug(Bug::Gone) {
            return Ok(false);
        }
        if (self.len + 1) * LOAD_OF > self.buckets.len() * SLOTS * LOAD {
            self.grow();
        }
        let sought = Sought::new(key);
        let slot = match sought.inline.filter(|_| value.is_some_and(<[u8]>::is_empty)) {
            Some(slot) => slot,
            None => elsewhere(self.push(key, value)?, sought.hash),
        };
        let known = self.seek(&sought);
        match known {
            Some((bucket, at)) => self.put(bucket, at, slot),
            None => self.add(sought.hash, slot),
        }
        self.len += usize::from(known.is_none());
        Ok(known.is_none())
    }

    fn put(&mut self, bucket: usize, at: usize, slot: Slot) {
        let place = &mut self.buckets[bucket].0[at];
        let passed = place[0] & PASSED;
        *place = slot;
        place[0] |= passed;
    }

    /// Puts a key that is not there into the first empty slot from its bucket on. There is one.
    fn add(&mut self, hash: u64, slot: Slot) {
        let mut bucket = self.first(hash);
        while self.buckets[bucket].slot(SLOTS - 1)[0] != EMPTY {
            self.buckets[bucket].0[0][0] |= PASSED;
            bucket = self.next(bucket);
        }
        let free = (0..SLOTS).find(|at| self.buckets[bucket].slot(*at)[0] == EMPTY);
        self.put(bucket, free.expect("the last one is empty"), slot);
    }

    /// Appends the record of a key that stands in no slot.
    fn push(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<u32, Full> {
        let longest = 20 + key.len() + value.map_or(0, <[u8]>::len);
        if self.bytes.len() + longest > LAYER_BYTES_MAX {
            return Err(Full);
        }
        let place = self.bytes.len() as u32;
        push_number(&mut self.bytes, key.len());
        push_number(&mut self.bytes, value.map_or(0, |v| v.len() + 1));
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        Ok(place)
    }

    fn grow(&mut self) {
        let more = vec![Bucket::default(); (self.buckets.len() * 2).max(1)];
        let before = std::mem::replace(&mut self.buckets, more);
        for bucket in &before {
            for slot in (0..SLOTS).map(|at| bucket.slot(at)).filter(|slot| slot[0] != EMPTY) {
                self.add(if slot[0] == ELSEWHERE { hash_of(&slot) } else { hash(key_in(&slot)) }, slot);
            }
        }
    }

    /// The bucket of a hash (Lemire: "Fast random integer generation in an interval", 2019).
    #[inline]
    fn first(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.buckets.len() as u128) >> 64) as usize
    }

    #[inline]
    fn next(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() { 0 } else { bucket + 1 }
    }

    /// The slot where a key stands.
    #[inline]
    fn seek(&self, sought: &Sought<'_>) -> Option<(usize, usize)> {
        if self.buckets.is_empty() {
            return None;
        }
        let mut number = self.first(sought.hash);
        loop {
            let bucket = &self.buckets[number];
            // That a slot is empty is not asked: a bucket that no key had to pass is the last to look at.
            let inline = sought.inline.and_then(|inline| (0..SLOTS).find(|at| bucket.slot(*at) == inline));
            let stands = |at: &usize| {
                let slot = bucket.slot(*at);
                slot[0] == ELSEWHERE && hash_of(&slot) == sought.hash && self.record(&bucket.0[*at]).key == sought.key
            };
            if let Some(at) = inline.or_else(|| (0..SLOTS).find(stands)) {
                return Some((number, at));
            }
            if bucket.0[0][0] & PASSED == 0 {
                return None;
            }
            number = self.next(number);
        }
    }

    /// The inner option is none where the key is gone, the outer where the layer does not know it.
    #[inline]
    fn find(&self, sought: &Sought<'_>) -> Option<Option<&[u8]>> {
        let (bucket, at) = self.seek(sought)?;
        Some(self.record(&self.buckets[bucket].0[at]).value)
    }

    /// Both as one, what stands above before what stands below. At the bottom what is gone is forgotten.
    fn merged(below: &Layer, above: &Layer, bottom: bool) -> Result<Layer, Full> {
        let mut both = Layer::with_capacity(below.len() + above.len(), below.bytes.len() + above.bytes.len());
        let hidden = |own: &Record<'_>| above.find(&Sought::new(own.key)).is_some();
        for own in below.records().filter(|own| !hidden(own)).chain(above.records()) {
            if !(bottom && own.value.is_none()) {
                both.set(own.key, own.value)?;
            }
        }
        Ok(both)
    }

    /// What it knows, in no order.
    fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let slots = self.buckets.iter().flat_map(|bucket| &bucket.0);
        slots.filter(|slot| slot[0] & !PASSED != EMPTY).map(|slot| self.record(slot))
    }

    #[inline]
    fn record<'l>(&'l self, slot: &'l Slot) -> Record<'l> {
        if slot[0] & !PASSED != ELSEWHERE {
            return Record { key: key_in(slot), value: Some(&[]) };
        }
        let (bytes, mut at) = (&self.bytes, place_of(slot));
        let length = number(bytes, &mut at);
        let value = number(bytes, &mut at);
        let from = at + length;
        Record { key: &bytes[at..from], value: (value > 0).then(|| &bytes[from..from + value - 1]) }
    }
}

fn push_number(bytes: &mut Vec<u8>, mut v: usize) {
    while v >= 0x80 {
        bytes.push(v as u8 | 0x80);
        v >>= 7;
    }
    bytes.push(v as u8);
}

#[inline]
fn number(bytes: &[u8], at: &mut usize) -> usize {
    let (mut v, mut shift) = (0, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        v |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return v;
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn layer(entries: &[(Vec<u8>, Option<Vec<u8>>)]) -> Layer {
        let mut layer = Layer::default();
        for (key, value) in entries {
            layer.set(key, value.as_deref()).expect("a few entries");
        }
        layer
    }

    /// Random changes, some of single keys and some of many, against a plain map.
    #[test]
    fn changes_as_a_plain_map_has_them() {
        let mut seed = 7u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let mut layers = Layers::default();
        let mut plain: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut deepest = 0;
        for _ in 0..2_000 {
            let count = if random(50) == 0 { 300 } else { 1 + random(4) };
            let mut entries = Vec::new();
            for _ in 0..count {
                // Long keys and values have lengths of two bytes.
                let number = random(1_000);
                let key = format!("{number}{}", "k".repeat(if number % 17 == 0 { 200 } else { 0 })).into_bytes();
                let value = (random(3) > 0).then(|| vec![b'v'; random(200) as usize]);
                match &value {
                    Some(value) => drop(plain.insert(key.clone(), value.clone())),
                    None => drop(plain.remove(&key)),
                }
                entries.push((key, value));
            }
            layers = layers.with(layer(&entries)).expect("a few entries");
            deepest = deepest.max(layers.depth());
            for (key, _) in &entries {
                assert_eq!(layers.get(key), plain.get(key).map(Vec::as_slice));
            }
        }
        for number in 0..1_000 {
            for key in [format!("{number}"), format!("{number}{}", "k".repeat(200))] {
                let key = key.as_bytes();
                assert_eq!(layers.get(key), plain.get(key).map(Vec::as_slice));
            }
        }
        assert!((3..=7).contains(&deepest), "{deepest} layers");
    }

    #[test]
    fn what_has_gone_takes_no_memory() {
        let all: Vec<_> = (0..1_000u32).map(|i| (i.to_le_bytes().to_vec(), Some(Vec::new()))).collect();
        let none: Vec<_> = all.iter().map(|(key, _)| (key.clone(), None)).collect();
        let layers = Layers::default().with(layer(&all)).expect("a few entries");
        assert_eq!(layers.depth(), 1);
        assert_eq!(layers.with(layer(&none)).expect("a few entries").depth(), 0);
    }

    #[test]
    fn a_small_change_copies_little() {
        let all: Vec<_> = (0..100_000u32).map(|i| (i.to_le_bytes().to_vec(), Some(Vec::new()))).collect();
        let before = Layers::default().with(layer(&all)).expect("many entries");
        let mut now = before.clone();
        for i in 0..1_000u32 {
            now = now.with(layer(&[(i.to_le_bytes().to_vec(), None)])).expect("a few entries");
        }
        assert!(Arc::ptr_eq(&before.layers[0], &now.layers[0]), "the lowest layer is shared");
        assert_eq!(now.get(&999u32.to_le_bytes()), None);
        assert_eq!(before.get(&999u32.to_le_bytes()), Some(&[][..]));
    }
}
