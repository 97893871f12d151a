//! Arguments and results as bytes.

use ipc_marshal::{Bincode, Codec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire::Payload;

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Payload, String> {
    let mut bytes = Vec::new();
    match Bincode.encode(value, &mut bytes) {
        Ok(()) => Ok(Payload(bytes)),
        Err(error) => Err(error.to_string()),
    }
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    Bincode.decode(bytes).map_err(|error| error.to_string())
}
