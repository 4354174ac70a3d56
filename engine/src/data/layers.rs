//! A map from bytes to bytes that is never changed but made anew, and shares almost all with the one before.
//!
//! It is a stack of layers, each larger than the one above it: the newest layer that knows a key decides, be it that the key is gone. A
//! change is one more layer on top; where it is not much smaller than the one below, the two become one, and so on down. So a change of
//! a few entries of ten million costs those few, on the average times the logarithm of the size, and a look-up asks a handful of layers
//! of which all but the lowest are small. (O'Neil, Cheng, Gawlick, O'Neil: "The log-structured merge-tree", Acta Informatica 33, 1996, in
//! memory.)
//!
//! A layer keeps its keys and values one after the other in one piece of memory, and a hash table of their places. The hash is
//! the same in every process, and nothing ever walks the table: no order of hashing can reach a result.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::planted::{Bug, bug};

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
        let hash = hash(key);
        self.layers.iter().rev().find_map(|layer| layer.find(hash, key))?
    }

    /// The keys that it has, with their values, in no order.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.layers.iter().enumerate().flat_map(move |(i, layer)| {
            let above = &self.layers[i + 1..];
            layer.records().filter_map(move |record| {
                let hash = hash(record.key);
                let hidden = above.iter().any(|layer| layer.find(hash, record.key).is_some());
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

    /// How many layers there are.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }
}

/// Keys with values, and keys that are gone.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    /// For each key: its length, 0 or the length of its value and one more, the key, the value. The numbers are base-128.
    bytes: Vec<u8>,
    /// Where each key's last record begins in `bytes`.
    places: HashTable<u32>,
}

/// What stands at a place of a layer.
struct Record<'l> {
    key: &'l [u8],
    /// None where the key is gone.
    value: Option<&'l [u8]>,
    next: usize,
}

impl Layer {
    /// An empty layer with room for so many keys of so many bytes.
    pub fn with_capacity(keys: usize, bytes: usize) -> Layer {
        Layer { bytes: Vec::with_capacity(bytes), places: HashTable::with_capacity(keys) }
    }

    /// How many keys it knows.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it knows no key.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Gives a key a value, or says that it is gone. The last word on a key counts. Returns whether the key is new to the layer.
    pub fn set(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<bool, Full> {
        if value.is_none() && bug(Bug::Gone) {
            return Ok(false);
        }
        let longest = 20 + key.len() + value.map_or(0, <[u8]>::len);
        if self.bytes.len() + longest > LAYER_BYTES_MAX {
            return Err(Full);
        }
        let place = self.bytes.len() as u32;
        push_number(&mut self.bytes, key.len());
        push_number(&mut self.bytes, value.map_or(0, |v| v.len() + 1));
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        let bytes = &self.bytes;
        let same = |at: &u32| record(bytes, *at as usize).key == key;
        Ok(match self.places.entry(hash(key), same, |at| hash(record(bytes, *at as usize).key)) {
            Entry::Occupied(mut known) => {
                *known.get_mut() = place;
                false
            }
            Entry::Vacant(free) => {
                free.insert(place);
                true
            }
        })
    }

    /// The inner option is none where the key is gone, the outer where the layer does not know it.
    #[inline]
    fn find(&self, hash: u64, key: &[u8]) -> Option<Option<&[u8]>> {
        let place = self.places.find(hash, |at| record(&self.bytes, *at as usize).key == key)?;
        Some(record(&self.bytes, *place as usize).value)
    }

    /// Both as one, what stands above before what stands below. At the bottom what is gone is forgotten.
    fn merged(below: &Layer, above: &Layer, bottom: bool) -> Result<Layer, Full> {
        let mut both = Layer::with_capacity(below.len() + above.len(), below.bytes.len() + above.bytes.len());
        let hidden = |key: &[u8]| above.find(hash(key), key).is_some();
        for own in below.records().filter(|own| !hidden(own.key)).chain(above.records()) {
            if !(bottom && own.value.is_none()) {
                both.set(own.key, own.value)?;
            }
        }
        Ok(both)
    }

    /// What it knows, in the order in which it was told; of a key told several times the last.
    fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < self.bytes.len() {
                let place = at as u32;
                let own = record(&self.bytes, at);
                at = own.next;
                if self.places.find(hash(own.key), |other| *other == place).is_some() {
                    return Some(own);
                }
            }
            None
        })
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

#[inline]
fn record(bytes: &[u8], mut at: usize) -> Record<'_> {
    let length = number(bytes, &mut at);
    let value = number(bytes, &mut at);
    let key = &bytes[at..at + length];
    let from = at + length;
    let next = from + value.saturating_sub(1);
    Record { key, value: (value > 0).then(|| &bytes[from..next]), next }
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
