//! The receiving end of a duct without its channel: bytes that are not all messages yet.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;

use ipc_core::{Deadline, Inbound, Readiness};

use crate::{Codec, Decoder, Frame, FrameKind, Framing, HandshakeError, RecvError};
use serde::de::Deserialize;

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
}

impl Inbox {
    pub(crate) fn new(framing: Framing, limit: usize) -> Self {
        Self {
            decoder: Decoder::new(framing, limit),
            fds: Vec::new(),
            takes_fds: framing.is_native(),
            ended: false,
        }
    }

    /// Waits until a message is at the front of the decoder.
    #[inline]
    fn wait<R: Inbound>(&mut self, channel: &mut R, deadline: Deadline) -> Result<(), RecvError> {
        loop {
            if self.decoder.ready()? {
                return match self.decoder.kind() {
                    Some(FrameKind::Hello) => Err(RecvError::Handshake(HandshakeError::Unexpected)),
                    _ => Ok(()),
                };
            }
            self.fill(channel, deadline)?;
        }
    }

    /// Reads once.
    fn fill<R: Inbound>(&mut self, channel: &mut R, deadline: Deadline) -> Result<(), RecvError> {
        if self.ended {
            return Err(self.end());
        }
        let space = self.decoder.space();
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

    fn end(&self) -> RecvError {
        match self.decoder.finish() {
            Ok(()) => RecvError::Disconnected,
            Err(error) => error.into(),
        }
    }

    /// The next message, with the descriptors that came with it.
    pub(crate) fn next<R: Inbound>(
        &mut self,
        channel: &mut R,
        deadline: Deadline,
    ) -> Result<(Frame<'_>, Vec<OwnedFd>), RecvError> {
        self.wait(channel, deadline)?;
        let frame = self.decoder.take().expect("wait has found a frame");
        let count = frame.descriptors;
        if self.fds.len() < count {
            return Err(RecvError::Descriptors {
                expected: count,
                got: self.fds.len(),
            });
        }
        let fds = if count == 0 {
            Vec::new()
        } else {
            self.fds.drain(..count).collect()
        };
        Ok((frame, fds))
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
        let (frame, fds) = self.next(channel, deadline)?;
        if !fds.is_empty() {
            return Err(RecvError::Descriptors {
                expected: 0,
                got: fds.len(),
            });
        }
        codec.decode(frame.payload).map_err(RecvError::Decode)
    }

    /// Whether `recv` would not wait: waits until `deadline` for that.
    pub(crate) fn poll<R: Inbound>(
        &mut self,
        channel: &mut R,
        deadline: Deadline,
    ) -> io::Result<bool> {
        match self.wait(channel, deadline) {
            Err(RecvError::Timeout) => Ok(false),
            Err(RecvError::Io(error)) => Err(error),
            Ok(()) | Err(_) => Ok(true),
        }
    }

    /// Says that the caller is about to sleep on the channel's descriptor.
    pub(crate) fn arm<R: Inbound>(&mut self, channel: &mut R) -> io::Result<Readiness> {
        // An error counts too: receiving tells it at once.
        if self.ended || self.decoder.ready().unwrap_or(true) {
            return Ok(Readiness::Ready);
        }
        channel.arm_inbound()
    }
}
