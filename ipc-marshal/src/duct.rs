//! Typed messages both ways.

use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use ipc_core::{Address, AnyChannel, Channel, Deadline, Port, Readiness};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::inbox::Inbox;
use crate::options::{DuctOptions, default_deadline};
use crate::outbox::{Outbox, Refusal};
use crate::{Bincode, Codec, Receiver, RecvError, SendError, Sender, TryRecvError, TrySendError};

/// A typed link: values of `Tx` go into this end and come out of the peer's, values of `Rx` the other
/// way.
///
/// # What blocks
///
/// `send` waits until the peer, or the system's buffer between the two, has taken the whole frame;
/// nothing else is buffered here, so memory is bounded. It does not receive while it waits: two
/// peers that both send more than the buffer holds before either receives wait for each other. Where
/// both ends may send much at once, [`split`](Duct::split) the duct and receive on another thread,
/// or use `try_send` or `send_timeout` and receive in between.
///
/// `recv` waits for a whole frame. The peer's closing or death ends every wait. A dropped duct sends
/// what is pending as far as there is room, without waiting, and closes.
#[derive(Debug)]
pub struct Duct<Tx, Rx, C = Bincode, Ch = AnyChannel> {
    channel: Ch,
    outbox: Outbox,
    inbox: Inbox,
    codec: C,
    send_timeout: Option<Duration>,
    recv_timeout: Option<Duration>,
    values: PhantomData<fn(Tx) -> Rx>,
}

impl<Tx, Rx> Duct<Tx, Rx> {
    /// Two connected ends within this process, over a unix socket pair: the native framing, the
    /// default codec, no hand-shake.
    ///
    /// # Errors
    ///
    /// When no more descriptors can be had.
    pub fn pair() -> io::Result<(Self, Duct<Rx, Tx>)> {
        DuctOptions::new().pair()
    }

    /// Connects to the port at `address`. Blocks as
    /// [`AnyChannel::connect`](ipc_core::AnyChannel::connect) does.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn connect(address: &Address) -> io::Result<Self> {
        DuctOptions::new().connect(address)
    }

    /// Accepts one peer. Blocks until one connects.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn accept(port: &mut Port) -> io::Result<Self> {
        DuctOptions::new().accept(port)
    }

    /// A duct over a channel that is connected already, for example an inherited descriptor.
    pub fn from_channel(channel: AnyChannel) -> Self {
        DuctOptions::new().from_channel(channel)
    }
}

impl<Tx, Rx, C, Ch: Channel> Duct<Tx, Rx, C, Ch> {
    pub(crate) fn new(options: DuctOptions<C>, channel: Ch) -> Self {
        Self {
            channel,
            outbox: Outbox::new(options.framing, options.payload_len_max),
            inbox: Inbox::new(options.framing, options.payload_len_max),
            codec: options.codec,
            send_timeout: options.send_timeout,
            recv_timeout: options.recv_timeout,
            values: PhantomData,
        }
    }

