//! Memory that nobody can change any more, to share between processes.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::FrozenPages;

/// Read-only memory that processes share by handing its descriptor on: made once, then frozen for
/// everybody, its maker included.
///
/// That it is frozen is the kernel's promise (seals against writing, shrinking and growing, which
/// cannot be taken back) and is checked before the memory is looked at; so it is a plain `&[u8]` even
/// if the peer that sent it is hostile. The pages are freed with the last descriptor or mapping.
///
/// Linux only; elsewhere every constructor answers [`Unsupported`](io::ErrorKind::Unsupported).
///
/// # Examples
///
/// ```
/// use ipc_core::FrozenMemory;
/// use std::os::fd::AsFd;
///
/// let ours = FrozenMemory::new(b"shared")?;
/// // As if it had been received.
/// let fd = ours.as_fd().try_clone_to_owned()?;
/// let theirs = FrozenMemory::from_fd(fd, 1024)?;
/// assert_eq!(&theirs[..], b"shared");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct FrozenMemory {
    fd: OwnedFd,
    pages: FrozenPages,
}

impl FrozenMemory {
    /// Freezes a copy of `bytes`.
    ///
    /// # Errors
    ///
    /// What the system says: no memory, too many descriptors.
    pub fn new(bytes: &[u8]) -> io::Result<Self> {
        Self::build(bytes.len(), |memory| memory.copy_from_slice(bytes))
    }

    /// Makes `len` zero bytes, lets `fill` write to them in place, and freezes them.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn build(len: usize, fill: impl FnOnce(&mut [u8])) -> io::Result<Self> {
        let (fd, pages) = FrozenPages::build(len, fill)?;
        Ok(Self { fd, pages })
    }

    /// Maps memory that a peer has frozen, of at most `len_max` bytes.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) when the descriptor is not of frozen memory, or of
    /// more than `len_max` bytes; else what the system says.
    pub fn from_fd(fd: OwnedFd, len_max: usize) -> io::Result<Self> {
        let pages = FrozenPages::map(fd.as_fd(), len_max)?;
        Ok(Self { fd, pages })
    }
}

impl Deref for FrozenMemory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.pages.bytes()
    }
}

impl AsRef<[u8]> for FrozenMemory {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsFd for FrozenMemory {
    /// The descriptor to send to a peer.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for FrozenMemory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("FrozenMemory")
            .field("fd", &self.fd)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
