//! The receiving end of a duct without its channel: bytes that are not all messages yet.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ipc_core::{Deadline, Inbound, Readiness};
use serde::de::Deserialize;

use crate::handshake::{self, Hello, Peer};
use crate::{Codec, Decoder, FrameKind, Framing, HandshakeError, RecvError};

/// The most descriptors that can have arrived for the one frame that is under way: the kernel's own
/// limit for one message.
const FDS_MAX: usize = 253;

/// Messages on their way in.
#[derive(Debug)]
pub(crate) struct Inbox {
    decoder: Decoder,
    /// Descriptors that have arrived and whose frame has not been taken, in order.
    fds: Vec<OwnedFd>,
    /// Whether descriptors are asked for: only the native framing has a place for them.
    takes_fds: bool,
    /// Whether the channel has ended.
    ended: bool,
    greeting: Greeting,
    /// Messages that came while an acknowledgement was awaited, and the one of them lent out.
    stash: VecDeque<Stashed>,
    lent: Vec<u8>,
    /// Acknowledgements that came, and those that are owed to the peer.
    acks: VecDeque<bool>,
    owed: bool,
}

/// How far the hand-shake is.
#[derive(Debug)]
enum Greeting {
    /// It is over, or there is none.
    Done,
    /// The peer's has not come. `limit` is for payloads once it has.
    Awaited {
        ours: Hello,
        limit: usize,
        peer: Arc<Peer>,
    },
    Refused(HandshakeError),
}

#[derive(Debug)]
struct Stashed {
    payload: Vec<u8>,
    fds: Vec<OwnedFd>,
    acked: bool,
}

/// A message that is being received.
#[derive(Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) fds: Vec<OwnedFd>,
}

impl Inbox {
    pub(crate) fn new(framing: Framing, limit: usize) -> Self {
        Self {
            decoder: Decoder::new(framing, limit),
            fds: Vec::new(),
            takes_fds: framing.is_native(),
            ended: false,
            greeting: Greeting::Done,
            stash: VecDeque::new(),
            lent: Vec::new(),
            acks: VecDeque::new(),
            owed: false,
        }
    }

    /// Accepts nothing before a hand-shake that fits to `ours`.
    pub(crate) fn expect(&mut self, ours: Hello, peer: Arc<Peer>) {
        let limit = self.decoder.limit();
        self.decoder.set_limit(handshake::LEN_MAX);
        self.greeting = Greeting::Awaited { ours, limit, peer };
    }

    /// Waits until a message is at the front of the decoder.
    #[inline]
    fn wait<R: Inbound>(&mut self, channel: &mut R, deadline: Deadline) -> Result<(), RecvError> {
        loop {
            match self.decoder.ready() {
                Ok(true) => match (&self.greeting, self.decoder.kind()) {
                    (Greeting::Done, Some(FrameKind::Message | FrameKind::Acked)) => return Ok(()),
                    _ => self.control()?,
                },
                Ok(false) => self.fill(channel, deadline)?,
                Err(error) => return Err(self.unreadable(error.into())),
            }
        }
    }

    /// Waits until the hand-shake is over.
    pub(crate) fn greet<R: Inbound>(
        &mut self,
        channel: &mut R,
        deadline: Deadline,
    ) -> Result<(), RecvError> {
        while !matches!(self.greeting, Greeting::Done) {
            match self.decoder.ready() {
                Ok(true) => self.control()?,
                Ok(false) => self.fill(channel, deadline)?,
                Err(error) => return Err(self.unreadable(error.into())),
            }
        }
        Ok(())
    }

    /// What does not even parse where a hand-shake is expected is none.
    #[cold]
    fn unreadable(&mut self, error: RecvError) -> RecvError {
        match &self.greeting {
            Greeting::Done => error,
            Greeting::Awaited { .. } => self.refuse(HandshakeError::Missing),
            Greeting::Refused(why) => RecvError::Handshake(why.clone()),
        }
    }

    fn refuse(&mut self, why: HandshakeError) -> RecvError {
        if let Greeting::Awaited { peer, .. } = &self.greeting {
            peer.refuse(why.clone());
        }
        self.greeting = Greeting::Refused(why.clone());
        RecvError::Handshake(why)
    }

