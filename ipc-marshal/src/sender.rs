//! The sending half of a duct.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use ipc_core::{AnyWriter, Deadline, Outbound, Readiness};
use serde::Serialize;

use crate::options::default_deadline;
use crate::outbox::{Outbox, Refusal};
use crate::turn::Turn;
use crate::{Bincode, Codec, EncodeError, FrameKind, SendError, TrySendError};

/// The half of a [`Duct`](crate::Duct) that values go into; clone it to send from several threads.
///
/// Frames of different clones never mix. Dropping the last clone half-closes the channel: the peer
/// receives what was sent and then `Disconnected`.
#[derive(Debug)]
pub struct Sender<Tx, C = Bincode, W = AnyWriter> {
    shared: Arc<Shared<W>>,
    codec: C,
    timeout: Option<Duration>,
    values: PhantomData<fn(Tx)>,
}

#[derive(Debug)]
struct Shared<W> {
    sending: Turn<Sending<W>>,
    /// A duplicate for event loops, so that they need no turn; made on demand.
    outbound: OnceLock<OwnedFd>,
    is_doorbell: bool,
}

#[derive(Debug)]
struct Sending<W> {
    outbox: Outbox,
    channel: W,
}

/// What the receiving half can ask of the sending half.
pub(crate) trait Acknowledge: std::fmt::Debug + Send + Sync {
    /// Sends an acknowledgement; `false` when no turn came until `deadline`.
    fn acknowledge(&self, received: bool, deadline: Deadline) -> bool;
}

impl<W: Outbound> Acknowledge for Shared<W> {
    fn acknowledge(&self, received: bool, deadline: Deadline) -> bool {
        let Some(mut sending) = self.sending.take(deadline) else {
            return false;
        };
        let Sending { outbox, channel } = &mut *sending;
        outbox.acknowledge(received);
        // If there is no room the next call writes it; if the peer is gone the next call says so.
        let _ = outbox.flush(channel, deadline);
        true
    }
}

impl<Tx, C: Clone, W> Clone for Sender<Tx, C, W> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            codec: self.codec.clone(),
            timeout: self.timeout,
            values: PhantomData,
        }
    }
}

impl<Tx, C, W: Outbound> Sender<Tx, C, W> {
    pub(crate) fn new(outbox: Outbox, channel: W, codec: C, timeout: Option<Duration>) -> Self {
        let is_doorbell = channel.is_doorbell();
        Self {
            shared: Arc::new(Shared {
                sending: Turn::new(Sending { outbox, channel }),
                outbound: OnceLock::new(),
                is_doorbell,
            }),
            codec,
            timeout,
            values: PhantomData,
        }
    }

    /// The way on which the receiving half acknowledges; it does not keep the channel open.
    pub(crate) fn acks(&self) -> Weak<dyn Acknowledge>
    where
        W: 'static,
    {
        let shared: Arc<dyn Acknowledge> = Arc::clone(&self.shared) as _;
        Arc::downgrade(&shared)
    }

    /// Bytes of an accepted value that are still to be written, as
    /// [`Duct::pending`](crate::Duct::pending). Waits while another clone sends.
    pub fn pending(&self) -> usize {
        self.turn(Deadline::Never)
            .map_or(0, |sending| sending.outbox.pending())
    }

    /// Writes what is pending. Blocks until the peer has room for all of it.
    ///
    /// # Errors
    ///
    /// What the channel says; [`BrokenPipe`](io::ErrorKind::BrokenPipe) when the peer is gone.
    pub fn flush(&self) -> io::Result<()> {
        self.flush_by(default_deadline(self.timeout)).map(drop)
    }

    /// Writes what is pending as far as there is room, without blocking, and answers whether all of
    /// it is written.
    ///
    /// # Errors
    ///
    /// What the channel says; [`BrokenPipe`](io::ErrorKind::BrokenPipe) when the peer is gone.
    pub fn try_flush(&self) -> io::Result<bool> {
        match self.flush_by(Deadline::Now) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(false),
            done => done.map(|()| true),
        }
    }

    fn flush_by(&self, deadline: Deadline) -> io::Result<()> {
        let Some(mut sending) = self.turn(deadline) else {
            return Err(io::ErrorKind::TimedOut.into());
        };
        let Sending { outbox, channel } = &mut *sending;
        outbox.flush(channel, deadline).map_err(Refusal::into_io)
    }

    /// A descriptor for an event loop: it becomes writable when there is room for what is pending,
    /// or readable if [`is_doorbell`](Sender::is_doorbell). Call
    /// [`arm_outbound`](Sender::arm_outbound) before sleeping on it.
    ///
    /// It is a duplicate, made by the first call.
    ///
    /// # Errors
    ///
    /// When no more descriptors can be had.
    pub fn outbound(&self) -> io::Result<BorrowedFd<'_>> {
        if let Some(fd) = self.shared.outbound.get() {
            return Ok(fd.as_fd());
        }
        let fd = match self.turn(Deadline::Never) {
            Some(sending) => sending.channel.outbound().try_clone_to_owned()?,
            None => return Err(io::ErrorKind::TimedOut.into()),
        };
        Ok(self.shared.outbound.get_or_init(|| fd).as_fd())
    }

    /// Whether [`outbound`](Sender::outbound) is a doorbell, to be waited on for reading.
    pub fn is_doorbell(&self) -> bool {
        self.shared.is_doorbell
    }

    /// Says that the caller is about to sleep on [`outbound`](Sender::outbound).
    ///
    /// # Errors
    ///
    /// What the channel says.
    pub fn arm_outbound(&self) -> io::Result<Readiness> {
        match self.turn(Deadline::Never) {
            Some(mut sending) => sending.channel.arm_outbound(),
            None => Ok(Readiness::Armed),
        }
    }

    fn turn(&self, deadline: Deadline) -> Option<crate::turn::TurnGuard<'_, Sending<W>>> {
        self.shared.sending.take(deadline)
    }
}

