//! One page shared by an exchange and one of its workers.
//!
//! It settles without a message, and without waking anybody, who has a job that was sent ahead: the
//! worker begins it or the exchange takes it back, by one compare-and-swap on the job's slot. After
//! the worker's death it tells exactly which job had been begun. It carries no data that anyone
//! computes an index or a length from, so whatever a broken worker writes there can only make its
//! own jobs count as begun or not begun.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapRaw;

use super::platform::{check_page_file, page_file};
use crate::plan::SLOTS;

const BYTES: u64 = 4096;

/// Words before the slots.
const HEADER: usize = 8;
/// The sequence number of the job that is asked to stop.
const ASKED: usize = 0;

const QUEUED: u64 = 1;
const BEGUN: u64 = 2;
const RECALLED: u64 = 3;

const _: () = assert!((HEADER + SLOTS) * 8 <= BYTES as usize);

#[derive(Debug)]
pub(crate) struct Page {
    map: MmapRaw,
    file: File,
}

impl Page {
    pub(crate) fn new() -> io::Result<Self> {
        Self::map(page_file(BYTES)?)
    }

    /// Maps the page that another process made.
    pub(crate) fn open(fd: OwnedFd) -> io::Result<Self> {
        let file = File::from(fd);
        check_page_file(&file, BYTES)?;
        Self::map(file)
    }

    fn map(file: File) -> io::Result<Self> {
        let map = MmapRaw::map_raw(&file)?;
        Ok(Self { map, file })
    }

    /// Exchange: the job may be begun. Called before it is sent.
    pub(crate) fn publish(&self, seq: u64) {
        // Release: pairs with the worker's Acquire in `begin`, so that a slot's earlier use is over.
        self.slot(seq).store(word(seq, QUEUED), Ordering::Release);
    }

    /// Exchange: takes the job back, if the worker has not begun it.
    pub(crate) fn recall(&self, seq: u64) -> bool {
        self.change(seq, RECALLED)
    }

    /// Worker: begins the job, unless it was taken back.
    pub(crate) fn begin(&self, seq: u64) -> bool {
        self.change(seq, BEGUN)
    }

    /// Whether the worker has begun the job.
    pub(crate) fn is_begun(&self, seq: u64) -> bool {
        // Acquire: pairs with the Release half of `change` in the worker.
        self.slot(seq).load(Ordering::Acquire) == word(seq, BEGUN)
    }

    /// Exchange: asks the worker to stop this job.
    pub(crate) fn ask(&self, seq: u64) {
        // Relaxed: a flag that is looked at now and then; nothing else depends on it.
        self.word(ASKED).store(seq, Ordering::Relaxed);
    }

    /// Worker: whether this job was asked to stop.
    pub(crate) fn is_asked(&self, seq: u64) -> bool {
        self.word(ASKED).load(Ordering::Relaxed) == seq
    }

    fn change(&self, seq: u64, to: u64) -> bool {
        // AcqRel: whoever wins the slot sees what the other wrote before publishing it. A failure
        // needs no order: the job is then left alone.
        self.slot(seq)
            .compare_exchange(
                word(seq, QUEUED),
                word(seq, to),
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    fn slot(&self, seq: u64) -> &AtomicU64 {
        self.word(HEADER + (seq % SLOTS as u64) as usize)
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index < HEADER + SLOTS);
        let pointer = self.map.as_mut_ptr().cast::<u64>().wrapping_add(index);
        // SAFETY: `from_ptr` needs a pointer that is valid and aligned for as long as the result
        // lives, and only atomic access to it. `index` is below `HEADER + SLOTS` (constant, or
        // reduced modulo `SLOTS`), which the assertion above keeps inside the `BYTES` mapped; the
        // file has exactly that size and (on Linux) cannot shrink. Mappings are page-aligned. The
        // mapping lives as long as `self`, whose borrow the result has. Every access to the page,
        // in both processes, goes through this function.
        unsafe { AtomicU64::from_ptr(pointer) }
    }
}

impl AsFd for Page {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn word(seq: u64, state: u64) -> u64 {
    seq << 2 | state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_begun_or_recalled_never_both() {
        let page = Page::new().unwrap();
        let other = Page::open(page.file.try_clone().unwrap().into()).unwrap();
        page.publish(1);
        assert!(other.begin(1));
        assert!(!page.recall(1));
        assert!(page.is_begun(1));
        page.publish(2);
        assert!(page.recall(2));
        assert!(!other.begin(2));
        assert!(!page.is_begun(2));
    }

    #[test]
    fn a_slot_used_again_is_another_job() {
        let page = Page::new().unwrap();
        let again = 1 + SLOTS as u64;
        page.publish(1);
        assert!(page.begin(1));
        page.publish(again);
        assert!(!page.is_begun(1));
        assert!(!page.recall(1));
        assert!(page.begin(again));
    }

    #[test]
    fn a_file_of_another_size_is_refused() {
        let file = super::super::platform::page_file(100).unwrap();
        assert!(Page::open(file.into()).is_err());
    }
}
