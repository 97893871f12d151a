//! The choice of a framing, and what all of them can do.

use super::header::{FrameKind, Header, HeaderBytes, Parsed};
use super::{ByteOrder, LengthWidth, ductworks, length, multiprocessing, native};
use crate::FrameError;

/// The rule by which a stream of bytes is cut into messages.
///
/// A framing is a plain value: pure, without state or input and output.
/// [`encode`](Framing::encode) writes frames and a [`Decoder`](crate::Decoder) reads them, fed any split of the bytes.
///
/// # Examples
///
/// ```
/// use ipc_marshal::{Decoder, Framing};
///
/// let mut bytes = Vec::new();
/// Framing::PYRE.encode(b"hello", &mut bytes)?;
/// assert_eq!(bytes, b"\x05\0\0\0hello");
///
/// let mut decoder = Decoder::new(Framing::PYRE, 1024);
/// decoder.feed(&bytes[..3]);
/// assert!(decoder.next_frame()?.is_none());
/// decoder.feed(&bytes[3..]);
/// assert_eq!(decoder.next_frame()?.expect("a whole frame was fed").payload, b"hello");
/// # Ok::<(), ipc_marshal::FrameError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// This crate's own: an 8-byte header (`u32` little-endian length of the payload, kind, flags,
    /// `u16` little-endian number of descriptors), then the payload, then, if the flag for it is
    /// set, a CRC32C. The only one with a hand-shake, acknowledgements and descriptors.
    #[default]
    Native,
    /// [`Framing::Native`] with a CRC32C (little-endian, over header and payload) after every frame.
    /// Feature `crc32c`; without it this behaves as [`Framing::Native`] in receiving, and sending
    /// is an error.
    NativeChecked,
    /// Ductworks' message duct: the byte `0x54`, a `u32` big-endian length, the payload.
    Ductworks,
    /// A length and the payload. Pyre's pickler is [`Framing::PYRE`].
    Length {
        /// How wide the length is.
        width: LengthWidth,
        /// Which end of it comes first.
        order: ByteOrder,
    },
    /// Python's `multiprocessing.connection`: an `i32` big-endian length and the payload; for
    /// payloads over 2147483647 bytes the length is -1 and a `u64` big-endian length follows.
    Multiprocessing,
}

/// A frame that [`Framing::begin`] opened in a buffer.
#[derive(Clone, Copy, Debug)]
#[must_use = "an open frame is not a frame until it is finished"]
pub struct OpenFrame {
    pub(super) start: usize,
    pub(super) payload: usize,
}

impl OpenFrame {
    /// Where in the buffer the frame begins: truncate to it to abandon the frame.
    pub fn start(&self) -> usize {
        self.start
    }
}

impl Framing {
    /// What pyre's pickler uses: a `u32` little-endian length.
    pub const PYRE: Self = Self::Length {
        width: LengthWidth::U32,
        order: ByteOrder::Little,
    };

    /// Whether this is [`Framing::Native`] or [`Framing::NativeChecked`].
    pub fn is_native(self) -> bool {
        matches!(self, Self::Native | Self::NativeChecked)
    }

    /// Appends one message with `payload` to `out`. What was in `out` stays.
    ///
    /// # Errors
    ///
    /// [`FrameError::TooLarge`] when the framing's length cannot say so much; `out` is as before.
    pub fn encode(self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        let frame = self.begin(out);
        out.extend_from_slice(payload);
        self.finish(frame, FrameKind::Message, 0, out)
    }

    /// Opens a frame at the end of `out`: append the payload to `out` and then call
    /// [`finish`](Framing::finish). A codec writes straight into `out` this way.
    #[inline]
    pub fn begin(self, out: &mut Vec<u8>) -> OpenFrame {
        let start = out.len();
        match self {
            Self::Native | Self::NativeChecked => out.extend_from_slice(&[0; native::HEADER]),
            Self::Ductworks => out.extend_from_slice(&[0; ductworks::HEADER]),
            Self::Length { width, .. } => out.extend_from_slice(&[0; 8][..width.bytes()]),
            Self::Multiprocessing => out.extend_from_slice(&[0; multiprocessing::HEADER]),
        }
        OpenFrame {
            start,
            payload: out.len(),
        }
    }

    /// Closes a frame: everything in `out` after its header is the payload.
    ///
    /// # Errors
    ///
    /// [`FrameError::TooLarge`] when the framing's length cannot say so much, and
    /// [`FrameError::Unsupported`] when the framing has no such kind or no descriptors. `out` is cut
    /// back to where the frame began.
    #[inline]
    pub fn finish(
        self,
        frame: OpenFrame,
        kind: FrameKind,
        descriptors: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        let finished = match self {
            Self::Native => native::finish(frame, kind, descriptors, false, out),
            Self::NativeChecked => native::finish(frame, kind, descriptors, true, out),
            _ if kind != FrameKind::Message => Err(FrameError::Unsupported("control frames")),
            _ if descriptors != 0 => Err(FrameError::Unsupported("descriptors")),
            Self::Ductworks => ductworks::finish(frame, out),
            Self::Length { width, order } => length::finish(width, order, frame, out),
            Self::Multiprocessing => multiprocessing::finish(frame, out),
        };
        if finished.is_err() {
            out.truncate(frame.start);
        }
        finished
    }

    /// The header of a message whose payload is elsewhere, where no trailer has to follow it.
    pub(crate) fn header(self, payload_len: usize) -> Result<Option<HeaderBytes>, FrameError> {
        let mut header = HeaderBytes::default();
        match self {
            Self::Native => {
                header.push(&native::header(payload_len, FrameKind::Message, 0, false)?);
            }
            Self::NativeChecked => return Ok(None),
            Self::Ductworks => header.push(&ductworks::header(payload_len)?),
            Self::Length { width, order } => {
                let (bytes, range) = length::header(width, order, payload_len)?;
                header.push(&bytes[range]);
            }
            Self::Multiprocessing => match multiprocessing::header(payload_len) {
                Some(short) => header.push(&short),
                None => header.push(&multiprocessing::wide_header(payload_len)),
            },
        }
        Ok(Some(header))
    }

    /// Reads the header at the beginning of `bytes`.
    #[inline]
    pub(crate) fn parse(self, bytes: &[u8]) -> Result<Parsed, FrameError> {
        match self {
            Self::Native | Self::NativeChecked => native::parse(bytes),
            Self::Ductworks => ductworks::parse(bytes),
            Self::Length { width, order } => length::parse(width, order, bytes),
            Self::Multiprocessing => multiprocessing::parse(bytes),
        }
    }

    /// Compares a whole frame with its trailer.
    #[inline]
    pub(crate) fn verify(self, header: &Header, frame: &[u8]) -> Result<(), FrameError> {
        if header.trailer == 0 {
            return Ok(());
        }
        native::verify(header, frame)
    }
}
