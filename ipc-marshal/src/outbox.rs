//! The sending end of a duct without its channel: encoded frames that are not all written yet.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use ipc_core::{Deadline, Outbound};
use serde::Serialize;

use crate::handshake::{Hello, Peer};
use crate::inbox::{ACK_RECEIVED, ACK_REFUSED};
use crate::{Codec, EncodeError, FrameError, FrameKind, Framing, HandshakeError, SendError};

/// How much memory an empty outbox keeps for the next frame.
const KEEP: usize = 4 * 1024 * 1024;

/// How many acknowledgements may be pending: a peer that asks for them and does not read them must
/// not make this end hoard them.
const ACKS_PENDING_MAX: usize = 1024;

/// The length of the native framing's header.
const NATIVE_HEADER: usize = 8;

/// From how many bytes on a payload is not copied together with its header.
const DIRECT_MIN: usize = 16 * 1024;

/// How many encoded bytes a batch gathers before it is written.
const BATCH: usize = 64 * 1024;

/// Frames on their way out: at most the rest of what one call accepted.
#[derive(Debug)]
pub(crate) struct Outbox {
    framing: Framing,
    peer: Arc<Peer>,
    /// Whole frames up to `committed`; beyond it only while a frame is being encoded.
    buffer: Vec<u8>,
    committed: usize,
    /// How much of `buffer` the channel has taken.
    written: usize,
    /// How many acknowledgements are in `buffer`.
    acks: usize,
    /// How long the frame of the last value was.
    last_len: usize,
}

/// Why something was not sent, without the value.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// No room before the deadline, and nothing of the value was written.
    NoRoom,
    Disconnected,
    TooLarge {
        size: usize,
        max: usize,
    },
    Encode(EncodeError),
    Handshake(HandshakeError),
    Io(io::Error),
}

impl Refusal {
    pub(crate) fn with<T>(self, value: T) -> SendError<T> {
        match self {
            Self::NoRoom => SendError::Timeout(value),
            Self::Disconnected => SendError::Disconnected(value),
            Self::TooLarge { size, max } => SendError::TooLarge { value, size, max },
            Self::Encode(source) => SendError::Encode { value, source },
            Self::Handshake(source) => SendError::Handshake { value, source },
            Self::Io(source) => SendError::Io { value, source },
        }
    }

    pub(crate) fn into_io(self) -> io::Error {
        match self {
            Self::NoRoom => ErrorKind::TimedOut.into(),
            Self::Disconnected => ErrorKind::BrokenPipe.into(),
            Self::TooLarge { size, max } => io::Error::new(
                ErrorKind::InvalidInput,
                format!("message of {size} bytes exceeds the limit of {max}"),
            ),
            Self::Encode(source) => io::Error::new(ErrorKind::InvalidInput, source),
            Self::Handshake(source) => io::Error::new(ErrorKind::InvalidData, source),
            Self::Io(source) => source,
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::NoRoom,
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected => {
                Self::Disconnected
            }
            _ => Self::Io(error),
        }
    }
}

impl Outbox {
    pub(crate) fn new(framing: Framing, peer: Arc<Peer>) -> Self {
        Self {
            framing,
            peer,
            buffer: Vec::new(),
            committed: 0,
            written: 0,
            acks: 0,
            last_len: 0,
        }
    }

    /// Bytes that were accepted and not yet written.
    pub(crate) fn pending(&self) -> usize {
        self.committed - self.written
    }

