//! Frames out of any split of the bytes.

use super::Framing;
use super::header::{FrameKind, Header, Parsed};
use crate::FrameError;

/// How much to read at once while no long frame is under way: enough for many small frames.
const CHUNK: usize = 64 * 1024;

/// How many times the buffer must have become empty before it may shrink.
const SHRINK_AFTER: u32 = 64;

/// One frame, borrowed from its [`Decoder`].
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What the frame is for.
    pub kind: FrameKind,
    /// How many descriptors the header says came with it.
    pub descriptors: usize,
    /// The message's bytes.
    pub payload: &'a [u8],
}

/// Reads frames of one [`Framing`], fed any split of the bytes.
///
/// Pure: it does no input or output, holds no descriptor and never panics on what it is fed. The
/// limit is checked as soon as a header says a length, before anything is allocated for it, and the
/// buffer at most doubles with the bytes that have really arrived, so a header that promises
/// gigabytes costs a few kilobytes. In the steady state it allocates nothing.
///
/// After an error the stream cannot be trusted: every later call answers the same error.
///
/// # Examples
///
/// ```
/// use ipc_marshal::{Decoder, FrameError, Framing};
///
/// let mut decoder = Decoder::new(Framing::Ductworks, 1000);
/// decoder.feed(b"\x54\xff\xff\xff\xff");
/// let error = decoder.next_frame().unwrap_err();
/// assert_eq!(error, FrameError::TooLarge { size: 4294967295, max: 1000 });
/// ```
#[derive(Debug)]
pub struct Decoder {
    framing: Framing,
    limit: usize,
    /// Initialised memory; what has been fed and not consumed is at `start..end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The header at `start`, once it is whole.
    header: Option<Header>,
    failed: Option<FrameError>,
    /// The longest frame since the buffer was last considered for shrinking, and how often it has
    /// become empty since.
    longest: usize,
    emptied: u32,
}

impl Decoder {
    /// A decoder that refuses payloads longer than `limit` bytes.
    pub fn new(framing: Framing, limit: usize) -> Self {
        Self {
            framing,
            limit,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            header: None,
            failed: None,
            longest: 0,
            emptied: 0,
        }
    }

    /// The longest payload that is accepted, in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Changes the limit for frames whose header has not been looked at yet.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Bytes that were fed and not given out as frames yet.
    pub fn buffered(&self) -> usize {
        self.end - self.start
    }

