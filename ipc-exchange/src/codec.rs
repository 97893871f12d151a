//! Arguments and results as bytes.

use ipc_marshal::{Bincode, Codec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::payload::Payload;

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Payload, String> {
    Payload::write(|bytes| Bincode.encode(value, bytes)).map_err(|error| error.to_string())
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    Bincode.decode(bytes).map_err(|error| error.to_string())
}
