//! Values kept once each, however many entries have them: an entry holds a number of four bytes.

use hashbrown::HashTable;

use crate::slot::KeyHasher;

/// What can be kept once.
pub trait Content: Clone + Eq {
    /// Its hash.
    fn hash(&self, hasher: KeyHasher) -> u64;
}

impl Content for i64 {
    #[inline]
    fn hash(&self, hasher: KeyHasher) -> u64 {
        hasher.hash(0, &self.to_le_bytes())
    }
}

impl Content for Box<[u8]> {
    fn hash(&self, hasher: KeyHasher) -> u64 {
        hasher.hash(0, self)
    }
}

/// Values by number. Numbers of values that went are given again.
#[derive(Clone, Debug)]
pub struct Interned<T> {
    hasher: KeyHasher,
    table: HashTable<u32>,
    /// Each value with the number of entries that have it; none of a free number.
    values: Vec<(T, u32)>,
    free: Vec<u32>,
}

impl<T: Content> Interned<T> {
    /// Nothing; the hash is secret, so that nobody can choose values that fall into one chain.
    pub fn new(hasher: KeyHasher) -> Self {
        Interned { hasher, table: HashTable::new(), values: Vec::new(), free: Vec::new() }
    }

    /// The number of a value, which one more entry has.
    pub fn add(&mut self, value: T) -> u32 {
        let hash = value.hash(self.hasher);
        if let Some(id) = self.table.find(hash, |id| self.values[*id as usize].0 == value) {
            self.values[*id as usize].1 += 1;
            return *id;
        }
        let id = match self.free.pop() {
            Some(id) => {
                self.values[id as usize] = (value, 1);
                id
            }
            None => {
                if self.values.len() == self.values.capacity() {
                    self.values.reserve_exact(4.max(self.values.len() / 4));
                }
                self.values.push((value, 1));
                self.values.len() as u32 - 1
            }
        };
        let (values, hasher) = (&self.values, self.hasher);
        self.table.insert_unique(hash, id, |id| values[*id as usize].0.hash(hasher));
        id
    }

    /// One entry less has the value of this number.
    pub fn release(&mut self, id: u32) {
        let (value, entries) = &mut self.values[id as usize];
        *entries -= 1;
        if *entries > 0 {
            return;
        }
        let hash = value.hash(self.hasher);
        if let Ok(place) = self.table.find_entry(hash, |other| *other == id) {
            place.remove();
        }
        self.free.push(id);
        if self.table.is_empty() {
            *self = Interned::new(self.hasher);
        }
    }

    /// The value of a number that is in use.
    pub fn get(&self, id: u32) -> &T {
        &self.values[id as usize].0
    }
}
