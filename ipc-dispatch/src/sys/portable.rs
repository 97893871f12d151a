//! Other Unix: mio as it is, told again after every event.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::exit_status;
use crate::selector::{Event, Token};

pub(crate) const MUST_REARM: bool = true;

const WAKER: mio::Token = mio::Token(usize::MAX);

/// A token of mio holds slot, side and generation.
const _: () = assert!(usize::BITS == 64, "64-bit systems only");

/// Wakes a [`Poller`].
#[derive(Clone, Debug)]
pub(crate) struct Waker(Arc<mio::Waker>);

impl Waker {
    pub(crate) fn wake(&self) {
        // Nothing can be done about an error, and there is none while the poller lives.
        let _ = self.0.wake();
    }
}

pub(crate) struct Poller {
    poll: Poll,
    events: Events,
    waker: Waker,
    pub(crate) lost: bool,
}

impl Poller {
    pub(crate) fn open(events_max: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker(Arc::new(mio::Waker::new(poll.registry(), WAKER)?));
        Ok(Self {
            poll,
            events: Events::with_capacity(events_max),
            waker,
            lost: false,
        })
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    pub(crate) fn change(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        old: Event,
        new: Event,
        _edge: bool,
    ) -> io::Result<()> {
        let raw = fd.as_raw_fd();
        let mut source = SourceFd(&raw);
        let registry = self.poll.registry();
        let Some(interest) = interest(new) else {
            return if old.is_none() {
                Ok(())
            } else {
                registry.deregister(&mut source)
            };
        };
        let token = mio::Token(token.to_bits() as usize);
        if old.is_none() {
            registry.register(&mut source, token, interest)
        } else {
            registry.reregister(&mut source, token, interest)
        }
    }

    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        mut sink: impl FnMut(Token, Event),
    ) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        for event in &self.events {
            if event.token() == WAKER {
                continue;
            }
            let mut ready = Event::NONE;
            if event.is_priority() {
                ready |= Event::EXCEPTION;
            } else if event.is_readable() || event.is_read_closed() {
                ready |= Event::READ;
            }
            if event.is_writable() || event.is_write_closed() {
                ready |= Event::WRITE;
            }
            if event.is_read_closed() && event.is_write_closed() {
                ready |= Event::HANGUP;
            }
            if event.is_error() {
                ready |= Event::ERROR;
            }
            sink(Token::from_bits(event.token().0 as u64), ready);
        }
        Ok(())
    }

    /// Nothing to do: kqueue forgets a descriptor when it closes.
    pub(crate) fn rebuild(&mut self) -> io::Result<()> {
        self.lost = false;
        Ok(())
    }

    /// A kqueue is not inherited by a forked child.
    pub(crate) fn renew_waker(&mut self) -> io::Result<()> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "a selector cannot go on in a forked child on this system",
        ))
    }

    pub(crate) fn embed(&mut self) -> io::Result<()> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "one descriptor cannot tell about alarms on this system",
        ))
    }

    pub(crate) fn set_timer(&mut self, _delay: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        vec![self.poll.as_raw_fd()]
    }
}

/// One child of this process, until it has been reaped.
#[derive(Debug)]
pub(crate) struct ChildWatch(Pid);

impl ChildWatch {
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no such process id"))?;
        Ok(Self(Pid::from_raw(pid)))
    }

    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    pub(crate) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        Ok(exit_status(waitpid(self.0, Some(WaitPidFlag::WNOHANG))?))
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open for as long as `self.poll` lives, which the result borrows.
        unsafe { BorrowedFd::borrow_raw(self.poll.as_raw_fd()) }
    }
}

fn interest(mask: Event) -> Option<Interest> {
    let mut interest: Option<Interest> = None;
    let mut add = |part: Interest| interest = Some(interest.map_or(part, |sum| sum | part));
    if mask.contains(Event::READ) {
        add(Interest::READABLE);
    }
    if mask.contains(Event::WRITE) {
        add(Interest::WRITABLE);
    }
    if mask.contains(Event::EXCEPTION) {
        // Where there is no such interest, urgent data counts as readable.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        add(Interest::PRIORITY);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        add(Interest::READABLE);
    }
    interest
}
