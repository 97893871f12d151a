//! The codec, of its two halves.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use ipc_core::Reservation;
use serde::de::Deserialize;
use serde::ser::Serialize;

use super::reader::Reader;
use super::writer::{Append, Put};
use crate::codec::{Bincode, Codec};
use crate::{DecodeError, EncodeError};

const NAME: &str = "bincode";

/// The size limit of the crate, which is a constant of its types: the most that the longest frame of
/// the native framing can hold. A duct's own limit is checked on the result.
const LIMIT: usize = u32::MAX as usize;

/// How long a payload may be to be written at a go. Into a slice the crate writes three times as fast
/// as into anything that can grow; what is longer is begun again.
const SHORT: usize = 256;

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
        let at = out.len();
        out.resize(at + SHORT, 0);
        let written = bincode::serde::encode_into_slice(value, &mut out[at..], config());
        let Err(error) = written.map(|len| out.truncate(at + len)) else {
            return Ok(());
        };
        out.truncate(at);
        encode_long(value, out, error)
    }

    #[inline]
    fn encode_in_place<T: Serialize + ?Sized>(
        &self,
        value: &T,
        room: &mut Reservation<'_>,
    ) -> Result<bool, EncodeError> {
        let mut short = [0; SHORT];
        match bincode::serde::encode_into_slice(value, &mut short, config()) {
            Ok(len) => Ok(room.put(&short[..len])),
            Err(error) => put_long(value, room, error),
        }
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

/// Encodes what did not fit into a short slice, anew.
#[inline(never)]
fn encode_long<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
    error: bincode::error::EncodeError,
) -> Result<(), EncodeError> {
    if !matches!(error, bincode::error::EncodeError::UnexpectedEnd) {
        return Err(EncodeError::new::<T>(NAME, error));
    }
    bincode::serde::encode_into_writer(value, Append::new(out), config())
        .map_err(|error| EncodeError::new::<T>(NAME, error))
}

/// The same into a channel's memory; `false` when it does not fit there either.
#[inline(never)]
fn put_long<T: Serialize + ?Sized>(
    value: &T,
    room: &mut Reservation<'_>,
    error: bincode::error::EncodeError,
) -> Result<bool, EncodeError> {
    if !matches!(error, bincode::error::EncodeError::UnexpectedEnd) {
        return Err(EncodeError::new::<T>(NAME, error));
    }
    let mut overflowed = false;
    let put = Put::new(room, &mut overflowed);
    let written = bincode::serde::encode_into_writer(value, put, config());
    match written {
        _ if overflowed => Ok(false),
        Ok(()) => Ok(true),
        Err(error) => Err(EncodeError::new::<T>(NAME, error)),
    }
}

#[cold]
fn undecodable<T>(bytes: &[u8], left: usize, message: impl std::fmt::Display) -> DecodeError {
    DecodeError::new::<T>(NAME, Some(bytes.len() - left), message)
}
