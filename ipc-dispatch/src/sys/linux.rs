//! Linux: mio's epoll with registrations of our own, since mio's are edge-triggered.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::sys::wait::{Id, WaitPidFlag, waitid};

use super::exit_status;
use crate::selector::{Event, Token};

pub(crate) const MUST_REARM: bool = false;

const WAKER: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 4;

/// A token of mio holds slot, side and generation.
const _: () = assert!(usize::BITS == 64, "64-bit systems only");

/// Wakes a [`Poller`]. An edge-triggered eventfd that is never read: every write is a new edge.
#[derive(Clone, Debug)]
pub(crate) struct Waker(Arc<EventFd>);

impl Waker {
    pub(crate) fn wake(&self) {
        // It fails only when the counter is about to overflow, after 2^64 wakes.
        let _ = self.0.write(1);
    }
}

pub(crate) struct Poller {
    poll: Poll,
    /// Another descriptor of the same epoll, for registering without mio.
    epoll: Epoll,
    events: Events,
    waker: Waker,
    /// Ready when an alarm of an embedded selector is due.
    timer: Option<TimerFd>,
    pub(crate) lost: bool,
}

impl Poller {
    pub(crate) fn open(events_max: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let epoll = Epoll(poll_fd(&poll).try_clone_to_owned()?);
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let waker = Waker(Arc::new(EventFd::from_value_and_flags(0, flags)?));
        let poller = Self {
            poll,
            epoll,
            events: Events::with_capacity(events_max),
            waker,
            timer: None,
            lost: false,
        };
        poller.watch_waker()?;
        Ok(poller)
    }

    fn watch_waker(&self) -> io::Result<()> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        self.epoll
            .add(self.waker.0.as_fd(), EpollEvent::new(flags, WAKER))?;
        Ok(())
    }

    fn watch_timer(&self) -> io::Result<()> {
        if let Some(timer) = &self.timer {
            let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
            self.epoll.add(timer, EpollEvent::new(flags, TIMER))?;
        }
        Ok(())
    }

    /// Makes `as_fd` readable when the timer expires, too.
    pub(crate) fn embed(&mut self) -> io::Result<()> {
        if self.timer.is_none() {
            self.timer = Some(new_timer()?);
            self.watch_timer()?;
        }
        Ok(())
    }

    /// Sets the timer, or stops it. Every setting is a new edge.
    pub(crate) fn set_timer(&mut self, delay: Option<Duration>) -> io::Result<()> {
        let Some(timer) = &self.timer else {
            return Ok(());
        };
        match delay {
            // A timer of zero would be none.
            Some(delay) => {
                let delay = TimeSpec::from_duration(delay.max(Duration::from_nanos(1)));
                timer.set(Expiration::OneShot(delay), TimerSetTimeFlags::empty())?;
            }
            None => timer.unset()?,
        }
        Ok(())
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
        edge: bool,
    ) -> io::Result<()> {
        if new.is_none() {
            // Never an empty mask instead: it would still report a hang-up, for ever.
            if !old.is_none() {
                self.epoll.delete(fd)?;
            }
            return Ok(());
        }
        let mut flags = EpollFlags::empty();
        if new.contains(Event::READ) {
            flags |= EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
        }
        if new.contains(Event::WRITE) {
            flags |= EpollFlags::EPOLLOUT;
        }
        if new.contains(Event::EXCEPTION) {
            flags |= EpollFlags::EPOLLPRI;
        }
        if edge {
            flags |= EpollFlags::EPOLLET;
        }
        let mut event = EpollEvent::new(flags, token.to_bits());
        if old.is_none() {
            self.epoll.add(fd, event)?;
        } else {
            self.epoll.modify(fd, &mut event)?;
        }
        Ok(())
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
            let bits = event.token().0 as u64;
            if bits == WAKER || bits == TIMER {
                continue;
            }
            let mut ready = Event::NONE;
            if event.is_priority() {
                // Only the side for urgent data asks for it, and mio calls it readable too.
                ready |= Event::EXCEPTION;
            } else if event.is_readable() {
                ready |= Event::READ;
            }
            if event.is_writable() {
                ready |= Event::WRITE;
            }
            if event.is_read_closed() && event.is_write_closed() {
                ready |= Event::HANGUP;
            }
            if event.is_error() {
                ready |= Event::ERROR;
            }
            sink(Token::from_bits(bits), ready);
        }
        Ok(())
    }

    /// Replaces the epoll under its number, so that what is registered with the old one and cannot
    /// be named any more is gone. In a forked child it also parts the child from its parent's.
    pub(crate) fn rebuild(&mut self) -> io::Result<()> {
        let fresh = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        replace(self.epoll.0.as_fd(), fresh.0.as_fd())?;
        replace(poll_fd(&self.poll), fresh.0.as_fd())?;
        self.lost = false;
        self.watch_waker()?;
        self.watch_timer()
    }

    /// Parts a forked child from its parent's waker and timer.
    pub(crate) fn renew_waker(&mut self) -> io::Result<()> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let fresh = EventFd::from_value_and_flags(0, flags)?;
        replace(self.waker.0.as_fd(), fresh.as_fd())?;
        if let Some(timer) = &self.timer {
            replace(timer.as_fd(), new_timer()?.as_fd())?;
        }
        Ok(())
    }

    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        let mut list = vec![
            self.poll.as_raw_fd(),
            self.epoll.0.as_raw_fd(),
            self.waker.0.as_fd().as_raw_fd(),
        ];
        list.extend(self.timer.iter().map(|timer| timer.as_fd().as_raw_fd()));
        list
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

/// One child of this process, until it has been reaped.
#[derive(Debug)]
pub(crate) struct ChildWatch(OwnedFd);

impl ChildWatch {
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let pid = libc::pid_t::try_from(pid)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no such process id"))?;
        // SAFETY: pidfd_open takes two integers and touches no memory of ours.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = nix::errno::Errno::result(fd)?;
        let fd = RawFd::try_from(fd).expect("descriptors are ints");
        // SAFETY: the system has just made this descriptor, and nobody else knows of it. It is
        // close-on-exec from the start.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }

    pub(crate) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        let status = waitid(Id::PIDFd(self.0.as_fd()), flags)?;
        Ok(exit_status(status))
    }
}

fn new_timer() -> io::Result<TimerFd> {
    let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
    Ok(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?)
}

fn poll_fd(poll: &Poll) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open for as long as `poll` lives, which the result borrows.
    unsafe { BorrowedFd::borrow_raw(poll.as_raw_fd()) }
}

/// Makes `old`'s number stand for what `new` stands for.
fn replace(old: BorrowedFd<'_>, new: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: dup3 takes three integers. Both descriptors are open for the call. The number of
    // `old` stays open and stays owned by whoever owns it; only what it refers to changes, to
    // another descriptor of the same kind, which its owner in this file expects.
    let result = unsafe { libc::dup3(new.as_raw_fd(), old.as_raw_fd(), libc::O_CLOEXEC) };
    nix::errno::Errno::result(result)?;
    Ok(())
}
