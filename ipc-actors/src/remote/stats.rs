//! What has come to a listener.

use std::sync::atomic::{AtomicU64, Ordering};

/// What has come to a [`Listener`](crate::Listener) so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerStats {
    /// Connections that were let in.
    pub admitted: u64,
    /// Connections that were dropped because there were too many.
    pub refused: u64,
    /// Connections that did not show in time who they were, or could not.
    pub failed: u64,
    /// Requests for what a caller may not, what is not there or what cannot be read.
    pub strikes: u64,
    /// Frames that were forged, changed, repeated or out of place, or came with descriptors.
    pub forged: u64,
    /// Connections that were cut off: too many strikes, a forged frame, or answers not read.
    pub cut: u64,
}

/// Counters that order nothing else: all accesses are relaxed.
#[derive(Debug, Default)]
pub(super) struct Counters {
    admitted: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    strikes: AtomicU64,
    forged: AtomicU64,
    cut: AtomicU64,
}

impl Counters {
    pub(super) fn admitted(&self) {
        self.admitted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn strike(&self) {
        self.strikes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn forged(&self) {
        self.forged.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn cut(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> ListenerStats {
        ListenerStats {
            admitted: self.admitted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            strikes: self.strikes.load(Ordering::Relaxed),
            forged: self.forged.load(Ordering::Relaxed),
            cut: self.cut.load(Ordering::Relaxed),
        }
    }
}
