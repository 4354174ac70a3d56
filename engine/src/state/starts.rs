//! Many runs of one rule for one key that differ only in the event they began with: 20 bytes each.
//!
//! Where the first event after such a start completes a match, and a match ends all runs that began before it, no start ever needs to be
//! moved: all wait for the same, end after the same time, and of those that an event completes only the oldest counts. So starts
//! stand in the order in which they came, in chunks; those whose time is over go from the front. Where the next event must equal its start in
//! one field, an index finds the oldest start by that field's value.

use std::collections::VecDeque;

use hashbrown::HashTable;
use lapwing_dsl::value::Value;

use super::values::{self, Kinds};
use crate::Millis;
use crate::batch::Origin;
use crate::slot::KeyHasher;

/// The most starts of a chunk.
const CHUNK: usize = 512;

/// A start, relative to its chunk.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
struct Packed {
    offset: u64,
    at: u32,
    sequence: u32,
    source: u16,
    partition: u16,
}

/// What of a start only some rules keep.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    kinds: Kinds,
    /// Where in its chunk's words the captured fields begin.
    words: u32,
    /// How many starts further on the next one with the same hash is; 0: there is none.
    next: u32,
}

#[derive(Clone, Debug)]
struct Chunk {
    /// Number of its first start, counted from the first start ever.
    first: u64,
    at: Millis,
    sequence: u64,
    starts: Vec<Packed>,
    kept: Vec<Kept>,
    words: Vec<u64>,
}

/// The starts with one hash: the numbers of the oldest and the newest.
#[derive(Clone, Copy, Debug)]
struct Place {
    hash: u64,
    oldest: u64,
    newest: u64,
}

/// A start.
#[derive(Clone, Debug, PartialEq)]
pub struct Start<'a> {
    /// Its time.
    pub at: Millis,
    /// Its number in processing order.
    pub sequence: u64,
    /// Where it came from.
    pub origin: Origin,
    /// Its captured fields.
    pub captured: Vec<Value<'a>>,
    /// The version of the rule it began under, where that is not the present one.
    pub version: Option<u32>,
}

/// Starts of one rule for one key.
#[derive(Clone, Debug)]
pub struct Starts {
    chunks: VecDeque<Chunk>,
    /// Number of the oldest start that is there.
    first: u64,
    /// Number of the next start.
    next: u64,
    /// How many fields are captured.
    captured: usize,
    /// The captured field by which starts are found.
    by: Option<usize>,
    places: HashTable<Place>,
    /// Starts with numbers below the first began under the second, a version that is not the present one; ascending.
    versions: Vec<(u64, u32)>,
    hasher: KeyHasher,
    bytes: Vec<u8>,
}

impl Starts {
    /// None yet. `captured` is the number of captured fields, `by` the one by which starts are found.
    pub fn new(captured: usize, by: Option<usize>, hasher: KeyHasher) -> Starts {
        let (chunks, places) = (VecDeque::new(), HashTable::new());
        Starts { chunks, first: 0, next: 0, captured, by, places, versions: Vec::new(), hasher, bytes: Vec::new() }
    }

    /// All go.
    pub fn clear(&mut self) {
        *self = Starts::new(self.captured, self.by, self.hasher);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        (self.next - self.first) as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.first == self.next
    }

    /// Time of the oldest.
    pub fn oldest_at(&self) -> Option<Millis> {
        let chunk = self.chunks.front()?;
        chunk.starts.get((self.first - chunk.first) as usize).map(|s| chunk.at + i64::from(s.at))
    }

    /// Time of the newest: an older one has no place behind it.
    pub fn newest_at(&self) -> Option<Millis> {
        let chunk = self.chunks.back()?;
        chunk.starts.last().map(|s| chunk.at + i64::from(s.at))
    }