    /// Deals with the frame at the front, which is not a message or comes too early.
    #[cold]
    fn control(&mut self) -> Result<(), RecvError> {
        if let Greeting::Refused(why) = &self.greeting {
            return Err(RecvError::Handshake(why.clone()));
        }
        let frame = self.decoder.take().expect("ready has found a frame");
        match (&self.greeting, frame.kind) {
            (Greeting::Awaited { ours, limit, peer }, FrameKind::Hello) => {
                let checked = Hello::decode(frame.payload)
                    .and_then(|theirs| ours.check(&theirs).map(|()| theirs));
                match checked {
                    Ok(theirs) => {
                        peer.accepts(theirs.payload_len_max);
                        self.decoder.set_limit(*limit);
                        self.greeting = Greeting::Done;
                        Ok(())
                    }
                    Err(why) => Err(self.refuse(why)),
                }
            }
            (Greeting::Awaited { .. }, _) => Err(self.refuse(HandshakeError::Missing)),
            (_, FrameKind::Hello) => Err(self.refuse(HandshakeError::Unexpected)),
            (_, FrameKind::Ack) => {
                let received = frame.payload == ACK_RECEIVED;
                // One who awaits an acknowledgement waits for one at a time; a peer that sends more
                // than were asked for gains nothing.
                if self.acks.len() < ACKS_MAX {
                    self.acks.push_back(received);
                }
                Ok(())
            }
            (_, FrameKind::Message | FrameKind::Acked) => Ok(()),
        }
    }

    /// Reads once.
    fn fill<R: Inbound>(&mut self, channel: &mut R, deadline: Deadline) -> Result<(), RecvError> {
        if let Greeting::Refused(why) = &self.greeting {
            return Err(RecvError::Handshake(why.clone()));
        }
        if self.ended {
            return Err(self.end());
        }
        if !self.fds.is_empty() && (self.decoder.buffered() == 0 || self.fds.len() > FDS_MAX) {
            // They belong to no frame.
            let got = mem::take(&mut self.fds).len();
            return Err(RecvError::Descriptors { expected: 0, got });
        }
        let space = self
            .decoder
            .reserve()
            .ok_or_else(|| RecvError::Io(ErrorKind::OutOfMemory.into()))?;
        let read = if self.takes_fds {
            channel.read_with_fds(space, &mut self.fds, deadline)
        } else {
            channel.read_deadline(space, deadline)
        };
        match read {
            Ok(0) => {
                self.ended = true;
                Err(self.end())
            }
            Ok(len) => {
                self.decoder.advance(len);
                Ok(())
            }
            Err(error) => Err(self.broken(error)),
        }
    }

