//! UTF-8 JSON, as Ductworks speaks by default.

use serde::de::Deserialize;
use serde::ser::Serialize;

use super::Codec;
use crate::{DecodeError, EncodeError};

const NAME: &str = "json";

/// JSON text: readable by everything, and by people.
///
/// Floats that are not numbers become `null`, and bytes become a list of numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json;

impl Codec for Json {
    fn id(&self) -> u16 {
        2
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn encode<T: Serialize + ?Sized>(
        &self,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        serde_json::to_writer(out, value).map_err(|error| EncodeError::new::<T>(NAME, error))
    }

    fn decode<'de, T: Deserialize<'de>>(&self, bytes: &'de [u8]) -> Result<T, DecodeError> {
        serde_json::from_slice(bytes).map_err(|error| {
            let position = byte_at(bytes, error.line(), error.column());
            DecodeError::new::<T>(NAME, position, error)
        })
    }
}

/// Where `line` and `column`, both counted from one, are in `bytes`.
fn byte_at(bytes: &[u8], line: usize, column: usize) -> Option<usize> {
    let skipped = line.checked_sub(1)?;
    let before: usize = bytes
        .split_inclusive(|&byte| byte == b'\n')
        .take(skipped)
        .map(<[u8]>::len)
        .sum();
    Some(before + column.saturating_sub(1))
}
