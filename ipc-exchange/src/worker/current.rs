//! What a running task can know about itself.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::sys::Page;
use crate::wire::Run;

/// What a running task can know about itself.
#[derive(Debug)]
pub struct Current {
    page: Page,
    seq: AtomicU64,
    job: AtomicU64,
    attempt: AtomicU32,
}

pub(super) static CURRENT: OnceLock<Current> = OnceLock::new();

/// The task that runs in this process, or `None` where none does: outside workers, and in programs.
pub fn current() -> Option<&'static Current> {
    CURRENT
        .get()
        .filter(|current| current.seq.load(Ordering::Relaxed) != 0)
}

impl Current {
    pub(super) fn new(page: Page) -> Self {
        Self {
            page,
            seq: AtomicU64::new(0),
            job: AtomicU64::new(0),
            attempt: AtomicU32::new(0),
        }
    }

    pub(super) fn page(&self) -> &Page {
        &self.page
    }

    /// The sequence number of the task that runs, or 0.
    pub(super) fn seq(&self) -> u64 {
        self.seq.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, run: &Run) {
        // Relaxed: read by the task's own threads, which are started after this.
        self.seq.store(run.seq, Ordering::Relaxed);
        self.job.store(run.job, Ordering::Relaxed);
        self.attempt.store(run.attempt, Ordering::Relaxed);
    }

    pub(super) fn clear(&self) {
        self.seq.store(0, Ordering::Relaxed);
    }

    /// Whether the task's owner wants it to end: a task that runs long looks now and then and
    /// returns. See [`ExchangeOptions::cancel_grace`](crate::ExchangeOptions::cancel_grace).
    pub fn is_cancelled(&self) -> bool {
        self.page.is_asked(self.seq.load(Ordering::Relaxed))
    }

    /// Tells that the task starts processes of its own, which shall end with this worker also when
    /// its parent is killed: the worker then ends itself and its process group, instead of being ended
    /// by the system, which would leave the others. Holds from now on, for later tasks too.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn starts_processes(&self) -> std::io::Result<()> {
        crate::sys::end_with_group()
    }

    /// The number of the submission within its exchange, from 1.
    pub fn job(&self) -> u64 {
        self.job.load(Ordering::Relaxed)
    }

    /// How often the task was begun, this time included.
    pub fn attempt(&self) -> u32 {
        self.attempt.load(Ordering::Relaxed)
    }
}
