//! Finds entries by how a text begins.

use std::collections::BTreeMap;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::posting::Posting;

/// Postings by prefix: a map for each length that occurs.
#[derive(Clone, Debug, Default)]
pub struct Prefixes {
    lengths: Vec<(usize, HashMap<Box<str>, Posting, FixedState>)>,
}

impl Prefixes {
    /// Of prefixes with their entries; `post` files those of one prefix.
    pub fn new(filed: Vec<(String, u32)>, post: &mut dyn FnMut(&[u32]) -> Posting) -> Prefixes {
        let mut by_prefix: BTreeMap<(usize, String), Vec<u32>> = BTreeMap::new();
        for (prefix, entry) in filed {
            by_prefix.entry((prefix.len(), prefix)).or_default().push(entry);
        }
        let mut prefixes = Prefixes::default();
        for ((length, prefix), entries) in by_prefix {
            if prefixes.lengths.last().is_none_or(|(last, _)| *last != length) {
                prefixes.lengths.push((length, HashMap::default()));
            }
            let map = prefixes.lengths.last_mut().expect("a map for this length was just seen to");
            map.1.insert(prefix.into(), post(&entries));
        }
        prefixes
    }

    /// Appends what the prefixes find that a text has.
    pub fn find(&self, text: &str, found: &mut Vec<Posting>) {
        for (length, map) in &self.lengths {
            found.extend(text.get(..*length).and_then(|prefix| map.get(prefix)));
        }
    }
}
