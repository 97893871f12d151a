//! Where readiness and time come from: the system, or a script.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use crate::selector::{Event, Token};
use crate::simulation::{Simulation, Step};
use crate::sys;

/// The source of readiness and time of one selector.
pub(crate) enum Driver {
    System(sys::Poller),
    /// With a descriptor to show to those who ask for one.
    Simulated(Simulation, Option<OwnedFd>),
}

/// Wakes a driver from any thread.
#[derive(Clone, Debug)]
pub(crate) enum Waker {
    System(sys::Waker),
    /// A simulated loop never really sleeps.
    Simulated,
}

impl Waker {
    pub(crate) fn wake(&self) {
        match self {
            Self::System(waker) => waker.wake(),
            Self::Simulated => {}
        }
    }
}

impl Driver {
    pub(crate) fn waker(&self) -> Waker {
        match self {
            Self::System(poller) => Waker::System(poller.waker()),
            Self::Simulated(..) => Waker::Simulated,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        match self {
            Self::System(_) => Instant::now(),
            Self::Simulated(simulation, _) => simulation.now(),
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
            Self::Simulated(simulation, _) => {
                simulation.change(token, new, edge);
                Ok(())
            }
        }
    }

    /// Waits for at most `timeout` and tells `sink` what is ready. An interruption by a signal is
    /// the end of the wait.
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        mut sink: impl FnMut(Token, Event),
    ) -> io::Result<()> {
        match self {
            Self::System(poller) => poller.wait(timeout, sink),
            Self::Simulated(simulation, _) => simulation.wait(timeout, &mut sink),
        }
    }

    /// Whether a source must be told again after every event to be reported level-triggered.
    pub(crate) fn must_rearm(&self) -> bool {
        match self {
            Self::System(_) => sys::MUST_REARM,
            Self::Simulated(..) => false,
        }
    }

    /// A descriptor was exchanged under a registration: the old one can no longer be named.
    pub(crate) fn lose(&mut self) {
        match self {
            Self::System(poller) => poller.lost = true,
            Self::Simulated(..) => {}
        }
    }

    /// Whether registrations that cannot be named any more must be purged.
    pub(crate) fn has_lost(&self) -> bool {
        match self {
            Self::System(poller) => poller.lost,
            Self::Simulated(..) => false,
        }
    }

    /// Starts afresh, with nothing registered.
    pub(crate) fn rebuild(&mut self) -> io::Result<()> {
        match self {
            Self::System(poller) => poller.rebuild(),
            Self::Simulated(simulation, _) => {
                simulation.forget_all();
                Ok(())
            }
        }
    }

    /// Parts a forked child from its parent: the two would share wake-ups otherwise.
    pub(crate) fn renew_waker(&mut self) -> io::Result<()> {
        match self {
            Self::System(poller) => poller.renew_waker(),
            Self::Simulated(..) => Ok(()),
        }
    }

    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        match self {
            Self::System(poller) => poller.descriptors(),
            Self::Simulated(..) => Vec::new(),
        }
    }

    /// Makes the descriptor of the driver cover time as well.
    pub(crate) fn embed(&mut self) -> io::Result<()> {
        match self {
            Self::System(poller) => poller.embed(),
            Self::Simulated(..) => Ok(()),
        }
    }

    /// When an embedded driver becomes ready although no source is.
    pub(crate) fn set_timer(&mut self, delay: Option<Duration>) -> io::Result<()> {
        match self {
            Self::System(poller) => poller.set_timer(delay),
            Self::Simulated(..) => Ok(()),
        }
    }

    pub(crate) fn record(&self, step: Step) {
        if let Self::Simulated(simulation, _) = self {
            simulation.record(step);
        }
    }
}

impl AsFd for Driver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::System(poller) => poller.as_fd(),
            Self::Simulated(_, spare) => spare
                .as_ref()
                .map_or_else(|| panic!("a simulated loop has no descriptor"), AsFd::as_fd),
        }
    }
}
