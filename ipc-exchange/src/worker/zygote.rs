//! The process that workers are forked from, inside.

use std::io::Write;
use std::os::fd::OwnedFd;

use ipc_core::{AnyChannel, Socket};
use nix::errno::Errno;
use nix::unistd::{dup2_stderr, dup2_stdout};

use super::serve::{Control, serve};
use super::{EXIT_ORPHAN, EXIT_REFUSED};
use crate::Registry;
use crate::sys::{Sibling, fork_sibling, threads};
use crate::wire::FromWorker;

/// Forks until the exchange is gone; answers the exit code, in the forked processes theirs.
pub(super) fn serve_forks(
    registry: &'static Registry,
    mut control: Control,
    requests: OwnedFd,
) -> i32 {
    if threads() != Some(1) {
        let reason = "a zygote must have one thread: the program starts others before init";
        let _ = control.send(FromWorker::Refused(reason.into()));
        return EXIT_REFUSED;
    }
    let Ok(mut requests) = Socket::from_fd(requests) else {
        return EXIT_REFUSED;
    };
    if control.send(FromWorker::Ready).is_err() {
        return EXIT_ORPHAN;
    }
    // The requests are the lifeline from now on: this one must not be shared with what is forked.
    drop(control);
    loop {
        // One byte at a time, so that the descriptors of two requests are never read together.
        let mut request = [0];
        let fds = match requests.recv_fds(&mut request, 3) {
            Ok((1, fds)) if fds.len() == usize::from(request[0]) => fds,
            // Dismissed, or the exchange is gone.
            _ => return 0,
        };
        let (pid, errno) = match fork_sibling() {
            Ok(Sibling::New) => {
                drop(requests);
                return forked(registry, fds);
            }
            Ok(Sibling::Old(pid)) => (pid, 0),
            Err(error) => (0, error.raw_os_error().unwrap_or(Errno::EAGAIN as i32)),
        };
        drop(fds);
        let mut answer = [0; 8];
        answer[..4].copy_from_slice(&pid.to_le_bytes());
        answer[4..].copy_from_slice(&errno.to_le_bytes());
        if requests.write_all(&answer).is_err() {
            return EXIT_ORPHAN;
        }
    }
}

/// What a forked process does: what one that was started with these descriptors would. The exchange
/// gives it a process group of its own before it says the first word.
fn forked(registry: &'static Registry, fds: Vec<OwnedFd>) -> i32 {
    let mut fds = fds.into_iter();
    let (Some(control), Some(extra)) = (fds.next(), fds.next()) else {
        return EXIT_REFUSED;
    };
    if let Some(output) = fds.next()
        && dup2_stdout(&output)
            .and_then(|()| dup2_stderr(&output))
            .is_err()
    {
        return EXIT_REFUSED;
    }
    match AnyChannel::from_fd(control) {
        Ok(channel) => serve(registry, channel, extra),
        Err(_) => EXIT_REFUSED,
    }
}
