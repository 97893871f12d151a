//! Memory that is frozen: a memfd with all its seals, mapped for reading.
//!
//! Why `&[u8]` to pages that other processes map too is sound: `F_SEAL_WRITE` is only granted while no
//! writable mapping and no pinned page of the memfd exists, and forbids writing, new writable mappings
//! and punching holes from then on, for every process; `F_SEAL_SHRINK` keeps the pages from going
//! away. Seals cannot be removed. So once both are seen, the bytes never change.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::slice;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::fstat;
use nix::unistd::ftruncate;

/// What makes the bytes constant.
const SEALS: SealFlag = SealFlag::F_SEAL_WRITE
    .union(SealFlag::F_SEAL_SHRINK)
    .union(SealFlag::F_SEAL_GROW);

/// A mapping of a whole memfd. An empty one has no pages.
#[derive(Debug)]
pub(crate) struct FrozenPages {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread.
unsafe impl Send for FrozenPages {}

// SAFETY: the bytes never change, so any number of threads may read them.
unsafe impl Sync for FrozenPages {}

impl FrozenPages {
    pub(crate) fn build(len: usize, fill: impl FnOnce(&mut [u8])) -> io::Result<(OwnedFd, Self)> {
        let fd = memfd_create(
            "ipc-frozen",
            MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING,
        )?;
        let size = i64::try_from(len).map_err(|_| Errno::EFBIG)?;
        ftruncate(&fd, size)?;
        let draft = Self::map_pages(fd.as_fd(), len, libc::PROT_READ | libc::PROT_WRITE)?;
        // SAFETY: `draft` is `len` readable and writable bytes for as long as it lives, all of them
        // initialised (zero). No one else has the descriptor yet, so this is the only reference.
        fill(unsafe { slice::from_raw_parts_mut(draft.base.as_ptr(), len) });
        // The seal is refused while there is a writable mapping.
        drop(draft);
        fcntl(&fd, FcntlArg::F_ADD_SEALS(SEALS | SealFlag::F_SEAL_SEAL))?;
        let pages = Self::map_pages(fd.as_fd(), len, libc::PROT_READ)?;
        Ok((fd, pages))
    }

    pub(crate) fn map(fd: BorrowedFd<'_>, len_max: usize) -> io::Result<Self> {
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
        let seals = match fcntl(fd, FcntlArg::F_GET_SEALS) {
            Ok(seals) => SealFlag::from_bits_retain(seals),
            Err(Errno::EINVAL) => return Err(invalid("the descriptor is not a memfd".to_owned())),
            Err(errno) => return Err(errno.into()),
        };
        if !seals.contains(SEALS) {
            return Err(invalid("the memory is not frozen".to_owned()));
        }
        // The size is final, now that the seals are known.
        let size = fstat(fd)?.st_size;
        match usize::try_from(size) {
            Ok(len) if len <= len_max => Self::map_pages(fd, len, libc::PROT_READ),
            _ => Err(invalid(format!(
                "{size} bytes of memory exceed the limit of {len_max}"
            ))),
        }
    }

    fn map_pages(fd: BorrowedFd<'_>, len: usize, protection: libc::c_int) -> io::Result<Self> {
        if len == 0 {
            let base = NonNull::dangling();
            return Ok(Self { base, len });
        }
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let base =
            unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, fd.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).expect("a mapping is never at address zero");
        Ok(Self { base, len })
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `base` is `len` initialised bytes (or dangling, aligned and none) that stay mapped
        // for as long as `self` is borrowed, and that nobody can change: see the top of this file.
        unsafe { slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }
}

impl Drop for FrozenPages {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        // SAFETY: exactly the range that `map_pages` mapped; all references into it borrowed `self`.
        let result = unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert_eq!(result, 0, "the range of a mapping can be unmapped");
    }
}