impl<Tx: Serialize, C: Codec, W: Outbound> Sender<Tx, C, W> {
    /// Sends a value. Blocks until the peer (or the system's buffer) has taken all of it, or the
    /// duct's send time-out; the peer's reading or death wakes it.
    ///
    /// # Errors
    ///
    /// See [`SendError`]; every variant gives the value back.
    #[inline]
    pub fn send(&self, value: Tx) -> Result<(), SendError<Tx>> {
        self.send_by(value, default_deadline(self.timeout))
    }

    /// Sends a value if there is room now. When there was room for a part of it the rest is kept and
    /// written by the next call; see [`flush`](Sender::flush).
    ///
    /// # Errors
    ///
    /// See [`TrySendError`]; every variant gives the value back.
    #[inline]
    pub fn try_send(&self, value: Tx) -> Result<(), TrySendError<Tx>> {
        self.send_by(value, Deadline::Now)
            .map_err(TrySendError::from)
    }

    /// Sends a value, waiting for room no longer than `timeout`. When there was room for a part of
    /// it the rest is kept and written by the next call; see [`flush`](Sender::flush).
    ///
    /// # Errors
    ///
    /// See [`SendError`]; every variant gives the value back.
    pub fn send_timeout(&self, value: Tx, timeout: Duration) -> Result<(), SendError<Tx>> {
        self.send_by(value, Deadline::after(timeout))
    }

    /// [`send_timeout`](Sender::send_timeout) until `deadline`.
    ///
    /// # Errors
    ///
    /// See [`SendError`]; every variant gives the value back.
    pub fn send_deadline(&self, value: Tx, deadline: Instant) -> Result<(), SendError<Tx>> {
        self.send_by(value, Deadline::At(deadline))
    }

    /// Accepts a value and writes it together with others: once 64 KiB have gathered, or with the
    /// next `send` or [`flush`](Sender::flush) of any clone. Blocks as `send` does when a full batch
    /// is not taken.
    ///
    /// # Errors
    ///
    /// See [`SendError`]; every variant gives the value back. That an earlier value of the batch could
    /// not be written is told by the call that tries to.
    #[inline]
    pub fn feed(&self, value: Tx) -> Result<(), SendError<Tx>> {
        let deadline = default_deadline(self.timeout);
        let Some(mut sending) = self.turn(deadline) else {
            return Err(SendError::Timeout(value));
        };
        let Sending { outbox, channel } = &mut *sending;
        outbox
            .feed(channel, &self.codec, &value, deadline)
            .map_err(|refusal| refusal.with(value))
    }

    /// Sends many values with few system calls and nothing of other clones between them, and answers
    /// when all of them are written. Blocks as `send` does. `values` must not use this sender.
    ///
    /// # Errors
    ///
    /// See [`SendError`], with the value that was not accepted; `None` when all were, and writing the
    /// last of them failed.
    pub fn send_all(
        &self,
        values: impl IntoIterator<Item = Tx>,
    ) -> Result<(), SendError<Option<Tx>>> {
        let deadline = default_deadline(self.timeout);
        let Some(mut sending) = self.turn(deadline) else {
            return Err(SendError::Timeout(None));
        };
        let Sending { outbox, channel } = &mut *sending;
        for value in values {
            outbox
                .feed(channel, &self.codec, &value, deadline)
                .map_err(|refusal| refusal.with(Some(value)))?;
        }
        outbox
            .flush(channel, deadline)
            .map_err(|refusal| refusal.with(None))
    }

    #[inline]
    fn send_by(&self, value: Tx, deadline: Deadline) -> Result<(), SendError<Tx>> {
        let Some(mut sending) = self.turn(deadline) else {
            return Err(SendError::Timeout(value));
        };
        let Sending { outbox, channel } = &mut *sending;
        outbox
            .send(channel, &self.codec, &value, deadline)
            .map_err(|refusal| refusal.with(value))
    }
}

impl<Tx, C: Codec, W: Outbound> Sender<Tx, C, W> {
    /// Sends `payload` as it is, past the codec. Blocks until `deadline` for room; when there was
    /// room for a part of it the rest is kept and written by the next call.
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    pub fn send_bytes(&self, payload: &[u8], deadline: Deadline) -> Result<(), SendError<()>> {
        let Some(mut sending) = self.turn(deadline) else {
            return Err(SendError::Timeout(()));
        };
        let Sending { outbox, channel } = &mut *sending;
        let sent = outbox.send_bytes(channel, payload, deadline);
        sent.map_err(|refusal| refusal.with(()))
    }

    /// Sends one frame whose payload `fill` writes.
    pub(crate) fn send_frame(
        &self,
        fds: &[BorrowedFd<'_>],
        deadline: Deadline,
        fill: impl FnOnce(&C, &mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<(), Refusal> {
        let mut sending = self.turn(deadline).ok_or(Refusal::NoRoom)?;
        let Sending { outbox, channel } = &mut *sending;
        outbox.send_frame(channel, FrameKind::Message, fds, deadline, |out| {
            fill(&self.codec, out)
        })
    }
}
