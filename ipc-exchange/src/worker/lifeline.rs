//! Ending with the parent, even while a task computes.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgrp, getpid};

use super::EXIT_ORPHAN;
use super::serve::Control;
use crate::outcome::lock;
use crate::refuge::leave;

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
pub(super) fn rest() {
    BUSY.store(false, Ordering::SeqCst);
}

/// What takes the place of a lifeline that has ended.
static NEXT: Mutex<Option<OwnedFd>> = Mutex::new(None);
/// Where a parent is waited for.
static FOLDER: Mutex<Option<PathBuf>> = Mutex::new(None);
/// Whoever waits for that.
static WATCHER: OnceLock<Thread> = OnceLock::new();

/// Starts the thread that ends this process, and what it has started, when the parent is gone and
/// no other has come for so long: a task that computes does not look at its channel.
pub(super) fn watch(control: &Control, grace: Duration) -> std::io::Result<()> {
    let mut lifeline = control.inbound().try_clone_to_owned()?;
    let watcher = move || {
        WATCHER.get_or_init(thread::current);
        loop {
            if !await_hang_up(&lifeline) {
                return;
            }
            ORPHANED.store(true, Ordering::SeqCst);
            if !BUSY.load(Ordering::SeqCst) {
                // The main thread reads the end of its channel and ends in order.
                return;
            }
            match await_next(grace) {
                Some(next) => lifeline = next,
                None => break,
            }
        }
        // The program itself may be stuck.
        leave_folder();
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

/// Answers whether it can be waited for.
fn await_hang_up(lifeline: &OwnedFd) -> bool {
    loop {
        // No event is asked for: only the hang-up, which is always told, ends the wait.
        let mut fds = [PollFd::new(lifeline.as_fd(), PollFlags::empty())];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => return true,
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

/// Waits for another lifeline, for so long.
fn await_next(grace: Duration) -> Option<OwnedFd> {
    let until = Instant::now() + grace;
    loop {
        if let Some(next) = lock(&NEXT).take() {
            ORPHANED.store(false, Ordering::SeqCst);
            return Some(next);
        }
        thread::park_timeout(until.checked_duration_since(Instant::now())?);
    }
}

/// Whoever waits for another parent does so in this folder.
pub(super) fn waits_in(folder: &Path) {
    *lock(&FOLDER) = Some(folder.to_owned());
}

/// Leaves the folder where another parent was waited for, if this process still waits there.
pub(super) fn leave_folder() {
    if let Some(folder) = lock(&FOLDER).take() {
        leave(&folder);
    }
}

/// There is another parent, which keeps the folder's books from now on.
pub(super) fn renew(lifeline: OwnedFd) {
    lock(&FOLDER).take();
    *lock(&NEXT) = Some(lifeline);
    if let Some(watcher) = WATCHER.get() {
        watcher.unpark();
    }
}
