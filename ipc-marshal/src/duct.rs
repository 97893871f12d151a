//! Typed messages both ways.

use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
#[cfg(feature = "bincode")]
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(feature = "bincode")]
use ipc_core::{Address, ChildProcess, Port};
use ipc_core::{AnyChannel, Channel, Deadline, Readiness};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::handshake::{Hello, Peer};
use crate::inbox::Inbox;
use crate::options::{DuctOptions, default_deadline};
use crate::outbox::{Outbox, Refusal};
use crate::{
    AckError, Bincode, Codec, ConnectError, FrameKind, Message, Receiver, RecvError, SendError,
    Sender, TryRecvError, TrySendError,
};

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
/// `recv` waits for a whole frame. The peer's closing or death ends every wait.
///
/// Dropping a duct closes it at once. What [`pending`](Duct::pending) still counts is lost then:
/// [`flush`](Duct::flush) first after `feed`, and after a `try_send`, `send_timeout` or
/// `send_deadline` that was the last.
#[derive(Debug)]
pub struct Duct<Tx, Rx, C = Bincode, Ch = AnyChannel> {
    channel: Ch,
    outbox: Outbox,
    inbox: Inbox,
    codec: C,
    send_timeout: Option<Duration>,
    recv_timeout: Option<Duration>,
    /// How many bytes of messages may be set aside while an acknowledgement is awaited.
    ack_limit: usize,
    values: PhantomData<fn(Tx) -> Rx>,
}

/// With the default codec; [`DuctOptions`] makes the others.
#[cfg(feature = "bincode")]
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
    /// [`AnyChannel::connect`](ipc_core::AnyChannel::connect) does, and then for the hand-shake.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub fn connect(address: &Address) -> Result<Self, ConnectError> {
        DuctOptions::new().connect(address)
    }

    /// Accepts one peer. Blocks until one connects, and then for the hand-shake.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub fn accept(port: &mut Port) -> Result<Self, ConnectError> {
        DuctOptions::new().accept(port)
    }

    /// Starts a program that has the other end, which it takes with [`inherited`](Duct::inherited);
    /// see [`DuctOptions::spawn`].
    ///
    /// # Errors
    ///
    /// When no more descriptors can be had or the program cannot be started.
    pub fn spawn(command: &Command) -> io::Result<(Self, ChildProcess)> {
        DuctOptions::new().spawn(command)
    }

    /// In a program that was started with [`spawn`](Duct::spawn): the duct to its parent.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) when the program was not started so.
    pub fn inherited() -> io::Result<Self> {
        DuctOptions::new().inherited()
    }

    /// A duct over a channel that is connected already, without a hand-shake.
    pub fn from_channel(channel: AnyChannel) -> Self {
        DuctOptions::new().from_channel(channel)
    }
}

impl<Tx, Rx, C: Codec, Ch: Channel> Duct<Tx, Rx, C, Ch> {
    pub(crate) fn new(options: DuctOptions<C>, channel: Ch) -> Self {
        let framing = options.framing;
        let limit = options.payload_len_max;
        let peer = Arc::new(Peer::new(limit));
        let mut duct = Self {
            channel,
            outbox: Outbox::new(framing, Arc::clone(&peer)),
            inbox: Inbox::new(framing, limit),
            send_timeout: options.send_timeout,
            recv_timeout: options.recv_timeout,
            ack_limit: limit,
            values: PhantomData,
            codec: options.codec,
        };
        if options.handshake == Some(true) && framing.is_native() {
            let codec = &duct.codec;
            let ours = Hello::new(framing, codec.id(), codec.name(), limit, options.schema);
            duct.outbox.greet(&ours);
            duct.inbox.expect(ours, peer);
            // A new channel has room for it; if not, the first send or flush says why.
            let _ = duct.outbox.flush(&mut duct.channel, Deadline::Now);
        }
        duct
    }