    /// Takes the duct apart, so that threads can send while another receives. What was read already
    /// and what is pending go along.
    ///
    /// # Errors
    ///
    /// When the channel cannot be split.
    #[expect(
        clippy::type_complexity,
        reason = "two halves with all their parameters"
    )]
    pub fn split(self) -> io::Result<(Sender<Tx, C, Ch::Writer>, Receiver<Rx, C, Ch::Reader>)>
    where
        C: Clone,
    {
        let (reader, writer) = self.channel.split()?;
        Ok((
            Sender::new(self.outbox, writer, self.codec.clone(), self.send_timeout),
            Receiver::new(self.inbox, reader, self.codec, self.recv_timeout),
        ))
    }

    /// The channel under the duct.
    pub fn channel(&self) -> &Ch {
        &self.channel
    }

    /// Bytes of an accepted value that are still to be written: not zero only after a `try_send`,
    /// `send_timeout` or `send_deadline` found room for a part.
    pub fn pending(&self) -> usize {
        self.outbox.pending()
    }

    /// Writes what is pending. Blocks until the peer has room for all of it.
    ///
    /// # Errors
    ///
    /// What the channel says; [`BrokenPipe`](io::ErrorKind::BrokenPipe) when the peer is gone, and
    /// [`TimedOut`](io::ErrorKind::TimedOut) after the duct's send time-out.
    pub fn flush(&mut self) -> io::Result<()> {
        self.outbox
            .flush(&mut self.channel, default_deadline(self.send_timeout))
            .map_err(Refusal::into_io)
    }

    /// Writes what is pending as far as there is room, without blocking, and answers whether all of
    /// it is written.
    ///
    /// # Errors
    ///
    /// What the channel says; [`BrokenPipe`](io::ErrorKind::BrokenPipe) when the peer is gone.
    pub fn try_flush(&mut self) -> io::Result<bool> {
        match self.outbox.flush(&mut self.channel, Deadline::Now) {
            Ok(()) => Ok(true),
            Err(Refusal::NoRoom) => Ok(false),
            Err(refusal) => Err(refusal.into_io()),
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
    /// on it call [`arm_inbound`](Duct::arm_inbound).
    pub fn inbound(&self) -> BorrowedFd<'_> {
        self.channel.inbound()
    }

    /// The descriptor that becomes writable when there is room for what is pending, or readable if
    /// [`is_doorbell`](Duct::is_doorbell). Before sleeping on it call
    /// [`arm_outbound`](Duct::arm_outbound).
    pub fn outbound(&self) -> BorrowedFd<'_> {
        self.channel.outbound()
    }

    /// Whether [`outbound`](Duct::outbound) is a doorbell, to be waited on for reading.
    pub fn is_doorbell(&self) -> bool {
        self.channel.is_doorbell()
    }

    /// Says that the caller is about to sleep on [`inbound`](Duct::inbound). [`Readiness::Ready`] also
    /// when a whole message has been read already, which the descriptor does not know: receive until
    /// `Empty` before sleeping again.
    ///
    /// # Errors
    ///
    /// What the channel says.
    pub fn arm_inbound(&mut self) -> io::Result<Readiness> {
        self.inbox.arm(&mut self.channel)
    }

    /// Says that the caller is about to sleep on [`outbound`](Duct::outbound).
    ///
    /// # Errors
    ///
    /// What the channel says.
    pub fn arm_outbound(&mut self) -> io::Result<Readiness> {
        self.channel.arm_outbound()
    }
}

impl<Tx: Serialize, Rx, C: Codec, Ch: Channel> Duct<Tx, Rx, C, Ch> {
    /// Sends a value. Blocks until the peer (or the system's buffer) has taken all of it, or the
    /// duct's send time-out; the peer's reading or death wakes it.
    ///
    /// # Errors
    ///
    /// See [`SendError`]; every variant gives the value back.
    #[inline]
    pub fn send(&mut self, value: Tx) -> Result<(), SendError<Tx>> {
        self.send_by(value, default_deadline(self.send_timeout))
    }

    /// Sends a value if there is room now. When there was room for a part of it the rest is kept and
    /// written by the next call; see [`flush`](Duct::flush).
    ///
    /// # Errors
    ///
    /// See [`TrySendError`]; every variant gives the value back.
    #[inline]
    pub fn try_send(&mut self, value: Tx) -> Result<(), TrySendError<Tx>> {
        self.send_by(value, Deadline::Now)
            .map_err(TrySendError::from)
    }

    /// Sends a value, waiting for room no longer than `timeout`. When there was room for a part of
    /// it the rest is kept and written by the next call; see [`flush`](Duct::flush).
    ///
    /// # Errors
    ///
    /// See [`SendError`]; every variant gives the value back.
    pub fn send_timeout(&mut self, value: Tx, timeout: Duration) -> Result<(), SendError<Tx>> {
        self.send_by(value, Deadline::after(timeout))
    }

    /// [`send_timeout`](Duct::send_timeout) until `deadline`.
    ///
    /// # Errors
    ///
    /// See [`SendError`]; every variant gives the value back.
    pub fn send_deadline(&mut self, value: Tx, deadline: Instant) -> Result<(), SendError<Tx>> {
        self.send_by(value, Deadline::At(deadline))
    }

    #[inline]
    fn send_by(&mut self, value: Tx, deadline: Deadline) -> Result<(), SendError<Tx>> {
        self.outbox
            .send(&mut self.channel, &self.codec, &value, deadline)
            .map_err(|refusal| refusal.with(value))
    }
}

impl<Tx, Rx: DeserializeOwned, C: Codec, Ch: Channel> Duct<Tx, Rx, C, Ch> {
    /// Receives a value. Blocks until one is there, or the duct's receive time-out; the peer's death
    /// wakes it.
    ///
    /// # Errors
    ///
    /// See [`RecvError`].
    #[inline]
    pub fn recv(&mut self) -> Result<Rx, RecvError> {
        self.recv_by(default_deadline(self.recv_timeout))
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
