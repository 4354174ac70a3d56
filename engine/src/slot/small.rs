//! What windows hold of a key that is small: it stands in the block of the key.

use super::{Group, SMALL_WORDS_MAX, Shape, SlotId};
use crate::window::packed::Packed;

impl Group {
    /// What windows hold that is small.
    pub fn packed(&self, slot: SlotId) -> AllPacked<'_> {
        let words = self.blocks.get(slot);
        let shape = Shape::of(words);
        AllPacked { words: &words[shape.from..shape.from + shape.small] }
    }

    /// What is small and stands at a place among it; none at the end.
    pub fn packed_at(&self, slot: SlotId, place: usize) -> Option<Packed<'_>> {
        let words = self.blocks.get(slot);
        let shape = Shape::of(words);
        (place < shape.small).then(|| Packed::first_of(&words[shape.from + place..]))
    }

    /// What holds the entries of a window, by its family and its place there.
    #[inline]
    pub fn packed_of(&self, slot: SlotId, (family, member): (u32, u8)) -> Option<Packed<'_>> {
        self.packed(slot).find(|packed| packed.family() == family && packed.members() & 1 << member != 0)
    }

    /// Puts words in place of so many at a place among those of small windows; none where there is no room. Returns the slot's number.
    pub fn replace_packed(&mut self, slot: SlotId, place: usize, length: usize, with: &[u64]) -> Option<SlotId> {
        let shape = Shape::of(self.blocks.get(slot));
        let small = shape.small - length + with.len();
        if small > SMALL_WORDS_MAX {
            return None;
        }
        let used = shape.used - length + with.len();
        let slot = if used > shape.used { self.resize(slot, shape.used, used) } else { slot };
        let words = self.blocks.get_mut(slot);
        let at = shape.from + place;
        if length != with.len() {
            words.copy_within(at + length..shape.used, at + with.len());
        }
        words[at..at + with.len()].copy_from_slice(with);
        Shape { used, small, ..shape }.write(words);
        Some(slot)
    }

    /// Puts words behind those of small windows; none where there is no room. Returns the slot's number.
    pub fn append_packed(&mut self, slot: SlotId, words: &[u64]) -> Option<SlotId> {
        let end = Shape::of(self.blocks.get(slot)).small;
        self.replace_packed(slot, end, 0, words)
    }
}

/// All that small windows hold of a key.
#[derive(Clone, Debug)]
pub struct AllPacked<'a> {
    words: &'a [u64],
}

impl<'a> Iterator for AllPacked<'a> {
    type Item = Packed<'a>;

    #[inline]
    fn next(&mut self) -> Option<Packed<'a>> {
        if self.words.is_empty() {
            return None;
        }
        let packed = Packed::first_of(self.words);
        self.words = &self.words[packed.words().len()..];
        Some(packed)
    }
}
