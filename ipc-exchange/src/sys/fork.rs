//! A fork in the middle of the caller's code.

use std::io;
use std::os::fd::BorrowedFd;

use ipc_core::{AnyChannel, ChildProcess, Socket, descriptors};
use ipc_marshal::Duct;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::unistd::{ForkResult, close, fork, setsid};

use super::platform::threads;

/// Which of the two processes this is after [`fork_inline`], with its end of a duct to the other.
#[derive(Debug)]
pub enum Forked<ToChild, ToParent> {
    /// The process that called.
    Parent {
        /// To the child.
        duct: Duct<ToChild, ToParent>,
        /// The child, to be waited for.
        child: ChildProcess,
    },
    /// The new process. End it with [`std::process::exit`] or by returning from `main`.
    Child {
        /// To the parent.
        duct: Duct<ToParent, ToChild>,
    },
}

/// Goes on in two processes: pprocess's `create`, for code that runs inline in the child with
/// everything its parent has.
///
/// Prefer tasks and programs: this cannot be used in a program that has threads, and an
/// [`Exchange`](crate::Exchange) is one. The child does not end with the parent; it reads
/// `Disconnected` from its duct.
///
/// # Examples
///
/// ```standalone_crate
/// use ipc_exchange::{Forked, fork_inline};
///
/// let factor = 3;
/// // SAFETY: this program has no threads and nothing open that two processes could not share.
/// match unsafe { fork_inline::<u64, u64>() }? {
///     Forked::Parent { mut duct, mut child } => {
///         duct.send(14)?;
///         assert_eq!(duct.recv()?, 42);
///         assert!(child.wait()?.success());
///     }
///     Forked::Child { mut duct } => {
///         let number = duct.recv()?;
///         duct.send(number * factor)?;
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`ResourceBusy`](io::ErrorKind::ResourceBusy) when this process has more than one thread, or
/// where that cannot be told; else what the system says.
///
/// # Safety
///
/// No thread of this process may exist that the system does not list, and the caller must be fine
/// with the child having copies of everything: descriptors that both sides use (connections, shared
/// memory), unflushed buffers, and random number generators in the same state.
pub unsafe fn fork_inline<ToChild, ToParent>() -> io::Result<Forked<ToChild, ToParent>> {
    if threads() != Some(1) {
        return Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "a process with threads cannot be forked",
        ));
    }
    let (ours, theirs) = Socket::pair()?;
    // SAFETY: in a process with threads the child could only call async-signal-safe functions. This
    // one has a single thread: checked above, and promised by the caller for what cannot be seen.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(Forked::Parent {
            duct: Duct::from_channel(AnyChannel::from(ours)),
            child: ChildProcess::from_id(child.as_raw().unsigned_abs()),
        }),
        ForkResult::Child => Ok(Forked::Child {
            duct: Duct::from_channel(AnyChannel::from(theirs)),
        }),
    }
}

/// Goes on in a new process, in a session of its own, that nobody waits for; the old one exits. What
/// was inherited besides the standard streams is closed.
///
/// # Errors
///
/// [`ResourceBusy`](io::ErrorKind::ResourceBusy) when this process has threads: nothing has happened.
pub(crate) fn detach() -> io::Result<()> {
    if threads() != Some(1) {
        return Err(io::ErrorKind::ResourceBusy.into());
    }
    // SAFETY: in a process with threads the child could only call async-signal-safe functions. This
    // one has a single thread, checked above.
    if let ForkResult::Parent { .. } = unsafe { fork() }? {
        // Not `exit`: what would run at exit belongs to the new process now, the socket file of a
        // port for example.
        // SAFETY: `_exit` ends the process and has no requirements.
        unsafe { libc::_exit(0) };
    }
    setsid()?;
    close_inherited()
}

/// Closes what this process did not open: a pipe of the shell that somebody reads to its end, or a
/// locked file, would be held as long as this process lives. All that is opened here is closed on
/// exec, so that what has no such mark has come through one.
fn close_inherited() -> io::Result<()> {
    for descriptor in descriptors()? {
        if descriptor.number <= libc::STDERR_FILENO {
            continue;
        }
        // SAFETY: it was open just now, and there is no other thread that could close it.
        let fd = unsafe { BorrowedFd::borrow_raw(descriptor.number) };
        let flags = FdFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFD)?);
        if !flags.contains(FdFlag::FD_CLOEXEC) {
            close(descriptor.number)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_not_forked() {
        // SAFETY: the test harness has threads, so this is refused before anything happens.
        let refused = unsafe { fork_inline::<(), ()>() };
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    }
}
