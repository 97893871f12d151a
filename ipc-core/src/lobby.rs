//! Where peers of a ring port stay between their connection and their offer.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::sys::{self, Interest, ReadySet};
use crate::{Deadline, Ring, RingOptions, ring, wait};

/// How long a peer may take to make its offer; an honest one has made it before it is accepted.
const OFFER_TIME_MAX: Duration = Duration::from_secs(10);
/// How many peers may be late at once; the one that has been for longest goes first.
const LATE_MAX: usize = 64;

/// A listener for rings. A silent peer cannot keep the others from being accepted.
#[derive(Debug)]
pub(crate) struct Lobby {
    /// Readable when the listener or a late peer is.
    ready: ReadySet,
    late: Vec<(OwnedFd, Instant)>,
    options: RingOptions,
}

impl Lobby {
    pub(crate) fn new(listener: BorrowedFd<'_>, options: RingOptions) -> io::Result<Self> {
        let ready = ReadySet::new()?;
        ready.add(listener)?;
        Ok(Self {
            ready,
            late: Vec::new(),
            options,
        })
    }

    pub(crate) fn accept(
        &mut self,
        listener: BorrowedFd<'_>,
        deadline: Deadline,
    ) -> io::Result<Ring> {
        loop {
            if let Some(ring) = self.take_late()? {
                return Ok(ring);
            }
            match wait::until(listener, Interest::Read, Deadline::Now, |_| {
                sys::accept(listener)
            }) {
                Ok(socket) => {
                    if let Some(ring) = self.admit(socket)? {
                        return Ok(ring);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    let wait = error.kind() == io::ErrorKind::WouldBlock;
                    if !wait || deadline == Deadline::Now {
                        return Err(error);
                    }
                    self.sleep(deadline)?;
                }
            }
        }
    }

    /// A peer that offers something impossible is not worth an error of the port: it is dropped. One
    /// whose offer this process had no room for is dropped, too, for the offer is gone; but that is
    /// told.
    fn admit(&mut self, socket: OwnedFd) -> io::Result<Option<Ring>> {
        match ring::join(socket, &self.options, Deadline::Now) {
            Ok(ring) => Ok(Some(ring)),
            Err((socket, error)) if error.kind() == io::ErrorKind::WouldBlock => {
                if self.late.len() == LATE_MAX {
                    self.late.remove(0);
                }
                // Closing a descriptor takes it out of the set.
                if self.ready.add(socket.as_fd()).is_ok() {
                    self.late.push((socket, Instant::now() + OFFER_TIME_MAX));
                }
                Ok(None)
            }
            Err((_, error)) if sys::is_want(&error) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// The first late peer whose offer has come.
    fn take_late(&mut self) -> io::Result<Option<Ring>> {
        let now = Instant::now();
        let mut found = Ok(None);
        for (socket, expires) in std::mem::take(&mut self.late) {
            if !matches!(found, Ok(None)) {
                self.late.push((socket, expires));
                continue;
            }
            self.ready.remove(socket.as_fd());
            match ring::join(socket, &self.options, Deadline::Now) {
                Ok(ring) => found = Ok(Some(ring)),
                Err((_, error)) if sys::is_want(&error) => found = Err(error),
                Err((socket, error)) => {
                    let is_late = error.kind() == io::ErrorKind::WouldBlock && now < expires;
                    if is_late && self.ready.add(socket.as_fd()).is_ok() {
                        self.late.push((socket, expires));
                    }
                }
            }
        }
        found
    }

    /// Waits for a peer or an offer, and not beyond the next late peer's time.
    fn sleep(&self, deadline: Deadline) -> io::Result<()> {
        let until = match (deadline, self.late.first()) {
            (Deadline::At(at), Some(&(_, expires))) => Deadline::At(at.min(expires)),
            (Deadline::Never, Some(&(_, expires))) => Deadline::At(expires),
            (deadline, _) => deadline,
        };
        match wait::ready(self.ready.as_fd(), Interest::Read, until) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut && until != deadline => Ok(()),
            result => result,
        }
    }
}

impl AsFd for Lobby {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}
