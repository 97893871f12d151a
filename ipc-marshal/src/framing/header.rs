//! What stands before every payload.

use crate::FrameError;

/// What a frame is for. Every framing has messages; only the native ones have the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A user's message.
    Message,
    /// A user's message whose sender waits for an [`FrameKind::Ack`].
    Acked,
    /// The hand-shake, which comes first or not at all.
    Hello,
    /// The answer to a [`FrameKind::Acked`], without payload.
    Ack,
}

/// What a header says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) kind: FrameKind,
    /// Bytes before the payload.
    pub(crate) len: usize,
    pub(crate) payload: usize,
    /// Bytes after the payload.
    pub(crate) trailer: usize,
    pub(crate) descriptors: usize,
}

impl Header {
    pub(super) fn message(len: usize, payload: usize) -> Self {
        Self {
            kind: FrameKind::Message,
            len,
            payload,
            trailer: 0,
            descriptors: 0,
        }
    }

    pub(crate) fn frame_len(&self) -> usize {
        self.len + self.payload + self.trailer
    }
}

/// A header by itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeaderBytes {
    bytes: [u8; 12],
    len: usize,
}

impl HeaderBytes {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// What the first bytes of a frame give.
pub(crate) enum Parsed {
    /// The header is not whole: at least this many bytes of it are missing.
    Missing(usize),
    Header(Header),
}

/// A payload's length, as a length field of this width can say it.
pub(super) fn fits(len: usize, max: u64) -> Result<u64, FrameError> {
    let size = len as u64;
    if size > max {
        return Err(FrameError::TooLarge {
            size,
            max: usize::try_from(max).unwrap_or(usize::MAX),
        });
    }
    Ok(size)
}

/// A length field's value as a length here.
pub(super) fn to_len(size: u64) -> Result<usize, FrameError> {
    usize::try_from(size).map_err(|_| FrameError::TooLarge {
        size,
        max: usize::MAX,
    })
}