    /// Bytes of memory that the decoder holds.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Appends `bytes`.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = self.space();
            let len = space.len().min(bytes.len());
            let (now, later) = bytes.split_at(len);
            space[..len].copy_from_slice(now);
            self.advance(len);
            bytes = later;
        }
    }

    /// Where to put the next bytes; never empty. Call [`advance`](Decoder::advance) with how many
    /// were put. The space ends where a long frame does, so that such a frame is never moved.
    ///
    /// # Panics
    ///
    /// When there is no memory for a frame within the limit.
    pub fn space(&mut self) -> &mut [u8] {
        self.reserve().expect("memory for a frame within the limit")
    }

    /// [`space`](Decoder::space), or `None` without memory for it. Nothing is lost, and it may be tried again.
    pub(crate) fn reserve(&mut self) -> Option<&mut [u8]> {
        if self.start == self.end {
            self.rewind();
        }
        let have = self.buffered();
        let wanted = match &self.header {
            Some(header) if header.frame_len() > CHUNK => header.frame_len().saturating_sub(have),
            _ => CHUNK,
        };
        // A frame that is already whole, or a header that was never looked at, must not stop the
        // caller from feeding.
        let wanted = wanted.max(1);
        if self.buffer.len() - self.end < wanted && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.start = 0;
            self.end = have;
        }
        let arrived = have.max(CHUNK);
        let target = self.end + wanted.min(arrived);
        if self.buffer.len() < target {
            self.buffer.try_reserve(target - self.buffer.len()).ok()?;
            self.buffer.resize(target, 0);
        }
        let to = self.buffer.len().min(self.end + wanted);
        Some(&mut self.buffer[self.end..to])
    }

    /// Says that `len` bytes were put at the beginning of [`space`](Decoder::space).
    ///
    /// # Panics
    ///
    /// When `len` is more than the space there was.
    pub fn advance(&mut self, len: usize) {
        assert!(
            len <= self.buffer.len() - self.end,
            "more was put than there was space"
        );
        self.end += len;
    }

    /// Whether a whole frame is there for [`take`](Decoder::take).
    ///
    /// # Errors
    ///
    /// Every [`FrameError`] but [`FrameError::Truncated`].
    #[inline]
    pub fn ready(&mut self) -> Result<bool, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let answer = self.look();
        if let Err(error) = answer {
            self.failed = Some(error);
        }
        answer
    }

    #[inline]
    fn look(&mut self) -> Result<bool, FrameError> {
        let bytes = &self.buffer[self.start..self.end];
        let header = match self.header {
            Some(header) => header,
            None => match self.framing.parse(bytes)? {
                Parsed::Missing(_) => return Ok(false),
                Parsed::Header(header) => header,
            },
        };
        if self.header.is_none() && header.payload > self.limit {
            return Err(FrameError::TooLarge {
                size: header.payload as u64,
                max: self.limit,
            });
        }
        self.header = Some(header);
        let Some(frame) = bytes.get(..header.frame_len()) else {
            return Ok(false);
        };
        self.framing.verify(&header, frame)?;
        Ok(true)
    }

    /// The kind of the frame that [`ready`](Decoder::ready) has found.
    #[inline]
    pub(crate) fn kind(&self) -> Option<FrameKind> {
        self.header.map(|header| header.kind)
    }

    /// Takes the frame that [`ready`](Decoder::ready) has found; `None` when it has not.
    #[inline]
    pub fn take(&mut self) -> Option<Frame<'_>> {
        let header = self.header?;
        let len = header.frame_len();
        if self.buffered() < len {
            return None;
        }
        self.header = None;
        let payload = self.start + header.len;
        self.start += len;
        self.longest = self.longest.max(len);
        Some(Frame {
            kind: header.kind,
            descriptors: header.descriptors,
            payload: &self.buffer[payload..payload + header.payload],
        })
    }

    /// The next whole frame, or `None` until more is fed: [`ready`](Decoder::ready) and
    /// [`take`](Decoder::take).
    ///
    /// # Errors
    ///
    /// Every [`FrameError`] but [`FrameError::Truncated`].
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        if self.ready()? {
            Ok(self.take())
        } else {
            Ok(None)
        }
    }

    /// Says that no more will be fed.
    ///
    /// # Errors
    ///
    /// [`FrameError::Truncated`] when the bytes end inside a frame, with what is known to be missing.
    pub fn finish(&self) -> Result<(), FrameError> {
        let have = self.buffered();
        if have == 0 {
            return Ok(());
        }
        let missing = match &self.header {
            Some(header) => header.frame_len().saturating_sub(have),
            None => match self.framing.parse(&self.buffer[self.start..self.end])? {
                Parsed::Missing(bytes) => bytes,
                Parsed::Header(header) => header.frame_len().saturating_sub(have),
            },
        };
        Err(FrameError::Truncated {
            missing: missing.max(1),
        })
    }

    /// Starts at the front again, and gives memory back that no recent frame has needed.
    fn rewind(&mut self) {
        self.start = 0;
        self.end = 0;
        self.emptied += 1;
        if self.emptied < SHRINK_AFTER {
            return;
        }
        let keep = self.longest.max(CHUNK);
        if self.buffer.len() / 4 > keep {
            self.buffer.truncate(keep);
            self.buffer.shrink_to_fit();
        }
        self.emptied = 0;
        self.longest = 0;
    }
}
