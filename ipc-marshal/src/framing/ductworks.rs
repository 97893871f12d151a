//! Ductworks' message duct: the byte `0x54`, a `u32` big-endian length, the payload.

use super::OpenFrame;
use super::header::{Header, Parsed, fits, to_len};
use crate::FrameError;

pub(super) const HEADER: usize = 5;

/// The byte that begins every frame.
const MARK: u8 = 0x54;

pub(super) fn header(payload_len: usize) -> Result<[u8; HEADER], FrameError> {
    let size = fits(payload_len, u32::MAX.into())? as u32;
    let [a, b, c, d] = size.to_be_bytes();
    Ok([MARK, a, b, c, d])
}

pub(super) fn finish(frame: OpenFrame, out: &mut [u8]) -> Result<(), FrameError> {
    let header = header(out.len() - frame.payload)?;
    out[frame.start..frame.payload].copy_from_slice(&header);
    Ok(())
}

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, FrameError> {
    // The mark is checked as soon as it is there: four more bytes may never come from a stranger.
    if let Some(&got) = bytes.first()
        && got != MARK
    {
        return Err(FrameError::WrongMark {
            expected: MARK,
            got,
        });
    }
    let Some(&[_, a, b, c, d]) = bytes.first_chunk::<HEADER>() else {
        return Ok(Parsed::Missing(HEADER - bytes.len()));
    };
    let size = to_len(u32::from_be_bytes([a, b, c, d]).into())?;
    Ok(Parsed::Header(Header::message(HEADER, size)))
}
