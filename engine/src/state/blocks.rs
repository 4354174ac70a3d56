//! Memory for the state of keys: blocks of words, of sizes an eighth apart, with the free ones reused.
//!
//! Blocks of one size share a chunk that never moves; a block of a page or more has a chunk of its own, which goes with it.

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

/// What is free of one size.
#[derive(Clone, Debug, Default)]
struct Size {
    free: Vec<u32>,
    chunks: usize,
}

/// Blocks of words.
#[derive(Clone, Debug, Default)]
pub struct Blocks {
    chunks: Vec<Chunk>,
    sizes: Vec<Size>,
    /// Numbers of chunks that have gone.
    free_chunks: Vec<u32>,
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
        if let Some(id) = self.sizes[class].free.pop() {
            return BlockId(id);
        }
        let count = if size >= LARGE {
            1
        } else {
            // The more there are, the larger the next chunk, so that little is left over.
            self.sizes[class].chunks += 1;
            (2 * self.sizes[class].chunks).min(IN_CHUNK).min((LARGE / size).max(2))
        };
        let chunk = Chunk { words: vec![0; count * size].into_boxed_slice(), size };
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
        let first = number << IN_CHUNK_BITS;
        self.sizes[class].free.extend((1..count as u32).rev().map(|i| first + i));
        BlockId(first)
    }

    /// Gives a block back.
    pub fn remove(&mut self, id: BlockId) {
        let number = id.0 >> IN_CHUNK_BITS;
        let chunk = &mut self.chunks[number as usize];
        if chunk.size >= LARGE {
            *chunk = Chunk { words: Box::default(), size: 0 };
            self.free_chunks.push(number);
        } else {
            let (class, _) = size_for(chunk.size);
            self.sizes[class].free.push(id.0);
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
        let kept = used.min(words);
        let pair = [id, new].map(|id| (id.0 >> IN_CHUNK_BITS) as usize);
        let [from, to] = self.chunks.get_disjoint_mut(pair).expect("blocks of two sizes stand in two chunks");
        let (a, b) = ((id.0 as usize % IN_CHUNK) * from.size, (new.0 as usize % IN_CHUNK) * to.size);
        to.words[b..b + kept].copy_from_slice(&from.words[a..a + kept]);
        self.remove(id);
        new
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
        for (id, words, mark) in all {
            assert!(blocks.get(id)[..words].iter().all(|w| *w == mark));
        }
    }
}
