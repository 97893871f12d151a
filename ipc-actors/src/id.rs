//! Who an actor is.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

/// Names an actor for as long as its supervisor keeps it: it stays the same over restarts, which the
/// incarnation counts.
///
/// The upper half is drawn at random by each process and the lower half counts, so that two
/// processes do not give out the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActorId(pub(crate) u64);

impl ActorId {
    /// An id that was not given out before.
    pub(crate) fn next() -> Self {
        static NODE: OnceLock<u64> = OnceLock::new();
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let node = *NODE.get_or_init(|| RandomState::new().hash_one(std::process::id()) << 32);
        // Relaxed: only the number matters, it guards nothing.
        Self(node | u64::from(COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The id as a number, for tools.
    #[must_use]
    pub fn to_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Ids are drawn at random or counted, never chosen by a peer: they are their own hash.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        // Spreads the counter over the upper bits, which the table looks at first.
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

pub(crate) type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;
