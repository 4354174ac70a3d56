//! Which group a key falls into, and what its group finds it by.

use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;

use super::{GROUPS, PINNED};

/// The 32 bits of a key's hash that its group finds it by.
#[inline]
pub fn tag_of(hash: u64) -> u32 {
    hash as u32
}

/// Hashes keys with a secret, so that nobody can choose keys that fall into one group or chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHasher {
    secret: u64,
}

impl KeyHasher {
    /// With a secret, which is saved with the state.
    pub fn new(secret: u64) -> Self {
        KeyHasher { secret }
    }

    /// The secret.
    pub fn secret(self) -> u64 {
        self.secret
    }

    /// Hash of a key in a space of this seed.
    #[inline]
    pub fn hash(self, seed: u64, key: &[u8]) -> u64 {
        static SEED: SharedSeed = SharedSeed::from_u64(0x1a9_71e6);
        let mut hasher = FoldHasher::with_seed(self.secret ^ seed, &SEED);
        hasher.write(key);
        hasher.finish()
    }
}

/// The key group of a hash.
#[inline]
pub fn group_of(hash: u64, pinned: bool) -> usize {
    // The table within a group uses the low 32 bits.
    if pinned { PINNED } else { (hash >> 40) as usize & (GROUPS - 1) }
}
