//! The state of keys as it lies in memory.
//!
//! All that rules hold of one key stands in one block of words: its key, then a record for each run. `table` finds the
//! block by the key's hash, `blocks` gives its memory, `record` says what the words mean, `values` packs captured fields. So an event touches
//! one entry of a table and one stretch of memory, both of which can be asked for ahead.

pub mod blocks;
pub mod record;
pub mod starts;
pub mod table;
pub mod values;

/// Asks the processor to have the line of memory at hand that a value begins on.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing and writes nothing; any address will do.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch(std::ptr::from_ref(value).cast::<i8>(), _MM_HINT_T0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
