//! Finds entries by the value of a field.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use lapwing_dsl::value::Value;

/// Entries by value. Text is looked up as it stands, other values by their bytes.
#[derive(Clone, Debug, Default)]
pub struct Exact {
    text: HashMap<Box<str>, Vec<u32>, FixedState>,
    other: HashMap<Box<[u8]>, Vec<u32>, FixedState>,
    truth: [Vec<u32>; 2],
}

impl Exact {
    /// Of values with their entries.
    pub fn new(filed: Vec<(Value<'static>, u32)>) -> Exact {
        let mut exact = Exact::default();
        for (value, entry) in filed {
            let entries = match &value {
                Value::Bool(truth) => &mut exact.truth[usize::from(*truth)],
                Value::Text(text) => exact.text.entry_ref(text.as_ref()).or_default(),
                other => {
                    let mut bytes = Vec::new();
                    crate::key::push(&mut bytes, other, true);
                    exact.other.entry_ref(bytes.as_slice()).or_default()
                }
            };
            // A set may hold a value twice.
            if entries.last() != Some(&entry) {
                entries.push(entry);
            }
        }
        exact
    }

    /// Appends the entries of a value.
    pub fn find(&self, value: &Value<'_>, bytes: &mut Vec<u8>, found: &mut Vec<u32>) {
        let entries = match value {
            Value::Missing => None,
            Value::Bool(truth) => Some(&self.truth[usize::from(*truth)]),
            Value::Text(text) => self.text.get(text.as_ref()),
            other => {
                bytes.clear();
                crate::key::push(bytes, other, true);
                self.other.get(bytes.as_slice())
            }
        };
        found.extend(entries.into_iter().flatten());
    }
}
