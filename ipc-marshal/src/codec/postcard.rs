//! Postcard.

use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeSeed};
use serde::ser::Serialize;

use super::Codec;
use super::guard::{Bounds, Seed};
use crate::{DecodeError, EncodeError};

const NAME: &str = "postcard";

/// Postcard: the smallest payloads, with a written specification, at home on small machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Postcard;

/// Appends to a buffer that is reused from message to message.
struct Append<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Append<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

impl Codec for Postcard {
    fn id(&self) -> u16 {
        4
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn encode<T: Serialize + ?Sized>(
        &self,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        postcard::serialize_with_flavor(value, Append(out))
            .map_err(|error| EncodeError::new::<T>(NAME, error))
    }

    fn decode<'de, T: Deserialize<'de>>(&self, bytes: &'de [u8]) -> Result<T, DecodeError> {
        let bounds = Bounds::new(bytes.len());
        let mut deserializer = postcard::Deserializer::from_bytes(bytes);
        let value = Seed(PhantomData, &bounds)
            .deserialize(&mut deserializer)
            .map_err(|error| DecodeError::new::<T>(NAME, None, error))?;
        match deserializer.finalize() {
            Ok([]) => Ok(value),
            Ok(rest) => Err(DecodeError::new::<T>(
                NAME,
                Some(bytes.len() - rest.len()),
                format_args!("{} bytes are left over", rest.len()),
            )),
            Err(error) => Err(DecodeError::new::<T>(NAME, None, error)),
        }
    }
}
