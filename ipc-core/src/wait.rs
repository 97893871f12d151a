//! The one loop behind every call that may wait.

use std::io;
use std::os::fd::BorrowedFd;

use crate::Deadline;
use crate::sys::{self, Interest};

/// Calls `attempt` until it answers something else than "interrupted" or "would block", sleeping in
/// between until `fd` is ready or `deadline` has passed. `attempt` is told whether it may wait in the
/// kernel, which saves the plain blocking call a second system call.
pub(crate) fn until<T>(
    fd: BorrowedFd<'_>,
    interest: Interest,
    deadline: Deadline,
    mut attempt: impl FnMut(bool) -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match attempt(deadline == Deadline::Never) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock && deadline != Deadline::Now =>
            {
                ready(fd, interest, deadline)?;
            }
            result => return result,
        }
    }
}

/// Waits until `fd` is ready for `interest`.
///
/// # Errors
///
/// `TimedOut` when `deadline` has passed.
pub(crate) fn ready(fd: BorrowedFd<'_>, interest: Interest, deadline: Deadline) -> io::Result<()> {
    loop {
        match sys::poll(fd, interest, deadline.remaining()) {
            Ok(true) => return Ok(()),
            Ok(false) if deadline.is_expired() => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
}
