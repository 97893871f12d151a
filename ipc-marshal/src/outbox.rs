//! The sending end of a duct without its channel: encoded frames that are not all written yet.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::BorrowedFd;

use ipc_core::{Deadline, Outbound};
use serde::Serialize;

use crate::{Codec, EncodeError, FrameError, FrameKind, Framing, SendError};

/// How much memory an empty outbox keeps for the next frame.
const KEEP: usize = 4 * 1024 * 1024;

/// Frames on their way out: at most the rest of what one call accepted.
#[derive(Debug)]
pub(crate) struct Outbox {
    framing: Framing,
    limit: usize,
    /// Whole frames up to `committed`; beyond it only while a frame is being encoded.
    buffer: Vec<u8>,
    committed: usize,
    /// How much of `buffer` the channel has taken.
    written: usize,
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
    Io(io::Error),
}

impl Refusal {
    pub(crate) fn with<T>(self, value: T) -> SendError<T> {
        match self {
            Self::NoRoom => SendError::Timeout(value),
            Self::Disconnected => SendError::Disconnected(value),
            Self::TooLarge { size, max } => SendError::TooLarge { value, size, max },
            Self::Encode(source) => SendError::Encode { value, source },
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
    pub(crate) fn new(framing: Framing, limit: usize) -> Self {
        Self {
            framing,
            limit,
            buffer: Vec::new(),
            committed: 0,
            written: 0,
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
        let finished = match filled {
            Err(error) => Err(Refusal::Encode(error)),
            Ok(()) if size > self.limit => Err(Refusal::TooLarge {
                size,
                max: self.limit,
            }),
            Ok(()) => self
                .framing
                .finish(frame, kind, descriptors, &mut self.buffer)
                .map_err(|error| unframed(error, size)),
        };
        match finished {
            Ok(()) => self.committed = self.buffer.len(),
            Err(_) => self.buffer.truncate(self.committed),
        }
        finished
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
        self.push(FrameKind::Message, 0, |out| codec.encode(value, out))?;
        self.start(channel, &[], deadline)
    }

    /// Writes the only frame in the buffer, with `fds`, or takes it back.
    pub(crate) fn start<W: Outbound>(
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
