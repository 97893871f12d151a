//! A length and the payload, the commonest framing of all.

use std::ops::Range;

use super::OpenFrame;
use super::header::{Header, Parsed, fits, to_len};
use crate::FrameError;

/// How wide a length is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LengthWidth {
    /// Two bytes: payloads up to 64 KiB - 1.
    U16,
    /// Four bytes: payloads up to 4 GiB - 1.
    U32,
    /// Eight bytes.
    U64,
}

impl LengthWidth {
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::U16 => 2,
            Self::U32 => 4,
            Self::U64 => 8,
        }
    }

    fn max(self) -> u64 {
        match self {
            Self::U16 => u16::MAX.into(),
            Self::U32 => u32::MAX.into(),
            Self::U64 => u64::MAX,
        }
    }
}

/// Which end of a number comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// The least significant byte.
    Little,
    /// The most significant byte, as in network protocols.
    Big,
}

/// Eight bytes, and which of them are the length.
pub(super) fn header(
    width: LengthWidth,
    order: ByteOrder,
    payload_len: usize,
) -> Result<([u8; 8], Range<usize>), FrameError> {
    let size = fits(payload_len, width.max())?;
    let bytes = width.bytes();
    Ok(match order {
        ByteOrder::Little => (size.to_le_bytes(), 0..bytes),
        ByteOrder::Big => (size.to_be_bytes(), 8 - bytes..8),
    })
}

pub(super) fn finish(
    width: LengthWidth,
    order: ByteOrder,
    frame: OpenFrame,
    out: &mut [u8],
) -> Result<(), FrameError> {
    let (bytes, range) = header(width, order, out.len() - frame.payload)?;
    out[frame.start..frame.payload].copy_from_slice(&bytes[range]);
    Ok(())
}

pub(super) fn parse(
    width: LengthWidth,
    order: ByteOrder,
    bytes: &[u8],
) -> Result<Parsed, FrameError> {
    let len = width.bytes();
    let Some(field) = bytes.get(..len) else {
        return Ok(Parsed::Missing(len - bytes.len()));
    };
    let mut wide = [0; 8];
    let size = match order {
        ByteOrder::Little => {
            wide[..len].copy_from_slice(field);
            u64::from_le_bytes(wide)
        }
        ByteOrder::Big => {
            wide[8 - len..].copy_from_slice(field);
            u64::from_be_bytes(wide)
        }
    };
    Ok(Parsed::Header(Header::message(len, to_len(size)?)))
}
