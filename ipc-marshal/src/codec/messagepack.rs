//! MessagePack.

use std::io::ErrorKind;

use rmp_serde::decode::Error;
use serde::de::{Deserialize, IgnoredAny};
use serde::ser::Serialize;

use super::Codec;
use crate::{DecodeError, EncodeError};

const NAME: &str = "messagepack";

/// How deep values may be nested, as in serde_json. The crate's own 1024 can exhaust a thread's stack.
const DEPTH_MAX: usize = 128;

/// MessagePack: compact, self-describing, and known to most languages. Structs are maps with their
/// fields' names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessagePack;

impl Codec for MessagePack {
    fn id(&self) -> u16 {
        3
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn encode<T: Serialize + ?Sized>(
        &self,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        rmp_serde::encode::write_named(out, value)
            .map_err(|error| EncodeError::new::<T>(NAME, error))
    }

    fn decode<'de, T: Deserialize<'de>>(&self, bytes: &'de [u8]) -> Result<T, DecodeError> {
        let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
        deserializer.set_max_depth(DEPTH_MAX);
        let value = T::deserialize(&mut deserializer)
            .map_err(|error| DecodeError::new::<T>(NAME, None, error))?;
        // It does not tell how far it came: whether anything is left is asked of it too.
        match IgnoredAny::deserialize(&mut deserializer) {
            Err(Error::InvalidMarkerRead(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                Ok(value)
            }
            _ => Err(DecodeError::new::<T>(NAME, None, "bytes are left over")),
        }
    }
}
