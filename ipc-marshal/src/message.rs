//! A message that is still in the receiving duct's buffer.

use std::os::fd::OwnedFd;

use serde::de::Deserialize;

use crate::{Codec, DecodeError};

/// A received message, given to the closure of [`Duct::recv_with`](crate::Duct::recv_with): what is
/// decoded from it may borrow from the duct's buffer, so that nothing is copied.
#[derive(Debug)]
pub struct Message<'a, C> {
    payload: &'a [u8],
    codec: &'a C,
    descriptors: Vec<OwnedFd>,
}

impl<'a, C: Codec> Message<'a, C> {
    pub(crate) fn new(payload: &'a [u8], codec: &'a C, descriptors: Vec<OwnedFd>) -> Self {
        Self {
            payload,
            codec,
            descriptors,
        }
    }

    /// The payload, as the peer's codec wrote it.
    pub fn bytes(&self) -> &'a [u8] {
        self.payload
    }

    /// The value; `T` may borrow, as `&str` or a struct of such does.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] when the payload is not what the codec writes for a `T`.
    pub fn decode<T: Deserialize<'a>>(&self) -> Result<T, DecodeError> {
        self.codec.decode(self.payload)
    }

    /// Takes the descriptors that came with the message; those not taken are closed.
    pub fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }
}
