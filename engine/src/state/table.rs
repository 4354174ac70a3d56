//! Where the blocks of a key group's keys are: an open hash table of eight bytes an entry.
//!
//! An entry holds 32 bits of the key's hash and the block; whether the key is the same is for the block to say. Linear probing, and
//! deletion by moving back what stands behind (Knuth, TAOCP vol. 3, 6.4, algorithm R), so that nothing wears out.

use super::blocks::BlockId;

/// No block.
const EMPTY: u32 = u32::MAX;

/// Bytes that an entry takes.
pub const ENTRY_BYTES: usize = size_of::<Entry>();

#[derive(Clone, Copy, Debug)]
struct Entry {
    tag: u32,
    block: u32,
}

/// Blocks by 32 bits of a hash.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// None, or a power of two, of which at most seven eighths are used.
    entries: Vec<Entry>,
    len: usize,
}

impl Table {
    /// How many blocks it names.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first block under `tag` for which `same` says so.
    #[inline]
    pub fn find(&self, tag: u32, same: impl Fn(BlockId) -> bool) -> Option<BlockId> {
        self.all(tag).find(|block| same(*block))
    }

    /// All blocks under `tag`.
    #[inline]
    pub fn all(&self, tag: u32) -> impl Iterator<Item = BlockId> {
        let mut at = self.home(tag);
        std::iter::from_fn(move || {
            loop {
                let entry = self.entries.get(at)?;
                if entry.block == EMPTY {
                    return None;
                }
                at = self.after(at);
                if entry.tag == tag {
                    return Some(BlockId(entry.block));
                }
            }
        })
    }

    /// Asks the processor to have the place of `tag` at hand.
    #[inline]
    pub fn prefetch(&self, tag: u32) {
        if let Some(entry) = self.entries.get(self.home(tag)) {
            super::prefetch(entry);
        }
    }

    /// Adds a block.
    pub fn insert(&mut self, tag: u32, block: BlockId) {
        if (self.len + 1) * 8 > self.entries.len() * 7 {
            let empty = Entry { tag: 0, block: EMPTY };
            let larger = vec![empty; (self.entries.len() * 2).max(8)];
            for entry in std::mem::replace(&mut self.entries, larger) {
                if entry.block != EMPTY {
                    self.place(entry);
                }
            }
        }
        self.place(Entry { tag, block: block.0 });
        self.len += 1;
    }

    fn place(&mut self, entry: Entry) {
        let mut at = self.home(entry.tag);
        while self.entries[at].block != EMPTY {
            at = self.after(at);
        }
        self.entries[at] = entry;
    }

    fn position(&self, tag: u32, block: BlockId) -> Option<usize> {
        let mut at = self.home(tag);
        loop {
            match self.entries.get(at)?.block {
                EMPTY => return None,
                found if found == block.0 => return Some(at),
                _ => at = self.after(at),
            }
        }
    }

    /// A block has moved.
    pub fn replace(&mut self, tag: u32, old: BlockId, new: BlockId) {
        if let Some(at) = self.position(tag, old) {
            self.entries[at].block = new.0;
        }
    }

    /// Takes a block out.
    pub fn remove(&mut self, tag: u32, block: BlockId) {
        let Some(mut hole) = self.position(tag, block) else { return };
        self.len -= 1;
        let mut at = self.after(hole);
        while self.entries[at].block != EMPTY {
            // What may stand in the hole moves there: its own place is not behind the hole.
            let distance = |from: usize| at.wrapping_sub(from) & (self.entries.len() - 1);
            if distance(self.home(self.entries[at].tag)) >= distance(hole) {
                self.entries[hole] = self.entries[at];
                hole = at;
            }
            at = self.after(at);
        }
        self.entries[hole].block = EMPTY;
    }

    /// All blocks, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = BlockId> {
        self.entries.iter().filter(|e| e.block != EMPTY).map(|e| BlockId(e.block))
    }

    #[inline]
    fn home(&self, tag: u32) -> usize {
        // The high bits of the product of tag and size: the tag's own high bits.
        ((u64::from(tag) * self.entries.len() as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.entries.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_and_go_as_in_a_plain_list() {
        let mut table = Table::default();
        let mut plain: Vec<(u32, u32)> = Vec::new();
        let mut seed = 7u64;
        for i in 0..20_000u32 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Few tags, so that many stand under one.
            let tag = ((seed >> 33) as u32 % 97) << 25;
            if seed >> 60 < 8 || plain.is_empty() {
                table.insert(tag, BlockId(i));
                plain.push((tag, i));
            } else {
                let (tag, block) = plain.swap_remove(seed as usize % plain.len());
                table.remove(tag, BlockId(block));
                assert_eq!(table.find(tag, |b| b.0 == block), None);
            }
            assert_eq!(table.len(), plain.len());
        }
        for (tag, block) in &plain {
            assert_eq!(table.find(*tag, |b| b.0 == *block), Some(BlockId(*block)));
        }
        let mut all: Vec<u32> = table.iter().map(|b| b.0).collect();
        all.sort_unstable();
        plain.sort_unstable_by_key(|p| p.1);
        assert_eq!(all, plain.iter().map(|p| p.1).collect::<Vec<_>>());
    }
}
