//! This crate's own frames.
//!
//! Header, 8 bytes: `u32` little-endian length of the payload, `u8` kind, `u8` flags, `u16`
//! little-endian number of descriptors that came with the frame. With [`CHECKED`] set, a `u32`
//! little-endian CRC32C of header and payload follows the payload and is not counted in the length.
//! An unknown kind or flag is an error: what a version does not know it cannot skip safely.

use super::OpenFrame;
use super::header::{FrameKind, Header, Parsed, fits, to_len};
use crate::FrameError;

pub(super) const HEADER: usize = 8;
const TRAILER: usize = 4;

/// The flag that says that a checksum follows the payload.
const CHECKED: u8 = 1;

fn kind_code(kind: FrameKind) -> u8 {
    match kind {
        FrameKind::Message => 0,
        FrameKind::Acked => 1,
        FrameKind::Ack => 2,
        FrameKind::Hello => 3,
    }
}

fn kind_from(code: u8) -> Result<FrameKind, FrameError> {
    match code {
        0 => Ok(FrameKind::Message),
        1 => Ok(FrameKind::Acked),
        2 => Ok(FrameKind::Ack),
        3 => Ok(FrameKind::Hello),
        other => Err(FrameError::UnknownKind(other)),
    }
}

#[inline]
pub(super) fn finish(
    frame: OpenFrame,
    kind: FrameKind,
    descriptors: usize,
    checked: bool,
    out: &mut Vec<u8>,
) -> Result<(), FrameError> {
    let header = header(out.len() - frame.payload, kind, descriptors, checked)?;
    let place = out[frame.start..].first_chunk_mut::<HEADER>();
    *place.expect("begin made room for it") = header;
    if checked {
        let sum = checksum(&out[frame.start..])?;
        out.extend_from_slice(&sum.to_le_bytes());
    }
    Ok(())
}

#[inline]
pub(super) fn header(
    payload_len: usize,
    kind: FrameKind,
    descriptors: usize,
    checked: bool,
) -> Result<[u8; HEADER], FrameError> {
    let size = fits(payload_len, u32::MAX.into())? as u32;
    let descriptors = u16::try_from(descriptors)
        .map_err(|_| FrameError::Unsupported("more than 65535 descriptors"))?;
    let [a, b, c, d] = size.to_le_bytes();
    let [e, f] = descriptors.to_le_bytes();
    let flags = if checked { CHECKED } else { 0 };
    Ok([a, b, c, d, kind_code(kind), flags, e, f])
}

#[inline]
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, FrameError> {
    let Some(header) = bytes.first_chunk::<HEADER>() else {
        return Ok(Parsed::Missing(HEADER - bytes.len()));
    };
    let [a, b, c, d, kind, flags, e, f] = *header;
    let kind = kind_from(kind)?;
    if flags & !CHECKED != 0 {
        return Err(FrameError::UnknownFlags(flags));
    }
    Ok(Parsed::Header(Header {
        kind,
        len: HEADER,
        payload: to_len(u32::from_le_bytes([a, b, c, d]).into())?,
        trailer: if flags & CHECKED != 0 { TRAILER } else { 0 },
        descriptors: u16::from_le_bytes([e, f]).into(),
    }))
}

pub(super) fn verify(header: &Header, frame: &[u8]) -> Result<(), FrameError> {
    let (body, trailer) = frame.split_at(header.len + header.payload);
    let got = trailer
        .first_chunk()
        .map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let expected = checksum(body)?;
    if expected == got {
        Ok(())
    } else {
        Err(FrameError::Checksum { expected, got })
    }
}

#[cfg(feature = "crc32c")]
fn checksum(bytes: &[u8]) -> Result<u32, FrameError> {
    Ok(crc32c::crc32c(bytes))
}

#[cfg(not(feature = "crc32c"))]
fn checksum(_: &[u8]) -> Result<u32, FrameError> {
    Err(FrameError::Unsupported("checksums without feature crc32c"))
}
