//! Ending with the parent, even while a task computes.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgrp, getpid};

use super::EXIT_ORPHAN;
use super::serve::Control;

/// How long a program has to end by itself after its parent has died: its own channel told it.
pub(super) const PROGRAM_GRACE: Duration = Duration::from_millis(300);

/// Whether the parent was seen to be gone.
static ORPHANED: AtomicBool = AtomicBool::new(false);
/// Whether a task or program runs.
static BUSY: AtomicBool = AtomicBool::new(false);

/// A task or program begins.
pub(super) fn enter() {
    // SeqCst: pairs with the watcher, which sets ORPHANED and then reads BUSY. One of the two sees
    // the other's.
    BUSY.store(true, Ordering::SeqCst);
    if ORPHANED.load(Ordering::SeqCst) {
        std::process::exit(EXIT_ORPHAN);
    }
}

/// It has ended.
pub(super) fn leave() {
    BUSY.store(false, Ordering::SeqCst);
}

/// Starts the thread that ends this process, and what it has started, when the parent is gone: a
/// task that computes does not look at its channel.
pub(super) fn watch(control: &Control, grace: Duration) -> std::io::Result<()> {
    let lifeline = control.inbound().try_clone_to_owned()?;
    let watcher = move || {
        loop {
            // No event is asked for: only the hang-up, which is always told, ends the wait.
            let mut fds = [PollFd::new(lifeline.as_fd(), PollFlags::empty())];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => break,
                Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return,
            }
        }
        ORPHANED.store(true, Ordering::SeqCst);
        if !BUSY.load(Ordering::SeqCst) {
            // The main thread reads the end of its channel and ends in order.
            return;
        }
        let until = Instant::now() + grace;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            thread::park_timeout(left);
        }
        if getpgrp() == getpid() {
            // The group is this worker's own: what the task has started goes with it.
            let _ = kill(Pid::from_raw(0), Signal::SIGKILL);
        }
        std::process::exit(EXIT_ORPHAN);
    };
    thread::Builder::new()
        .name("ipc-lifeline".into())
        .stack_size(64 * 1024)
        .spawn(watcher)
        .map(drop)
}