    #[cold]
    fn broken(&mut self, error: io::Error) -> RecvError {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => RecvError::Timeout,
            // A peer that dies with unread bytes resets the connection instead of ending it.
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                self.ended = true;
                self.end()
            }
            _ => RecvError::Io(error),
        }
    }

    #[cold]
    fn end(&self) -> RecvError {
        match self.decoder.finish() {
            Ok(()) => RecvError::Disconnected,
            Err(error) => error.into(),
        }
    }

    /// The next message, with the descriptors that came with it.
    #[inline]
    pub(crate) fn next<R: Inbound>(
        &mut self,
        channel: &mut R,
        deadline: Deadline,
    ) -> Result<Arrival<'_>, RecvError> {
        if !self.stash.is_empty() {
            return Ok(self.unstash());
        }
        self.wait(channel, deadline)?;
        let frame = self.decoder.take().expect("wait has found a frame");
        self.owed = frame.kind == FrameKind::Acked;
        let fds = claim(&mut self.fds, frame.descriptors)?;
        Ok(Arrival {
            payload: frame.payload,
            fds,
        })
    }

    #[cold]
    fn unstash(&mut self) -> Arrival<'_> {
        let stashed = self.stash.pop_front().expect("the caller has looked");
        self.lent = stashed.payload;
        self.owed = stashed.acked;
        Arrival {
            payload: &self.lent,
            fds: stashed.fds,
        }
    }

    /// The next message as a value; it must have come without descriptors.
    #[inline]
    pub(crate) fn recv<'a, C, T, R>(
        &'a mut self,
        channel: &mut R,
        codec: &C,
        deadline: Deadline,
    ) -> Result<T, RecvError>
    where
        C: Codec,
        T: Deserialize<'a>,
        R: Inbound,
    {
        let arrival = self.next(channel, deadline)?;
        if !arrival.fds.is_empty() {
            return Err(RecvError::Descriptors {
                expected: 0,
                got: arrival.fds.len(),
            });
        }
        codec.decode(arrival.payload).map_err(RecvError::Decode)
    }

    /// Whether nothing was read that was not received, and no hand-shake is awaited.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.greeting, Greeting::Done)
            && self.decoder.buffered() == 0
            && self.stash.is_empty()
            && self.fds.is_empty()
    }

    /// Whether the message that was received last awaits an acknowledgement; answers yes once.
    #[inline]
    pub(crate) fn owes_ack(&mut self) -> bool {
        mem::take(&mut self.owed)
    }

    /// Waits for an acknowledgement and sets aside at most `limit` bytes of messages that come
    /// before it. Answers whether the peer could make sense of the message; `None` when too much
    /// else came.
    pub(crate) fn ack<R: Inbound>(
        &mut self,
        channel: &mut R,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Option<bool>, RecvError> {
        let mut held: usize = self.stash.iter().map(|stashed| stashed.payload.len()).sum();
        loop {
            if let Some(received) = self.acks.pop_front() {
                return Ok(Some(received));
            }
            match self.decoder.ready() {
                Ok(true) => {}
                Ok(false) => {
                    self.fill(channel, deadline)?;
                    continue;
                }
                Err(error) => return Err(self.unreadable(error.into())),
            }
            match (&self.greeting, self.decoder.kind()) {
                (Greeting::Done, Some(FrameKind::Message | FrameKind::Acked)) => {}
                _ => {
                    self.control()?;
                    continue;
                }
            }
            let frame = self.decoder.take().expect("ready has found a frame");
            // A message without a payload is not free.
            held += frame.payload.len() + mem::size_of::<Stashed>();
            if held > limit {
                return Ok(None);
            }
            let fds = claim(&mut self.fds, frame.descriptors)?;
            self.stash.push_back(Stashed {
                payload: frame.payload.to_vec(),
                fds,
                acked: frame.kind == FrameKind::Acked,
            });
        }
    }

    /// Sets the longest payload that is accepted from now on, and answers the one before. The
    /// hand-shake has a limit of its own.
    pub(crate) fn limit_payload(&mut self, wanted: usize) -> usize {
        match &mut self.greeting {
            Greeting::Awaited { limit, .. } => std::mem::replace(limit, wanted),
            Greeting::Done | Greeting::Refused(_) => {
                let before = self.decoder.limit();
                self.decoder.set_limit(wanted);
                before
            }
        }
    }

    /// Whether `recv` would not wait: waits until `deadline` for that.
    pub(crate) fn poll<R: Inbound>(
        &mut self,
        channel: &mut R,
        deadline: Deadline,
    ) -> io::Result<bool> {
        if !self.stash.is_empty() {
            return Ok(true);
        }
        match self.wait(channel, deadline) {
            Err(RecvError::Timeout) => Ok(false),
            Err(RecvError::Io(error)) => Err(error),
            Ok(()) | Err(_) => Ok(true),
        }
    }

    /// Says that the caller is about to sleep on the channel's descriptor.
    pub(crate) fn arm<R: Inbound>(&mut self, channel: &mut R) -> io::Result<Readiness> {
        // An error counts too: receiving tells it at once.
        if self.ended || !self.stash.is_empty() || self.decoder.ready().unwrap_or(true) {
            return Ok(Readiness::Ready);
        }
        channel.arm_inbound()
    }

    /// See [`Inbound::poll_inbound`]. What was read ahead counts.
    #[inline]
    pub(crate) fn look<R: Inbound>(&mut self, channel: &mut R) -> Option<bool> {
        let ready = channel.poll_inbound()?;
        Some(ready || self.ended || !self.stash.is_empty() || self.decoder.ready().unwrap_or(true))
    }
}

/// What an acknowledgement says: the message was received, or it made no sense to the peer.
pub(crate) const ACK_RECEIVED: &[u8] = &[0];
pub(crate) const ACK_REFUSED: &[u8] = &[1];

/// How many acknowledgements are kept that nobody waits for.
const ACKS_MAX: usize = 16;

/// Takes the descriptors of the frame that is being taken.
#[inline]
fn claim(fds: &mut Vec<OwnedFd>, count: usize) -> Result<Vec<OwnedFd>, RecvError> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if fds.len() < count {
        return Err(RecvError::Descriptors {
            expected: count,
            got: mem::take(fds).len(),
        });
    }
    Ok(fds.drain(..count).collect())
}
