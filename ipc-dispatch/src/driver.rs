//! Where readiness and time come from: the system, or a script.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use crate::selector::{Event, Token};
use crate::sys;

/// The source of readiness and time of one selector.
pub(crate) enum Driver {
    System(sys::Poller),
}

/// Wakes a driver from any thread.
#[derive(Clone, Debug)]
pub(crate) enum Waker {
    System(sys::Waker),
}

impl Waker {
    pub(crate) fn wake(&self) {
        match self {
            Self::System(waker) => waker.wake(),
        }
    }
}

impl Driver {
    pub(crate) fn waker(&self) -> Waker {
        match self {
            Self::System(poller) => Waker::System(poller.waker()),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        match self {
            Self::System(_) => Instant::now(),
        }
    }

    /// Changes what is waited for on `fd` from `old` to `new`; either may be nothing.
    pub(crate) fn change(
        &mut self,
        fd: Option<BorrowedFd<'_>>,
        token: Token,
        old: Event,
        new: Event,
        edge: bool,
    ) -> io::Result<()> {
        match self {
            Self::System(poller) => match fd {
                Some(fd) => poller.change(fd, token, old, new, edge),
                None => Ok(()),
            },
        }
    }

    /// Waits for at most `timeout` and tells `sink` what is ready. An interruption by a signal is
    /// the end of the wait.
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        sink: &mut dyn FnMut(Token, Event),
    ) -> io::Result<()> {
        match self {
            Self::System(poller) => poller.wait(timeout, sink),
        }
    }

    /// Whether a source must be told again after every event to be reported level-triggered.
    pub(crate) fn must_rearm(&self) -> bool {
        match self {
            Self::System(_) => sys::MUST_REARM,
        }
    }

    /// A descriptor was exchanged under a registration: the old one can no longer be named.
    pub(crate) fn lose(&mut self) {
        match self {
            Self::System(poller) => poller.lost = true,
        }
    }

    /// Whether registrations that cannot be named any more must be purged.
    pub(crate) fn has_lost(&self) -> bool {
        match self {
            Self::System(poller) => poller.lost,
        }
    }

    /// Starts afresh, with nothing registered.
    pub(crate) fn rebuild(&mut self) -> io::Result<()> {
        match self {
            Self::System(poller) => poller.rebuild(),
        }
    }

    /// Parts a forked child from its parent: the two would share wake-ups otherwise.
    pub(crate) fn renew_waker(&mut self) -> io::Result<()> {
        match self {
            Self::System(poller) => poller.renew_waker(),
        }
    }

    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        match self {
            Self::System(poller) => poller.descriptors(),
        }
    }
}
