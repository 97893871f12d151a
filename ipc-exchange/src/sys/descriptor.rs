//! Descriptors that the parent gave to this process at known numbers.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Numbers handed out already: each can be owned once.
static TAKEN: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// Takes ownership of an inherited descriptor and makes it close-on-exec.
///
/// Only called at the very start of a worker, with numbers its parent named: nothing else in the
/// process can own them yet.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    let mut taken = TAKEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if number < 3 || taken.contains(&number) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("descriptor {number} is not one that a parent passes on"),
        ));
    }
    // SAFETY: `from_raw_fd` needs an open descriptor that nothing else owns. It is checked to be
    // open just below (a closed number is never used and, being closed, is nobody's); it was named
    // by the parent that opened it for this process, before any code of this process could open
    // one with the same number; and `TAKEN` refuses a second owner.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    if let Err(error) = fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)) {
        // It is not open: nothing to close.
        std::mem::forget(fd);
        return Err(error.into());
    }
    taken.push(number);
    Ok(fd)
}
