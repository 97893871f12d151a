//! The default codec.
//!
//! All that this workspace uses of the bincode crate is in this file, so that another implementation
//! of the same format can replace it; the golden vectors in the tests pin the format: little-endian,
//! integers of variable length, no field names. Writing is the crate's; reading what a peer sent is
//! done in [`reader`], within stricter bounds than the crate's size limit.

mod reader;

use std::mem;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::enc::write::Writer;
use serde::de::Deserialize;
use serde::ser::Serialize;

use self::reader::Reader;
use super::{Bincode, Codec};
use crate::{DecodeError, EncodeError};

const NAME: &str = "bincode";

/// The size limit of the crate, which is a constant of its types: the most that the longest frame of
/// the native framing can hold. A duct's own limit is checked on the result.
const LIMIT: usize = u32::MAX as usize;

type Config = Configuration<LittleEndian, Varint, Limit<LIMIT>>;

fn config() -> Config {
    bincode::config::standard().with_limit::<LIMIT>()
}

impl Codec for Bincode {
    fn id(&self) -> u16 {
        1
    }

    fn name(&self) -> &'static str {
        NAME
    }

    #[inline]
    fn encode<T: Serialize + ?Sized>(
        &self,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        bincode::serde::encode_into_writer(value, Append::new(out), config())
            .map_err(|error| EncodeError::new::<T>(NAME, error))
    }

    #[inline]
    fn decode<'de, T: Deserialize<'de>>(&self, bytes: &'de [u8]) -> Result<T, DecodeError> {
        let mut reader = Reader::new(bytes);
        match T::deserialize(&mut reader) {
            Ok(value) if reader.left() == 0 => Ok(value),
            Ok(_) => {
                let left = reader.left();
                let message = format_args!("{left} bytes are left over");
                Err(undecodable::<T>(bytes, left, message))
            }
            Err(error) => Err(undecodable::<T>(bytes, reader.left(), error)),
        }
    }
}

#[cold]
fn undecodable<T>(bytes: &[u8], left: usize, message: impl std::fmt::Display) -> DecodeError {
    DecodeError::new::<T>(NAME, Some(bytes.len() - left), message)
}

/// How much room is made at first, and at most at once.
const ROOM_MIN: usize = 256;
const ROOM_MAX: usize = 64 * 1024;

/// Writes at the end of a buffer into room that was made before: much faster than growing a vector by
/// each of a message's small fields. It owns the buffer while it writes, so that its length and
/// place can stay in registers.
struct Append<'a> {
    home: &'a mut Vec<u8>,
    /// What is written, and behind it zeros.
    out: Vec<u8>,
    /// Where the zeros begin.
    at: usize,
}

impl<'a> Append<'a> {
    #[inline]
    fn new(home: &'a mut Vec<u8>) -> Self {
        let mut out = mem::take(home);
        let at = out.len();
        out.resize(at + ROOM_MIN, 0);
        Self { home, out, at }
    }
}

/// Also when a `Serialize` panics: what was in the buffer before must not be lost.
impl Drop for Append<'_> {
    #[inline]
    fn drop(&mut self) {
        self.out.truncate(self.at);
        mem::swap(self.home, &mut self.out);
    }
}

#[cold]
fn grown(mut out: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    let room = at.clamp(ROOM_MIN, ROOM_MAX);
    out.truncate(at);
    out.extend_from_slice(bytes);
    out.resize(out.len() + room, 0);
    out
}

impl Writer for Append<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        let end = self.at + bytes.len();
        match self.out.get_mut(self.at..end) {
            Some(room) => room.copy_from_slice(bytes),
            None => self.out = grown(mem::take(&mut self.out), self.at, bytes),
        }
        self.at = end;
        Ok(())
    }
}