    /// Waits until the peer has introduced itself, for a duct that was made with
    /// [`DuctOptions::handshake`] and did not wait then. Without it the first receive does this.
    /// Blocks until `timeout`.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub fn greet(&mut self, timeout: Duration) -> Result<(), ConnectError> {
        self.greet_by(Deadline::after(timeout))
    }

    pub(crate) fn greet_by(&mut self, deadline: Deadline) -> Result<(), ConnectError> {
        match self.outbox.flush(&mut self.channel, deadline) {
            // What the peer said before it left is worth more than that it left.
            Ok(()) | Err(Refusal::Disconnected) => {}
            Err(Refusal::NoRoom) => return Err(ConnectError::Timeout),
            Err(refusal) => return Err(ConnectError::Io(refusal.into_io())),
        }
        self.inbox
            .greet(&mut self.channel, deadline)
            .map_err(|error| match error {
                RecvError::Timeout => ConnectError::Timeout,
                RecvError::Handshake(why) => ConnectError::Handshake(why),
                RecvError::Io(error) => ConnectError::Io(error),
                _ => ConnectError::Disconnected,
            })
    }
}

impl<Tx, Rx, C, Ch: Channel> Duct<Tx, Rx, C, Ch> {
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
        Ch::Writer: 'static,
    {
        let (reader, writer) = self.channel.split()?;
        let sender = Sender::new(self.outbox, writer, self.codec.clone(), self.send_timeout);
        let acks = sender.acks();
        let receiver = Receiver::new(self.inbox, reader, self.codec, self.recv_timeout, acks);
        Ok((sender, receiver))
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

    /// Whether there may be something to receive, where that can be told without a system call
    /// (rings); see [`Inbound::poll_inbound`](ipc_core::Inbound::poll_inbound).
    #[inline]
    pub fn poll_inbound(&mut self) -> Option<bool> {
        self.inbox.look(&mut self.channel)
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

    /// Accepts a value and writes it together with others: once 64 KiB have gathered, or with the
    /// next `send` or [`flush`](Duct::flush). One system call then carries many messages. Blocks as
    /// `send` does when a full batch is not taken.
    ///
    /// # Errors
    ///
    /// See [`SendError`]; every variant gives the value back. That an earlier value of the batch could
    /// not be written is told by the call that tries to.
    #[inline]
    pub fn feed(&mut self, value: Tx) -> Result<(), SendError<Tx>> {
        let deadline = default_deadline(self.send_timeout);
        self.outbox
            .feed(&mut self.channel, &self.codec, &value, deadline)
            .map_err(|refusal| refusal.with(value))
    }

    /// Sends many values with few system calls, and answers when all of them are written:
    /// [`feed`](Duct::feed) and [`flush`](Duct::flush). Blocks as `send` does.
    ///
    /// # Errors
    ///
    /// See [`SendError`], with the value that was not accepted; `None` when all were, and writing the
    /// last of them failed.
    pub fn send_all(
        &mut self,
        values: impl IntoIterator<Item = Tx>,
    ) -> Result<(), SendError<Option<Tx>>> {
        let deadline = default_deadline(self.send_timeout);
        let Self {
            outbox, channel, ..
        } = self;
        for value in values {
            outbox
                .feed(channel, &self.codec, &value, deadline)
                .map_err(|refusal| refusal.with(Some(value)))?;
        }
        outbox
            .flush(channel, deadline)
            .map_err(|refusal| refusal.with(None))
    }

    /// Sends a value and waits until the peer's `recv` has taken it out of its duct, at most until
    /// `deadline`. Messages that arrive meanwhile are kept for `recv`, up to the payload limit.
    ///
    /// As pprocess's channels do it for every message. Only native framings can. A peer that does
    /// not receive lets this wait; one whose `recv` fails to decode the value answers
    /// [`AckError::Refused`].
    ///
    /// # Errors
    ///
    /// See [`AckError`]; the value comes back as long as it was not sent.
    pub fn send_acked(&mut self, value: Tx, deadline: Deadline) -> Result<(), AckError<Tx>> {
        let codec = &self.codec;
        let sent =
            self.outbox
                .send_frame(&mut self.channel, FrameKind::Acked, &[], deadline, |out| {
                    codec.encode(&value, out)
                });
        if let Err(refusal) = sent {
            return Err(AckError::Send(refusal.with(value)));
        }
        match self.outbox.flush(&mut self.channel, deadline) {
            Ok(()) => {}
            Err(Refusal::NoRoom) => return Err(AckError::Timeout),
            Err(_) => return Err(AckError::Disconnected),
        }
        match self.inbox.ack(&mut self.channel, self.ack_limit, deadline) {
            Ok(Some(true)) => Ok(()),
            Ok(Some(false)) => Err(AckError::Refused),
            Ok(None) => Err(AckError::Full),
            Err(RecvError::Timeout) => Err(AckError::Timeout),
            Err(RecvError::Disconnected) => Err(AckError::Disconnected),
            Err(error) => Err(AckError::Recv(error)),
        }
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

    /// Receives message after message, waiting as [`recv`](Duct::recv) does, until the peer
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
            self.acknowledge(answer.is_ok(), deadline);
        }
        answer
    }
}

impl<Tx, Rx, C: Codec, Ch: Channel> Duct<Tx, Rx, C, Ch> {
    /// Sends `payload` as it is, past the codec. Blocks until `deadline` for room; when there was
    /// room for a part of it the rest is kept and written by the next call.
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    pub fn send_bytes(&mut self, payload: &[u8], deadline: Deadline) -> Result<(), SendError<()>> {
        self.outbox
            .send_bytes(&mut self.channel, payload, deadline)
            .map_err(|refusal| refusal.with(()))
    }

