//! Memory for the state of keys: blocks of words, of sizes an eighth apart, with the free ones reused.
//!
//! Blocks of one size share a chunk that never moves; a block of a page or more has a chunk of its own, which goes with it. As keys grow, the blocks of
//! one size become free and others are asked for: where many of a size are free a chunk is emptied and goes, which gives its blocks other numbers.

/// A block's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockId(pub u32);

/// The most blocks of a chunk, as a power of two: the low bits of a block's number say which of its chunk it is.
const IN_CHUNK_BITS: u32 = 5;
const IN_CHUNK: usize = 1 << IN_CHUNK_BITS;
/// Blocks of at least so many words have a chunk of their own.
const LARGE: usize = 512;

#[derive(Clone, Debug)]
struct Chunk {
    words: Box<[u64]>,
    /// Words of each block.
    size: usize,
}

/// The blocks of one size.
#[derive(Clone, Debug, Default)]
struct Size {
    free: Vec<u32>,
    used: usize,
    /// Numbers of its chunks, but for those of large blocks.
    chunks: Vec<u32>,
}

/// Blocks of words.
#[derive(Clone, Debug, Default)]
pub struct Blocks {
    chunks: Vec<Chunk>,
    sizes: Vec<Size>,
    /// Numbers of chunks that have gone.
    free_chunks: Vec<u32>,
    /// A size of which many blocks are free.
    sparse: Option<usize>,
}

/// The number of a size, and how many words that is: at least `words`, and at most an eighth more, or one.
fn size_for(words: usize) -> (usize, usize) {
    let words = words.max(8);
    // Sizes of one power of two are eight equal steps.
    let power = (words - 1).ilog2().max(3) as usize;
    let step = 1 << (power - 3);
    let steps = words.div_ceil(step);
    ((power - 3) * 8 + steps - 8, steps * step)
}

impl Blocks {
    /// A block of at least so many words; what it holds is undefined.
    pub fn add(&mut self, words: usize) -> BlockId {
        let (class, size) = size_for(words);
        if self.sizes.len() <= class {
            self.sizes.resize_with(class + 1, Size::default);
        }
        self.sizes[class].used += 1;
        if let Some(id) = self.sizes[class].free.pop() {
            return BlockId(id);
        }
        let most = (LARGE / size).clamp(2, IN_CHUNK);
        // The more there are, the larger the next chunk, so that little is left over.
        let count = if size >= LARGE { 1 } else { (2 * self.sizes[class].chunks.len() + 2).min(most) };
        // Whole chunks are of one length, whatever stands in them, so that one takes the memory of another.
        let whole = count == most && most < IN_CHUNK;
        let words = if whole { (count * size).max(LARGE) } else { count * size };
        let chunk = Chunk { words: vec![0; words].into_boxed_slice(), size };
        let number = match self.free_chunks.pop() {
            Some(number) => {
                self.chunks[number as usize] = chunk;
                number
            }
            None => {
                self.chunks.push(chunk);
                self.chunks.len() as u32 - 1
            }
        };
        if size < LARGE {
            self.sizes[class].chunks.push(number);
        }
        let first = number << IN_CHUNK_BITS;
        self.sizes[class].free.extend((1..count as u32).rev().map(|i| first + i));
        BlockId(first)
    }

    /// Gives a block back.
    pub fn remove(&mut self, id: BlockId) {
        let number = id.0 >> IN_CHUNK_BITS;
        let chunk = &mut self.chunks[number as usize];
        let (class, _) = size_for(chunk.size);
        let size = &mut self.sizes[class];
        size.used -= 1;
        if chunk.size >= LARGE {
            self.remove_chunk(number);
            return;
        }
        size.free.push(id.0);
        if size.is_sparse(self.chunks[size.last_chunk()].blocks()) {
            self.sparse = Some(class);
        }
    }

    fn remove_chunk(&mut self, number: u32) {
        self.chunks[number as usize] = Chunk { words: Box::default(), size: 0 };
        self.free_chunks.push(number);
    }

    /// Whether many blocks of a size are free.
    #[inline]
    pub fn is_sparse(&self) -> bool {
        self.sparse.is_some()
    }

    /// Empties chunks of a size of which many blocks are free, and gives them back. `moved` is told of each block that has another number from here on, with
    /// what it holds.
    pub fn thin_out(&mut self, mut moved: impl FnMut(&[u64], BlockId, BlockId)) {
        let Some(class) = self.sparse.take() else { return };
        loop {
            let size = &mut self.sizes[class];
            let Some(number) = size.chunks.last().copied() else { return };
            let blocks = self.chunks[number as usize].blocks();
            if !size.is_sparse(blocks) {
                return;
            }
            let mut is_free = [false; IN_CHUNK];
            size.free.retain(|id| {
                let own = id >> IN_CHUNK_BITS == number;
                is_free[*id as usize % IN_CHUNK] |= own;
                !own
            });
            size.chunks.pop();
            let first = number << IN_CHUNK_BITS;
            for id in (0..blocks).filter(|i| !is_free[*i]).map(|i| first + i as u32) {
                let to = self.sizes[class].free.pop().expect("more are free than stand in a chunk");
                self.copy(BlockId(id), BlockId(to), usize::MAX);
                moved(self.get(BlockId(to)), BlockId(id), BlockId(to));
            }
            self.remove_chunk(number);
        }
    }

