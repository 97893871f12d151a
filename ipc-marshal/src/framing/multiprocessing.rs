//! The frames of Python's `multiprocessing.connection`: an `i32` big-endian length, or -1 and a `u64`
//! big-endian length where an `i32` cannot say it.

use super::OpenFrame;
use super::header::{Header, Parsed, to_len};
use crate::FrameError;

pub(super) const HEADER: usize = 4;
const WIDE_HEADER: usize = 12;

/// The longest payload that the short header can announce.
const SHORT_MAX: usize = i32::MAX as usize;

/// The length that announces the wide header.
const WIDE: i32 = -1;

/// The short header, where it can say the length.
pub(super) fn header(payload_len: usize) -> Option<[u8; HEADER]> {
    (payload_len <= SHORT_MAX).then(|| (payload_len as u32).to_be_bytes())
}

pub(super) fn wide_header(payload_len: usize) -> [u8; WIDE_HEADER] {
    let mut wide = [0; WIDE_HEADER];
    wide[..4].copy_from_slice(&WIDE.to_be_bytes());
    wide[4..].copy_from_slice(&(payload_len as u64).to_be_bytes());
    wide
}

pub(super) fn finish(frame: OpenFrame, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let len = out.len() - frame.payload;
    match header(len) {
        Some(short) => out[frame.start..frame.payload].copy_from_slice(&short),
        // Over 2 GiB: moving the payload eight bytes on is the smaller part of the work.
        None => drop(out.splice(frame.start..frame.payload, wide_header(len))),
    }
    Ok(())
}

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, FrameError> {
    let Some(short) = bytes.first_chunk::<HEADER>() else {
        return Ok(Parsed::Missing(HEADER - bytes.len()));
    };
    match i32::from_be_bytes(*short) {
        WIDE => {}
        len => {
            let size = usize::try_from(len).map_err(|_| FrameError::NegativeLength(len))?;
            return Ok(Parsed::Header(Header::message(HEADER, size)));
        }
    }
    let Some(wide) = bytes[HEADER..].first_chunk::<8>() else {
        return Ok(Parsed::Missing(WIDE_HEADER - bytes.len()));
    };
    let size = to_len(u64::from_be_bytes(*wide))?;
    Ok(Parsed::Header(Header::message(WIDE_HEADER, size)))
}
