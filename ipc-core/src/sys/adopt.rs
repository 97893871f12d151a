//! Descriptors by number become owned ones.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Takes ownership of a descriptor that a system call has just returned.
///
/// # Safety
///
/// `fd` is open, and nothing else owns it or will close it.
pub(crate) unsafe fn adopt(fd: RawFd) -> OwnedFd {
    debug_assert!(fd >= 0, "a system call answered a negative descriptor");
    // SAFETY: the caller promises that `fd` is open and owned by nobody else, which is all that
    // `OwnedFd` asks.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Duplicates `fd`, close-on-exec, at a number of at least `floor`. A floor at or above the limit of
/// descriptors is like any other want of descriptors, which the system does not say so.
pub(crate) fn duplicate_above(fd: impl AsFd, floor: RawFd) -> io::Result<OwnedFd> {
    let number = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(floor)).map_err(|errno| match errno {
        Errno::EINVAL => Errno::EMFILE,
        other => other,
    })?;
    // SAFETY: `fcntl` has just made this descriptor for us alone.
    Ok(unsafe { adopt(number) })
}

/// Numbers that [`take_inherited`] has given away.
static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// Takes ownership of an inherited descriptor, once, and makes it close-on-exec. `None` when there is
/// none of this number, or its owner is already in this process.
///
/// The caller has the parent's word that it meant this number for this process. What the standard
/// library and this crate open is close-on-exec from the start; a descriptor that is not can only have
/// come through exec, so no value of this program owns it.
pub(crate) fn take_inherited(number: RawFd) -> io::Result<Option<OwnedFd>> {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if number < 0 || taken.contains(&number) {
        return Ok(None);
    }
    // SAFETY: only asked for its flags below, which for a closed number is `EBADF`; the borrow ends
    // before this function does.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    match fcntl(fd, FcntlArg::F_GETFD) {
        Ok(flags) if !FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC) => {}
        Ok(_) | Err(Errno::EBADF) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    }
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    taken.insert(number);
    // SAFETY: the number is open; it came through exec (see above), and `TAKEN` hands it out once.
    Ok(Some(unsafe { adopt(number) }))
}
