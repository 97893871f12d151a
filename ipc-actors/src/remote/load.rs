//! How much there is of something at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many things there are, and how many bytes they hold.
#[derive(Debug, Default)]
pub(super) struct Load {
    count: AtomicUsize,
    bytes: AtomicUsize,
}

impl Load {
    // Relaxed everywhere: counters that order nothing else.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// One of those that are counted, until it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    load: Arc<Load>,
    bytes: usize,
}

impl Share {
    pub(super) fn of(load: &Arc<Load>, bytes: usize) -> Self {
        load.count.fetch_add(1, Ordering::Relaxed);
        load.bytes.fetch_add(bytes, Ordering::Relaxed);
        let load = Arc::clone(load);
        Self { load, bytes }
    }

    /// A share if there are fewer than `max`.
    pub(super) fn below(load: &Arc<Load>, max: usize) -> Option<Self> {
        let more = |count| (count < max).then_some(count + 1);
        let taken = load
            .count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.ok()?;
        let load = Arc::clone(load);
        Some(Self { load, bytes: 0 })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.load.count.fetch_sub(1, Ordering::Relaxed);
        self.load.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
