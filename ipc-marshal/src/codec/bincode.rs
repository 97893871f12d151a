//! The default codec.
//!
//! All that this workspace uses of the bincode crate is in this file, so that another implementation
//! of the same format can replace it; the golden vectors in the tests pin the format: little-endian,
//! integers of variable length, no field names.

use std::marker::PhantomData;

use bincode::error::DecodeError as Cause;
use serde::de::Deserialize;
use serde::ser::Serialize;

use super::guard::{Bounds, Seed};
use super::{Bincode, Codec};
use crate::{DecodeError, EncodeError};

const NAME: &str = "bincode";

/// The most that a value's containers may claim, in bytes. It is a constant of the bincode crate's
/// types and cannot follow a duct's limit; the frame limit is what bounds the input.
const LIMIT: usize = 1 << 30;

type Config = bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<LIMIT>,
>;

fn config() -> Config {
    bincode::config::standard().with_limit::<LIMIT>()
}

/// Appends to a buffer that is reused from message to message.
struct Append<'a>(&'a mut Vec<u8>);

impl bincode::enc::write::Writer for Append<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
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
        bincode::serde::encode_into_writer(value, Append(out), config())
            .map_err(|error| EncodeError::new::<T>(NAME, error))
    }

    #[inline]
    fn decode<'de, T: Deserialize<'de>>(&self, bytes: &'de [u8]) -> Result<T, DecodeError> {
        let bounds = Bounds::new(bytes.len());
        let seed = Seed(PhantomData, &bounds);
        let (value, used) = bincode::serde::seed_decode_from_slice(seed, bytes, config())
            .map_err(|error| undecodable::<T>(bytes, &error))?;
        if used == bytes.len() {
            return Ok(value);
        }
        Err(DecodeError::new::<T>(
            NAME,
            Some(used),
            format_args!("{} bytes are left over", bytes.len() - used),
        ))
    }
}

/// The only position that bincode tells is the end.
#[cold]
fn undecodable<T>(bytes: &[u8], cause: &Cause) -> DecodeError {
    match cause {
        Cause::UnexpectedEnd { additional } => DecodeError::new::<T>(
            NAME,
            Some(bytes.len()),
            format_args!("at least {additional} bytes are missing"),
        ),
        other => DecodeError::new::<T>(NAME, None, other),
    }
}