    /// Appends one frame whose payload `fill` writes. On an error nothing is appended.
    #[inline]
    pub(crate) fn push(
        &mut self,
        kind: FrameKind,
        descriptors: usize,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<(), Refusal> {
        // A `Serialize` that panicked has left half a frame here.
        self.buffer.truncate(self.committed);
        let frame = self.framing.begin(&mut self.buffer);
        let payload = self.buffer.len();
        let filled = fill(&mut self.buffer);
        let size = self.buffer.len() - payload;
        let finished = filled
            .map_err(Refusal::Encode)
            .and_then(|()| self.admit(size))
            .and_then(|()| {
                self.framing
                    .finish(frame, kind, descriptors, &mut self.buffer)
                    .map_err(|error| unframed(error, size))
            });
        match finished {
            Ok(()) => self.committed = self.buffer.len(),
            Err(_) => self.buffer.truncate(self.committed),
        }
        finished
    }

    /// Appends this end's hand-shake, which must be the first frame.
    pub(crate) fn greet(&mut self, ours: &Hello) {
        let mut payload = Vec::new();
        ours.encode(&mut payload);
        self.push_control(FrameKind::Hello, &payload);
    }

    /// Appends an acknowledgement, unless the peer does not read those it has already.
    pub(crate) fn acknowledge(&mut self, received: bool) {
        if self.acks < ACKS_PENDING_MAX {
            self.acks += 1;
            let payload = if received { ACK_RECEIVED } else { ACK_REFUSED };
            self.push_control(FrameKind::Ack, payload);
        }
    }

    /// Appends a frame of this crate's own, to which the user's limit does not apply.
    fn push_control(&mut self, kind: FrameKind, payload: &[u8]) {
        self.buffer.truncate(self.committed);
        let frame = self.framing.begin(&mut self.buffer);
        self.buffer.extend_from_slice(payload);
        // Only a framing that has no such frames refuses, and no native peer asks for one then.
        if self
            .framing
            .finish(frame, kind, 0, &mut self.buffer)
            .is_ok()
        {
            self.committed = self.buffer.len();
        }
    }

    /// Writes what is pending until nothing is, or `deadline`.
    pub(crate) fn flush<W: Outbound>(
        &mut self,
        channel: &mut W,
        deadline: Deadline,
    ) -> Result<(), Refusal> {
        while self.pending() > 0 {
            self.write_some(channel, &[], deadline)?;
        }
        Ok(())
    }

    fn write_some<W: Outbound>(
        &mut self,
        channel: &mut W,
        fds: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> Result<(), Refusal> {
        let bytes = [IoSlice::new(&self.buffer[self.written..self.committed])];
        let taken = if fds.is_empty() {
            channel.write_deadline(&bytes, deadline)?
        } else {
            channel.write_with_fds(&bytes, fds, deadline)?
        };
        self.written += taken;
        if self.written == self.committed {
            self.buffer.clear();
            self.buffer.shrink_to(KEEP);
            self.committed = 0;
            self.written = 0;
            self.acks = 0;
        }
        Ok(())
    }

    /// Sends one value: what is pending first, then its frame. `NoRoom` means that nothing of the
    /// frame was written; when part of it was, the rest stays pending and the answer is `Ok`.
    #[inline]
    pub(crate) fn send<C, T, W>(
        &mut self,
        channel: &mut W,
        codec: &C,
        value: &T,
        deadline: Deadline,
    ) -> Result<(), Refusal>
    where
        C: Codec,
        T: Serialize + ?Sized,
        W: Outbound,
    {
        self.flush(channel, deadline)?;
        if self.framing == Framing::Native && self.send_in_place(channel, codec, value)? {
            return Ok(());
        }
        self.push(FrameKind::Message, 0, |out| codec.encode(value, out))?;
        self.last_len = self.committed;
        self.start(channel, &[], deadline)
    }

    /// Encodes one value's frame straight into the channel's memory, where it has any with room for
    /// it now.
    #[inline]
    fn send_in_place<C, T, W>(
        &mut self,
        channel: &mut W,
        codec: &C,
        value: &T,
    ) -> Result<bool, Refusal>
    where
        C: Codec,
        T: Serialize + ?Sized,
        W: Outbound,
    {
        let Some(mut room) = channel.in_place()? else {
            return Ok(false);
        };
        // The next message is likely to be as long as the last: no half of it is encoded for nothing.
        if room.remaining() < self.last_len || !room.put(&[0; NATIVE_HEADER]) {
            return Ok(false);
        }
        let fitted = codec
            .encode_in_place(value, &mut room)
            .map_err(Refusal::Encode)?;
        if !fitted {
            return Ok(false);
        }
        let size = room.filled() - NATIVE_HEADER;
        self.admit(size)?;
        let header = self.framing.header(size);
        let header = header.map_err(|error| unframed(error, size))?;
        room.put_at(0, header.expect("native frames have one").as_slice());
        self.last_len = room.commit();
        Ok(true)
    }

    /// Sends one frame whose payload `fill` writes, as [`send`](Outbox::send) does.
    #[inline]
    pub(crate) fn send_frame<W: Outbound>(
        &mut self,
        channel: &mut W,
        kind: FrameKind,
        fds: &[BorrowedFd<'_>],
        deadline: Deadline,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<(), Refusal> {
        self.flush(channel, deadline)?;
        self.push(kind, fds.len(), fill)?;
        self.start(channel, fds, deadline)
    }

    /// Sends one message whose payload is at hand. A long one is written from where it is.
    pub(crate) fn send_bytes<W: Outbound>(
        &mut self,
        channel: &mut W,
        payload: &[u8],
        deadline: Deadline,
    ) -> Result<(), Refusal> {
        if payload.len() >= DIRECT_MIN {
            let size = payload.len();
            self.admit(size)?;
            let header = self.framing.header(size);
            if let Some(header) = header.map_err(|error| unframed(error, size))? {
                self.flush(channel, deadline)?;
                return self.write_through(channel, header.as_slice(), payload, deadline);
            }
        }
        self.send_frame(channel, FrameKind::Message, &[], deadline, |out| {
            out.extend_from_slice(payload);
            Ok(())
        })
    }

    /// Writes a frame from where its parts are; what there is no room for is kept as pending, unless
    /// it is all of it.
    fn write_through<W: Outbound>(
        &mut self,
        channel: &mut W,
        header: &[u8],
        payload: &[u8],
        deadline: Deadline,
    ) -> Result<(), Refusal> {
        let mut written = 0;
        while written < header.len() + payload.len() {
            let head = &header[written.min(header.len())..];
            let body = &payload[written.saturating_sub(header.len())..];
            let parts = [IoSlice::new(head), IoSlice::new(body)];
            let parts = if head.is_empty() {
                &parts[1..]
            } else {
                &parts[..]
            };
            match channel
                .write_deadline(parts, deadline)
                .map_err(Refusal::from)
            {
                Ok(taken) => written += taken,
                Err(Refusal::NoRoom) if written > 0 => {
                    self.buffer.extend_from_slice(head);
                    self.buffer.extend_from_slice(body);
                    self.committed = self.buffer.len();
                    return Ok(());
                }
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(())
    }

    /// Whether a payload of `size` bytes may be sent at all.
    #[inline]
    fn admit(&self, size: usize) -> Result<(), Refusal> {
        if let Some(why) = self.peer.refused() {
            return Err(Refusal::Handshake(why.clone()));
        }
        let max = self.peer.limit();
        if size > max {
            return Err(Refusal::TooLarge { size, max });
        }
        Ok(())
    }

    /// Appends one value's frame and writes only when a batch has gathered. Like [`send`](Outbox::send)
    /// it answers `NoRoom` only when nothing of the value was accepted.
    #[inline]
    pub(crate) fn feed<C, T, W>(
        &mut self,
        channel: &mut W,
        codec: &C,
        value: &T,
        deadline: Deadline,
    ) -> Result<(), Refusal>
    where
        C: Codec,
        T: Serialize + ?Sized,
        W: Outbound,
    {
        if self.pending() >= BATCH {
            self.flush(channel, deadline)?;
        }
        self.push(FrameKind::Message, 0, |out| codec.encode(value, out))
    }

    /// Writes the only frame in the buffer, with `fds`, or takes it back.
    fn start<W: Outbound>(
        &mut self,
        channel: &mut W,
        fds: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> Result<(), Refusal> {
        if let Err(refusal) = self.write_some(channel, fds, deadline) {
            self.buffer.clear();
            self.committed = 0;
            return Err(refusal);
        }
        match self.flush(channel, deadline) {
            Ok(()) | Err(Refusal::NoRoom) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }
}

/// The framing cannot say a length, or cannot carry what was asked of it.
fn unframed(error: FrameError, size: usize) -> Refusal {
    match error {
        FrameError::TooLarge { max, .. } => Refusal::TooLarge { size, max },
        other => Refusal::Io(io::Error::new(ErrorKind::Unsupported, other)),
    }
}
