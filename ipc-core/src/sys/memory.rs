//! Shared memory of a ring: a sealed memfd, mapped, and the only code that touches its bytes.
//!
//! The peer maps the same pages and may write anything there at any time. Three rules keep that from
//! being undefined behaviour here:
//!
//! - The pages never belong to Rust's abstract machine: they come from `mmap`, no reference to their
//!   bytes is ever made, and payload moves only through [`super::copy::copy`], which is
//!   assembly or volatile accesses. What was copied out is private memory, and only that is looked at;
//!   what goes from one ring to another is not looked at at all.
//! - The few words both sides exchange are aligned, and only ever used as atomics.
//! - Offsets come from this side's private positions, masked with the capacity that was checked once;
//!   nothing in the shared pages is used as an offset, a length or a pointer.
//!
//! The pages cannot go away under us: the seals against shrinking are checked before mapping, so
//! truncation (and with it `SIGBUS`) is impossible. Punching a hole only makes them read as zero.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::fstat;

use super::copy::copy;

/// The page before the data: what the ring is, and the words both sides exchange.
const HEADER_LEN: usize = 4096;
/// `ipcring` and the version of the layout.
const MAGIC: u64 = u64::from_le_bytes(*b"ipcring\x01");

// Each word has two cache lines for itself, because processors fetch lines in pairs. What both sides
// write often (the positions) is apart from what is written rarely and read often (the states).
const MAGIC_AT: usize = 0;
const CAPACITY_AT: usize = 8;
const TAIL_AT: usize = 128;
const ATTACHMENTS_AT: usize = 136;
const HEAD_AT: usize = 256;
const CONSUMER_STATE_AT: usize = 384;
const PRODUCER_STATE_AT: usize = 512;
const WAKE_STAMP_AT: usize = 640;

/// The least capacity: a page, so that the data can be mapped twice in a row.
pub(crate) const CAPACITY_MIN: usize = 4096;
/// The greatest capacity, a bound on what a peer can make us map.
pub(crate) const CAPACITY_MAX: usize = 1 << 30;

const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_SEAL);

/// The mapping: the header page, then the data twice in a row, so that any range of positions is
/// contiguous.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    base: NonNull<u8>,
    capacity: usize,
}

// SAFETY: the mapping belongs to this value alone, is not tied to a thread, and is only accessed
// through the methods below.
unsafe impl Send for SharedMemory {}

