//! Who an actor is.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
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