    /// Receives a message without taking it out of the duct's buffer: `take` may decode a value that
    /// borrows, look at the bytes, or take the descriptors. Blocks until `deadline`.
    ///
    /// # Errors
    ///
    /// See [`RecvError`]; none comes from decoding, which is up to `take`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ipc_core::Deadline;
    /// use ipc_marshal::Duct;
    ///
    /// let (mut ours, mut theirs) = Duct::<(u32, String), ()>::pair()?;
    /// ours.send((7, "borrowed".to_owned()))?;
    /// let len = theirs.recv_with(Deadline::Never, |message| {
    ///     let (_, text): (u32, &str) = message.decode()?;
    ///     Ok::<_, ipc_marshal::DecodeError>(text.len())
    /// })??;
    /// assert_eq!(len, 8);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_with<A>(
        &mut self,
        deadline: Deadline,
        take: impl FnOnce(Message<'_, C>) -> A,
    ) -> Result<A, RecvError> {
        let arrival = self.inbox.next(&mut self.channel, deadline)?;
        let answer = take(Message::new(arrival.payload, &self.codec, arrival.fds));
        if self.inbox.owes_ack() {
            self.acknowledge(true, deadline);
        }
        Ok(answer)
    }

    /// Sets the longest payload that is accepted from now on, in bytes, and answers the one before: for
    /// protocols that trust a peer with little until it has shown who it is. What the peer was told in
    /// the hand-shake stays as it is.
    pub fn limit_payload(&mut self, limit: usize) -> usize {
        self.inbox.limit_payload(limit)
    }

    /// Whether nothing is on its way here: no bytes pending or buffered, and no hand-shake awaited.
    pub(crate) fn is_idle(&self) -> bool {
        self.outbox.pending() == 0 && self.inbox.is_idle()
    }

    /// What `take` makes of the channel, or the duct with the channel that it gives back.
    #[expect(clippy::result_large_err, reason = "the error is the duct, unchanged")]
    pub(crate) fn try_map_channel<A>(
        self,
        take: impl FnOnce(Ch) -> Result<A, Ch>,
    ) -> Result<A, Self> {
        take(self.channel).map_err(|channel| Self { channel, ..self })
    }

    /// What sending needs, apart from each other.
    pub(crate) fn sending(&mut self) -> (&mut Outbox, &mut Ch, &C) {
        (&mut self.outbox, &mut self.channel, &self.codec)
    }

    #[cold]
    fn acknowledge(&mut self, received: bool, deadline: Deadline) {
        self.outbox.acknowledge(received);
        // If there is no room the next call writes it; if the peer is gone the next call says so.
        let _ = self.outbox.flush(&mut self.channel, deadline);
    }
}

/// Messages until there are no more, without repeating an error for ever.
pub(crate) fn until_over<T>(
    mut recv: impl FnMut() -> Result<T, RecvError>,
) -> impl Iterator<Item = Result<T, RecvError>> {
    let mut over = false;
    std::iter::from_fn(move || {
        if over {
            return None;
        }
        match recv() {
            Err(RecvError::Disconnected | RecvError::Timeout) => {
                over = true;
                None
            }
            Err(error) => {
                over = !matches!(error, RecvError::Decode(_) | RecvError::Descriptors { .. });
                Some(Err(error))
            }
            Ok(value) => Some(Ok(value)),
        }
    })
}
