//! Finds entries by what stands somewhere in a text: all literals are looked for in one pass.
//!
//! Aho and Corasick, "Efficient string matching: an aid to bibliographic search" (1975).

use std::collections::BTreeMap;

use aho_corasick::AhoCorasick;
use smallvec::{SmallVec, smallvec};

use super::posting::Posting;

/// Postings by literal: those of texts as they stand, and those of texts in lower case.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    plain: Option<Literals>,
    folded: Option<Literals>,
}

/// A literal, whether it is looked for in the text in lower case, and the entry that it finds.
pub type Filed = (String, bool, u32);

impl Texts {
    /// Of literals with their entries; `post` files those of one literal. None where they are too many for one automaton.
    pub fn new(filed: &[Filed], post: &mut dyn FnMut(&[u32]) -> Posting) -> Option<Texts> {
        let mut of = |folded: bool| {
            let mut by_literal: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
            for (literal, _, entry) in filed.iter().filter(|(_, own, _)| *own == folded) {
                by_literal.entry(literal).or_default().push(*entry);
            }
            (!by_literal.is_empty()).then(|| Literals::new(&by_literal, post)).transpose()
        };
        Some(Texts { plain: of(false).ok()?, folded: of(true).ok()? })
    }

    /// Appends what the literals find that stand in a text; an entry that several of them find comes more than once.
    pub fn find(&self, text: &str, found: &mut Vec<Posting>) {
        if let Some(literals) = &self.plain {
            literals.find(text, found);
        }
        if let Some(literals) = &self.folded {
            literals.find(&text.to_lowercase(), found);
        }
    }
}

#[derive(Clone, Debug)]
struct Literals {
    automaton: AhoCorasick,
    postings: Vec<Posting>,
}

impl Literals {
    fn new(
        by_literal: &BTreeMap<&str, Vec<u32>>,
        post: &mut dyn FnMut(&[u32]) -> Posting,
    ) -> Result<Literals, aho_corasick::BuildError> {
        let automaton = AhoCorasick::new(by_literal.keys())?;
        Ok(Literals { automaton, postings: by_literal.values().map(|entries| post(entries)).collect() })
    }

    fn find(&self, text: &str, found: &mut Vec<Posting>) {
        // A literal may stand in a text many times over.
        let mut seen: SmallVec<[u64; 4]> = smallvec![0; self.postings.len().div_ceil(64)];
        for place in self.automaton.find_overlapping_iter(text) {
            let (word, bit) = (place.pattern().as_usize() / 64, 1 << (place.pattern().as_usize() % 64));
            if seen[word] & bit == 0 {
                seen[word] |= bit;
                found.push(self.postings[place.pattern().as_usize()]);
            }
        }
    }
}