    /// Adds a start, which is not older than those that are there.
    pub fn push<'v>(
        &mut self,
        at: Millis,
        sequence: u64,
        origin: Origin,
        captured: impl Iterator<Item = Value<'v>> + Clone,
    ) {
        debug_assert!(self.newest_at().is_none_or(|newest| newest <= at));
        let fits = |c: &Chunk| {
            c.starts.len() < CHUNK
                && u32::try_from(at.wrapping_sub(c.at)).is_ok()
                && u32::try_from(sequence - c.sequence).is_ok()
        };
        if !self.chunks.back().is_some_and(fits) {
            let capacity = if self.len() < CHUNK { 16 } else { CHUNK };
            let (starts, kept) = (Vec::with_capacity(capacity), Vec::new());
            self.chunks.push_back(Chunk { first: self.next, at, sequence, starts, kept, words: Vec::new() });
        }
        let number = self.next;
        let chunk = self.chunks.back_mut().expect("there is a chunk that has room");
        chunk.starts.push(Packed {
            offset: origin.offset,
            at: (at - chunk.at) as u32,
            sequence: (sequence - chunk.sequence) as u32,
            source: origin.source,
            partition: origin.partition,
        });
        self.next += 1;
        if self.captured == 0 {
            return;
        }
        let words = chunk.words.len() as u32;
        let kinds = values::pack(captured.clone(), &mut chunk.words);
        chunk.kept.push(Kept { kinds, words, next: 0 });
        let key = self.by.and_then(|by| captured.clone().nth(by));
        let Some(hash) = key.and_then(|value| self.hash(&value)) else { return };
        let same = |p: &Place| p.hash == hash;
        if let Some(place) = self.places.find_mut(hash, same) {
            let newest = std::mem::replace(&mut place.newest, number);
            let (chunk, i) = self.place_of(newest);
            self.chunks[chunk].kept[i].next = (number - newest) as u32;
        } else {
            self.places.insert_unique(hash, Place { hash, oldest: number, newest: number }, |p| p.hash);
        }
    }

    /// The rule has changed to another version, and its starts live on: these began under `version`.
    pub fn began_under(&mut self, version: u32) {
        if self.versions.last().is_none_or(|(until, _)| *until < self.next) && !self.is_empty() {
            self.versions.push((self.next, version));
        }
    }

    /// The hash of a value; none of a missing one, which equals nothing.
    fn hash(&mut self, value: &Value<'_>) -> Option<u64> {
        if value.is_missing() {
            return None;
        }
        self.bytes.clear();
        crate::key::push(&mut self.bytes, value, true);
        Some(self.hasher.hash(0x57a2_7500, &self.bytes))
    }

    fn place_of(&self, number: u64) -> (usize, usize) {
        let chunk = self.chunks.partition_point(|c| c.first <= number) - 1;
        (chunk, (number - self.chunks[chunk].first) as usize)
    }

    fn get(&self, number: u64) -> Start<'_> {
        let (chunk, i) = self.place_of(number);
        let chunk = &self.chunks[chunk];
        let start = chunk.starts[i];
        let kept = chunk.kept.get(i);
        let value = |k: &Kept, v| values::unpack(k.kinds, &chunk.words[k.words as usize..], v);
        Start {
            at: chunk.at + i64::from(start.at),
            sequence: chunk.sequence + u64::from(start.sequence),
            origin: Origin { source: start.source, partition: start.partition, offset: start.offset },
            captured: kept.map_or(Vec::new(), |k| (0..self.captured).map(|v| value(k, v)).collect()),
            version: self.versions.iter().find(|(until, _)| number < *until).map(|(_, version)| *version),
        }
    }

    /// Drops the oldest.
    pub fn drop_oldest(&mut self) {
        if self.is_empty() {
            return;
        }
        let (chunk, i) = self.place_of(self.first);
        self.forget_place(chunk, i);
        self.first += 1;
        if i + 1 == self.chunks[chunk].starts.len() {
            self.chunks.pop_front();
        }
    }

    /// Drops the starts of times before `from`.
    pub fn expire(&mut self, from: Millis) {
        while self.oldest_at().is_some_and(|at| at < from) {
            self.drop_oldest();
        }
        if self.is_empty() {
            self.clear();
        }
    }

    /// The oldest start is no longer the oldest with its value.
    fn forget_place(&mut self, chunk: usize, i: usize) {
        let (Some(by), Some(kept)) = (self.by, self.chunks[chunk].kept.get(i).copied()) else { return };
        let value = values::unpack(kept.kinds, &self.chunks[chunk].words[kept.words as usize..], by).into_static();
        let Some(hash) = self.hash(&value) else { return };
        let first = self.first;
        if let Ok(mut entry) = self.places.find_entry(hash, |p| p.hash == hash && p.oldest == first) {
            if kept.next == 0 {
                entry.remove();
            } else {
                entry.get_mut().oldest += u64::from(kept.next);
            }
        }
    }

    /// The oldest start of a time not before `from`; where starts are found by a field, of those with this value.
    pub fn find(&mut self, from: Millis, value: &Value<'_>) -> Option<Start<'_>> {
        let Some(by) = self.by else {
            // Times ascend.
            let chunk = self.chunks.partition_point(|c| c.starts.last().is_none_or(|s| c.at + i64::from(s.at) < from));
            let chunk = self.chunks.get(chunk)?;
            let i = chunk.starts.partition_point(|s| chunk.at + i64::from(s.at) < from);
            return Some(self.get((chunk.first + i as u64).max(self.first)));
        };
        let hash = self.hash(value)?;
        let mut number = self.places.find(hash, |p| p.hash == hash)?.oldest;
        loop {
            let start = self.get(number);
            if start.at >= from && start.captured[by].compare(value).is_some_and(|o| o.is_eq()) {
                return Some(self.get(number));
            }
            let (chunk, i) = self.place_of(number);
            match self.chunks[chunk].kept[i].next {
                0 => return None,
                next => number += u64::from(next),
            }
        }
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Start<'_>> {
        // A range of 64 bits has no exact size.
        (0..self.len()).map(|i| self.get(self.first + i as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a plain list, with few values so that many starts share one.
    fn check(by: Option<usize>) {
        let mut starts = Starts::new(2, by, KeyHasher::new(5));
        let mut plain: VecDeque<Start<'static>> = VecDeque::new();
        let mut seed = 11u64;
        let mut at = 0;
        for sequence in 0..20_000u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            at += (seed >> 60) as i64 * if sequence == 9_000 { 1 << 33 } else { 1 };
            let key =
                [Value::Missing, Value::Int(1), Value::text("x"), Value::text("y")][(seed >> 50) as usize % 4].clone();
            let captured = vec![Value::Int(sequence as i64), key.clone()];
            let origin = Origin { source: 0, partition: (seed >> 40) as u16 & 3, offset: seed };
            if seed >> 33 & 1 == 0 {
                starts.push(at, sequence, origin, captured.iter().map(Value::borrow));
                plain.push_back(Start { at, sequence, origin, captured, version: None });
            }
            let from = at - (seed >> 20 & 0x3ff) as i64;
            if seed >> 12 & 7 == 0 {
                starts.expire(from);
                plain.retain(|s| s.at >= from);
            }
            let same = |s: &&Start<'_>| by.is_none_or(|by| s.captured[by].compare(&key).is_some_and(|o| o.is_eq()));
            let wanted = plain.iter().filter(|s| s.at >= from).find(same);
            assert_eq!(starts.find(from, &key), wanted.cloned(), "after {sequence}");
            assert_eq!(starts.len(), plain.len());
        }
        assert!(starts.iter().eq(plain.iter().cloned()));
    }

    #[test]
    fn the_oldest_is_found() {
        check(None);
        check(Some(1));
    }
}