impl SharedMemory {
    /// Makes the memory of a ring with `capacity` bytes, a power of two within the bounds, and
    /// answers the descriptor to give to the peer.
    pub(crate) fn create(capacity: usize) -> io::Result<(Self, OwnedFd)> {
        debug_assert!(is_valid(capacity), "the caller rounds the capacity");
        let fd = memfd_create(
            "ipc-ring",
            MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING,
        )?;
        let len = i64::try_from(HEADER_LEN + capacity).expect("at most a gibibyte and a page");
        // Commits the pages too: memory that is not there is an error now instead of a `SIGBUS` later.
        fallocate(&fd, FallocateFlags::empty(), 0, len)?;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(SEALS))?;
        let memory = Self::map_pages(fd.as_fd(), capacity)?;
        memory.write_at(CAPACITY_AT, &(capacity as u64).to_ne_bytes());
        memory.write_at(MAGIC_AT, &MAGIC.to_ne_bytes());
        Ok((memory, fd))
    }

    /// Maps what a peer created, at most `capacity_max` bytes, after checking all that could hurt.
    ///
    /// # Errors
    ///
    /// `InvalidData` when the seals, the size or the header are not those of a ring.
    pub(crate) fn map(fd: BorrowedFd<'_>, capacity_max: usize) -> io::Result<Self> {
        let invalid = |text| io::Error::new(io::ErrorKind::InvalidData, text);
        let seals = match fcntl(fd, FcntlArg::F_GET_SEALS) {
            Ok(seals) => SealFlag::from_bits_retain(seals),
            Err(Errno::EINVAL) => return Err(invalid("the peer's ring is not a memfd")),
            Err(errno) => return Err(errno.into()),
        };
        if !seals.contains(SEALS) {
            return Err(invalid("the peer's ring is not sealed against truncation"));
        }
        // The size is final, now that the seals are known.
        let len = usize::try_from(fstat(fd)?.st_size).unwrap_or(0);
        let capacity = len
            .checked_sub(HEADER_LEN)
            .filter(|&capacity| is_valid(capacity));
        let capacity = capacity.ok_or_else(|| invalid("the peer's ring has an impossible size"))?;
        if capacity > capacity_max {
            return Err(invalid("the peer's ring is larger than what is accepted"));
        }
        let memory = Self::map_pages(fd, capacity)?;
        // Read once; nothing after this looks at the header again.
        if memory.read_at(MAGIC_AT) != MAGIC {
            return Err(invalid("the peer's ring has another format or version"));
        }
        if memory.read_at(CAPACITY_AT) != capacity as u64 {
            return Err(invalid("the peer's ring contradicts its own size"));
        }
        Ok(memory)
    }

    fn map_pages(fd: BorrowedFd<'_>, capacity: usize) -> io::Result<Self> {
        let len = HEADER_LEN + 2 * capacity;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new private mapping at an address of the kernel's choice touches nothing that
        // exists.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).expect("a mapping is never at address zero");
        // From here on dropping it unmaps the whole range.
        let memory = Self { base, capacity };
        memory.map_part(fd, 0, HEADER_LEN + capacity, 0)?;
        memory.map_part(fd, HEADER_LEN + capacity, capacity, HEADER_LEN)?;
        Ok(memory)
    }

    /// Maps `len` bytes of `fd` from `offset` on, `at` bytes into the reserved range.
    fn map_part(&self, fd: BorrowedFd<'_>, at: usize, len: usize, offset: usize) -> io::Result<()> {
        debug_assert!(
            at + len <= HEADER_LEN + 2 * self.capacity,
            "within the reserved range"
        );
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        let target = self.base.as_ptr().wrapping_add(at).cast();
        let offset = i64::try_from(offset).expect("at most a gibibyte and a page");
        // SAFETY: the replaced range is within the reservation that `self` owns, and nothing refers
        // to its old, inaccessible pages.
        let part = unsafe { libc::mmap(target, len, protection, flags, fd.as_raw_fd(), offset) };
        if part == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// How many bytes the ring holds: a power of two.
    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Copies `bytes` to `position`.
    ///
    /// # Panics
    ///
    /// When there are more bytes than the capacity.
    #[inline]
    pub(crate) fn write(&self, position: u64, bytes: &[u8]) {
        assert!(
            bytes.len() <= self.capacity,
            "a transfer is at most the capacity"
        );
        // SAFETY: `data_at` answers an offset below the capacity behind which the capacity's bytes
        // are mapped (the data is mapped twice), and `bytes` is at most that long; private memory
        // and the mapping do not overlap.
        unsafe { copy(bytes.as_ptr(), self.data_at(position), bytes.len()) }
    }

    /// Copies the bytes at `position` into `buf`.
    ///
    /// # Panics
    ///
    /// When `buf` is longer than the capacity.
    #[inline]
    pub(crate) fn read(&self, position: u64, buf: &mut [u8]) {
        assert!(
            buf.len() <= self.capacity,
            "a transfer is at most the capacity"
        );
        // SAFETY: as in `write`; `buf` is private and writable.
        unsafe { copy(self.data_at(position), buf.as_mut_ptr(), buf.len()) }
    }

    /// Copies `len` bytes at `source_position` of another ring to `position`.
    ///
    /// # Panics
    ///
    /// When that is more than either capacity, or both are the same mapping.
    #[inline]
    pub(crate) fn write_from(
        &self,
        position: u64,
        source: &Self,
        source_position: u64,
        len: usize,
    ) {
        assert!(
            len <= self.capacity.min(source.capacity),
            "a transfer is at most the capacity"
        );
        assert_ne!(self.base, source.base, "a ring is not copied onto itself");
        // SAFETY: as in `write` and `read`, each for its own mapping; two mappings do not overlap. A
        // peer that put the same pages behind both only mixes up its own bytes, as if it had written
        // them meanwhile.
        unsafe { copy(source.data_at(source_position), self.data_at(position), len) }
    }

    #[inline]
    fn data_at(&self, position: u64) -> *mut u8 {
        // Truncation keeps the low bits, which are all that the mask lets through.
        let offset = position as usize & (self.capacity - 1);
        self.base.as_ptr().wrapping_add(HEADER_LEN + offset)
    }

    fn write_at(&self, at: usize, bytes: &[u8; 8]) {
        // SAFETY: `at` is one of the constants above, each at least 8 bytes before `HEADER_LEN`.
        unsafe {
            copy(
                bytes.as_ptr(),
                self.base.as_ptr().wrapping_add(at),
                bytes.len(),
            )
        }
    }

    fn read_at(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        // SAFETY: as in `write_at`.
        unsafe {
            copy(
                self.base.as_ptr().wrapping_add(at),
                bytes.as_mut_ptr(),
                bytes.len(),
            )
        }
        u64::from_ne_bytes(bytes)
    }

    /// How many bytes were ever written; the producer's.
    #[inline]
    pub(crate) fn tail(&self) -> &AtomicU64 {
        self.word64(TAIL_AT)
    }

    /// How many bytes were ever read; the consumer's.
    #[inline]
    pub(crate) fn head(&self) -> &AtomicU64 {
        self.word64(HEAD_AT)
    }

    /// How many packets with descriptors were ever sent; the producer's.
    #[inline]
    pub(crate) fn attachments(&self) -> &AtomicU32 {
        self.word32(ATTACHMENTS_AT)
    }

    /// How the consumer waits; written by it, and by a producer that wakes it.
    #[inline]
    pub(crate) fn consumer_state(&self) -> &AtomicU32 {
        self.word32(CONSUMER_STATE_AT)
    }

    /// How the producer waits; written by it, and by a consumer that wakes it.
    #[inline]
    pub(crate) fn producer_state(&self) -> &AtomicU32 {
        self.word32(PRODUCER_STATE_AT)
    }

    /// When the last wake was sent, in nanoseconds of the monotonic clock.
    pub(crate) fn wake_stamp(&self) -> &AtomicU64 {
        self.word64(WAKE_STAMP_AT)
    }

    #[inline]
    fn word64(&self, at: usize) -> &AtomicU64 {
        let word = self.base.as_ptr().wrapping_add(at).cast::<u64>();
        // SAFETY: the word lies in the mapped header, aligned (the base is a page, `at` a multiple of
        // 8), lives as long as `self`, and every access to it on both sides is atomic. A hostile
        // peer's plain store comes from outside this program, as if by another device.
        unsafe { AtomicU64::from_ptr(word) }
    }

    #[inline]
    fn word32(&self, at: usize) -> &AtomicU32 {
        let word = self.base.as_ptr().wrapping_add(at).cast::<u32>();
        // SAFETY: as in `word64`, with a multiple of 4.
        unsafe { AtomicU32::from_ptr(word) }
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        let len = HEADER_LEN + 2 * self.capacity;
        // SAFETY: exactly the range that `map_pages` reserved, and the references into it borrowed
        // `self`, so none is left.
        let result = unsafe { libc::munmap(self.base.as_ptr().cast(), len) };
        debug_assert_eq!(result, 0, "the range of a mapping can be unmapped");
    }
}

fn is_valid(capacity: usize) -> bool {
    capacity.is_power_of_two() && (CAPACITY_MIN..=CAPACITY_MAX).contains(&capacity)
}
