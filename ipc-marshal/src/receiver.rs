//! The receiving half of a duct.

use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::sync::Weak;
use std::time::{Duration, Instant};

use ipc_core::{AnyReader, Deadline, Inbound, Readiness};
use serde::de::DeserializeOwned;

use crate::duct::until_over;
use crate::inbox::Inbox;
use crate::options::default_deadline;
use crate::sender::Acknowledge;
use crate::{Bincode, Codec, Message, RecvError, TryRecvError};

/// The half of a [`Duct`](crate::Duct) that values come out of.
#[derive(Debug)]
pub struct Receiver<Rx, C = Bincode, R = AnyReader> {
    inbox: Inbox,
    channel: R,
    codec: C,
    timeout: Option<Duration>,
    acks: Weak<dyn Acknowledge>,
    /// Acknowledgements that are owed, kept while the sending half is busy.
    late: Vec<bool>,
    values: PhantomData<fn() -> Rx>,
}

/// How many acknowledgements are kept while the sending half is busy: a peer that waits for each of
/// them has at most one.
const LATE_MAX: usize = 1024;

impl<Rx, C, R: Inbound> Receiver<Rx, C, R> {
    pub(crate) fn new(
        inbox: Inbox,
        channel: R,
        codec: C,
        timeout: Option<Duration>,
        acks: Weak<dyn Acknowledge>,
    ) -> Self {
        Self {
            inbox,
            channel,
            codec,
            timeout,
            acks,
            late: Vec::new(),
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

    /// Whether there may be something to receive, where that can be told without a system call
    /// (rings); see [`ipc_core::Inbound::poll_inbound`].
    #[inline]
    pub fn poll_inbound(&mut self) -> Option<bool> {
        self.inbox.look(&mut self.channel)
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

    /// Receives message after message, waiting as [`recv`](Receiver::recv) does, until the peer
    /// disconnects. After an error from which the duct cannot go on, and after a time-out, it ends.
    pub fn iter(&mut self) -> impl Iterator<Item = Result<Rx, RecvError>> + '_ {
        until_over(|| self.recv())
    }

    /// Receives the messages that are there, without waiting.
    pub fn try_iter(&mut self) -> impl Iterator<Item = Result<Rx, RecvError>> + '_ {
        until_over(|| self.recv_by(Deadline::Now))
    }

    #[inline]
    fn recv_by(&mut self, deadline: Deadline) -> Result<Rx, RecvError> {
        let answer = self.inbox.recv(&mut self.channel, &self.codec, deadline);
        if self.inbox.owes_ack() {
            self.late.push(answer.is_ok());
        }
        if !self.late.is_empty() {
            self.acknowledge(deadline);
        }
        answer
    }
}

impl<Rx, C: Codec, R: Inbound> Receiver<Rx, C, R> {
    /// Receives a message without taking it out of the duct's buffer, as
    /// [`Duct::recv_with`](crate::Duct::recv_with). Blocks until `deadline`.
    ///
    /// # Errors
    ///
    /// See [`RecvError`]; none comes from decoding, which is up to `take`.
    pub fn recv_with<A>(
        &mut self,
        deadline: Deadline,
        take: impl FnOnce(Message<'_, C>) -> A,
    ) -> Result<A, RecvError> {
        let arrival = self.inbox.next(&mut self.channel, deadline)?;
        let answer = take(Message::new(arrival.payload, &self.codec, arrival.fds));
        if self.inbox.owes_ack() {
            self.late.push(true);
            self.acknowledge(deadline);
        }
        Ok(answer)
    }

    /// Sets the longest payload that is accepted from now on, as
    /// [`Duct::limit_payload`](crate::Duct::limit_payload).
    pub fn limit_payload(&mut self, limit: usize) -> usize {
        self.inbox.limit_payload(limit)
    }

    #[cold]
    fn acknowledge(&mut self, deadline: Deadline) {
        self.late.truncate(LATE_MAX);
        // Without a sending half there is nothing to acknowledge on: the peer reads end of file.
        let Some(acks) = self.acks.upgrade() else {
            self.late.clear();
            return;
        };
        self.late
            .retain(|&received| !acks.acknowledge(received, deadline));
    }
}