    /// The words of a block.
    #[inline]
    pub fn get(&self, id: BlockId) -> &[u64] {
        let chunk = &self.chunks[(id.0 >> IN_CHUNK_BITS) as usize];
        let at = (id.0 as usize % IN_CHUNK) * chunk.size;
        &chunk.words[at..at + chunk.size]
    }

    /// The words of a block, to change.
    #[inline]
    pub fn get_mut(&mut self, id: BlockId) -> &mut [u64] {
        let chunk = &mut self.chunks[(id.0 >> IN_CHUNK_BITS) as usize];
        let at = (id.0 as usize % IN_CHUNK) * chunk.size;
        &mut chunk.words[at..at + chunk.size]
    }

    /// A block of at least `words` words that begins with the first `used` of `id`: `id` itself where that is large enough and not much
    /// too large, else another in its place.
    pub fn resize(&mut self, id: BlockId, used: usize, words: usize) -> BlockId {
        let size = self.chunks[(id.0 >> IN_CHUNK_BITS) as usize].size;
        if words <= size && (size <= 16 || words * 2 >= size) {
            return id;
        }
        let new = self.add(words);
        self.copy(id, new, used.min(words));
        self.remove(id);
        new
    }

    /// Copies at most so many words from one block to the beginning of another, which stands in another chunk.
    fn copy(&mut self, from: BlockId, to: BlockId, most: usize) {
        let pair = [from, to].map(|id| (id.0 >> IN_CHUNK_BITS) as usize);
        let [source, target] = self.chunks.get_disjoint_mut(pair).expect("they stand in two chunks");
        let (a, b) = ((from.0 as usize % IN_CHUNK) * source.size, (to.0 as usize % IN_CHUNK) * target.size);
        let words = source.size.min(target.size).min(most);
        target.words[b..b + words].copy_from_slice(&source.words[a..a + words]);
    }
}

impl Chunk {
    fn blocks(&self) -> usize {
        (self.words.len() / self.size).min(IN_CHUNK)
    }
}

impl Size {
    /// Whether so many blocks are free that those of a chunk can stand elsewhere, and an eighth of those in use is free still.
    fn is_sparse(&self, in_chunk: usize) -> bool {
        self.free.len() >= in_chunk + self.used / 8 + 2
    }

    fn last_chunk(&self) -> usize {
        self.chunks.last().map_or(0, |number| *number as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_an_eighth_apart() {
        let mut last = (0, 8);
        for words in 0..10_000 {
            let (class, size) = size_for(words);
            assert!(size >= words && (size - words) * 8 <= words.max(64), "{words}: {size}");
            assert_eq!(size_for(size), (class, size));
            assert!((class == last.0) == (size == last.1) && class <= last.0 + 1, "{words}");
            last = (class, size);
        }
    }

    #[test]
    fn blocks_keep_what_they_hold() {
        let mut blocks = Blocks::default();
        let mut all: Vec<(BlockId, usize, u64)> = Vec::new();
        let mut seed = 3u64;
        for i in 0..5_000u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let words = (seed >> 40) as usize % 700 + 1;
            match seed >> 62 {
                0 | 1 => {
                    let id = blocks.add(words);
                    blocks.get_mut(id)[..words].fill(i);
                    all.push((id, words, i));
                }
                2 if !all.is_empty() => {
                    let (id, ..) = all.swap_remove(seed as usize % all.len());
                    blocks.remove(id);
                }
                _ if blocks.is_sparse() => blocks.thin_out(|words, from, to| {
                    let (id, used, mark) = all.iter_mut().find(|(id, ..)| *id == from).expect("it is in use");
                    assert!(words[..*used].iter().all(|w| w == mark));
                    *id = to;
                }),
                _ if !all.is_empty() => {
                    let at = seed as usize % all.len();
                    let (id, used, mark) = all[at];
                    let id = blocks.resize(id, used, words);
                    blocks.get_mut(id)[used.min(words)..words].fill(mark);
                    all[at] = (id, words, mark);
                }
                _ => {}
            }
        }
        for (id, words, mark) in &all {
            assert!(blocks.get(*id)[..*words].iter().all(|w| w == mark));
        }
    }

    #[test]
    fn what_is_free_goes() {
        let mut blocks = Blocks::default();
        let mut all: Vec<BlockId> = (0..1_000).map(|_| blocks.add(8)).collect();
        for words in 9..200 {
            for i in 0..all.len() {
                all[i] = blocks.resize(all[i], 8, words);
                blocks.thin_out(|_, from, to| {
                    *all.iter_mut().find(|id| **id == from).expect("it is in use") = to;
                });
            }
            let held: usize = blocks.chunks.iter().map(|chunk| chunk.words.len()).sum();
            assert!(held * 10 < all.len() * words * 18 + 100_000, "{words}: {held}");
        }
    }
}
