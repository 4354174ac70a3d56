//! Finds entries by the value of a field.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use lapwing_dsl::value::Value;

use super::posting::Posting;

/// Postings by value. Text is looked up as it stands, other values by their bytes.
#[derive(Clone, Debug, Default)]
pub struct Exact {
    text: HashMap<Box<str>, Posting, FixedState>,
    other: HashMap<Box<[u8]>, Posting, FixedState>,
    truth: [Posting; 2],
}

impl Exact {
    /// Of values with their entries; `post` files those of one value.
    pub fn new(mut filed: Vec<(Value<'static>, u32)>, post: &mut dyn FnMut(&[u32]) -> Posting) -> Exact {
        let mut exact = Exact::default();
        let bytes_of = |value: &Value<'_>| {
            let mut bytes = Vec::new();
            crate::key::push(&mut bytes, value, true);
            bytes
        };
        filed.sort_by_cached_key(|(value, entry)| (bytes_of(value), *entry));
        // A set may hold a value twice.
        filed.dedup_by_key(|(value, entry)| (bytes_of(value), *entry));
        for same in filed.chunk_by(|a, b| bytes_of(&a.0) == bytes_of(&b.0)) {
            let entries: Vec<u32> = same.iter().map(|(_, entry)| *entry).collect();
            let posting = post(&entries);
            match &same[0].0 {
                Value::Bool(truth) => exact.truth[usize::from(*truth)] = posting,
                Value::Text(text) => drop(exact.text.insert(text.as_ref().into(), posting)),
                other => drop(exact.other.insert(bytes_of(other).into(), posting)),
            }
        }
        exact
    }

    /// Appends what a value finds.
    #[inline]
    pub fn find(&self, value: &Value<'_>, bytes: &mut Vec<u8>, found: &mut Vec<Posting>) {
        let posting = match value {
            Value::Missing => None,
            Value::Bool(truth) => Some(&self.truth[usize::from(*truth)]),
            Value::Text(text) => self.text.get(text.as_ref()),
            other => {
                bytes.clear();
                crate::key::push(bytes, other, true);
                self.other.get(bytes.as_slice())
            }
        };
        found.extend(posting);
    }
}
