//! Finds entries by how a text begins.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// Entries by prefix: a map for each length that occurs.
#[derive(Clone, Debug, Default)]
pub struct Prefixes {
    lengths: Vec<(usize, HashMap<Box<str>, Vec<u32>, FixedState>)>,
}

impl Prefixes {
    /// Of prefixes with their entries.
    pub fn new(filed: Vec<(String, u32)>) -> Prefixes {
        let mut prefixes = Prefixes::default();
        for (prefix, entry) in filed {
            let at = prefixes.lengths.iter().position(|(n, _)| *n == prefix.len()).unwrap_or_else(|| {
                prefixes.lengths.push((prefix.len(), HashMap::default()));
                prefixes.lengths.len() - 1
            });
            prefixes.lengths[at].1.entry_ref(prefix.as_str()).or_default().push(entry);
        }
        prefixes
    }

    /// Appends the entries whose prefix a text has.
    pub fn find(&self, text: &str, found: &mut Vec<u32>) {
        for (length, map) in &self.lengths {
            if let Some(entries) = text.get(..*length).and_then(|prefix| map.get(prefix)) {
                found.extend_from_slice(entries);
            }
        }
    }
}
