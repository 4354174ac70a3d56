//! A slab: values by number, in chunks that never move, with the free numbers reused.

/// Values in one chunk.
const CHUNK: usize = 64;

/// Values by number.
#[derive(Clone, Debug)]
pub struct Slab<T> {
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
    len: u32,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { chunks: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    /// Adds a value and gives its number.
    pub fn add(&mut self, value: T) -> u32 {
        if let Some(i) = self.free.pop() {
            self.chunks[i as usize / CHUNK][i as usize % CHUNK] = Some(value);
            return i;
        }
        let i = self.len;
        self.push(Some(value));
        i
    }

    fn push(&mut self, value: Option<T>) {
        if (self.len as usize).is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[self.len as usize / CHUNK].push(value);
        self.len += 1;
    }

    /// The value of a number, if it is in use.
    #[inline]
    pub fn get(&self, i: u32) -> Option<&T> {
        self.chunks.get(i as usize / CHUNK)?.get(i as usize % CHUNK)?.as_ref()
    }

    /// The value of a number, if it is in use, to change.
    #[inline]
    pub fn get_mut(&mut self, i: u32) -> Option<&mut T> {
        self.chunks.get_mut(i as usize / CHUNK)?.get_mut(i as usize % CHUNK)?.as_mut()
    }

    /// Takes a value out.
    pub fn remove(&mut self, i: u32) -> Option<T> {
        let value = self.chunks.get_mut(i as usize / CHUNK)?.get_mut(i as usize % CHUNK)?.take();
        if value.is_some() {
            self.free.push(i);
        }
        value
    }

    /// How many values are in use.
    pub fn len(&self) -> usize {
        self.len as usize - self.free.len()
    }

    /// Whether none is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One more than the greatest number ever used.
    pub fn end(&self) -> u32 {
        self.len
    }

    /// All places, in order of their numbers.
    pub fn places(&self) -> impl ExactSizeIterator<Item = Option<&T>> {
        (0..self.len).map(|i| self.get(i))
    }

    /// The free numbers, the one to be used next last.
    pub fn free(&self) -> &[u32] {
        &self.free
    }

    /// From what was saved; `None` where the free numbers are not those of the free places.
    pub fn from_places(places: Vec<Option<T>>, free: Vec<u32>) -> Option<Self> {
        let mut sorted = free.clone();
        sorted.sort_unstable();
        let empty = places.iter().enumerate().filter(|(_, p)| p.is_none()).map(|(i, _)| i as u32);
        if !sorted.into_iter().eq(empty) {
            return None;
        }
        let mut slab = Slab::default();
        places.into_iter().for_each(|p| slab.push(p));
        slab.free = free;
        Some(slab)
    }
}
