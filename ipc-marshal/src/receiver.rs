//! The receiving half of a duct.

use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use ipc_core::{AnyReader, Deadline, Inbound, Readiness};
use serde::de::DeserializeOwned;

use crate::inbox::Inbox;
use crate::options::default_deadline;
use crate::{Bincode, Codec, RecvError, TryRecvError};

/// The half of a [`Duct`](crate::Duct) that values come out of.
#[derive(Debug)]
pub struct Receiver<Rx, C = Bincode, R = AnyReader> {
    inbox: Inbox,
    channel: R,
    codec: C,
    timeout: Option<Duration>,
    values: PhantomData<fn() -> Rx>,
}

impl<Rx, C, R: Inbound> Receiver<Rx, C, R> {
    pub(crate) fn new(inbox: Inbox, channel: R, codec: C, timeout: Option<Duration>) -> Self {
        Self {
            inbox,
            channel,
            codec,
            timeout,
            values: PhantomData,
        }
    }

    /// Waits until `timeout` for something to receive: a message, the end of them or an error. Zero
    /// never blocks.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn poll(&mut self, timeout: Duration) -> io::Result<bool> {
        self.inbox.poll(&mut self.channel, Deadline::after(timeout))
    }

    /// The descriptor that becomes readable when there may be something to receive. Before sleeping
    /// on it call [`arm_inbound`](Receiver::arm_inbound).
    pub fn inbound(&self) -> BorrowedFd<'_> {
        self.channel.inbound()
    }

    /// Says that the caller is about to sleep on [`inbound`](Receiver::inbound).
    /// [`Readiness::Ready`] also when a whole message has been read already, which the descriptor
    /// does not know: receive until `Empty` before sleeping again.
    ///
    /// # Errors
    ///
    /// What the channel says.
    pub fn arm_inbound(&mut self) -> io::Result<Readiness> {
        self.inbox.arm(&mut self.channel)
    }
}

impl<Rx: DeserializeOwned, C: Codec, R: Inbound> Receiver<Rx, C, R> {
    /// Receives a value. Blocks until one is there, or the duct's receive time-out; the peer's death
    /// wakes it.
    ///
    /// # Errors
    ///
    /// See [`RecvError`].
    #[inline]
    pub fn recv(&mut self) -> Result<Rx, RecvError> {
        self.recv_by(default_deadline(self.timeout))
    }

    /// Receives a value if a whole one is there.
    ///
    /// # Errors
    ///
    /// See [`TryRecvError`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<Rx, TryRecvError> {
        self.recv_by(Deadline::Now).map_err(TryRecvError::from)
    }

    /// Receives a value, waiting no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// See [`RecvError`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Rx, RecvError> {
        self.recv_by(Deadline::after(timeout))
    }

    /// Receives a value, waiting no longer than until `deadline`.
    ///
    /// # Errors
    ///
    /// See [`RecvError`].
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<Rx, RecvError> {
        self.recv_by(Deadline::At(deadline))
    }

    #[inline]
    fn recv_by(&mut self, deadline: Deadline) -> Result<Rx, RecvError> {
        self.inbox.recv(&mut self.channel, &self.codec, deadline)
    }
}
