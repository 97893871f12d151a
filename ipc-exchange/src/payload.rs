//! Encoded values, and the buffers they are in.

use std::cell::Cell;
use std::sync::Mutex;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::outcome::lock;

/// From how many bytes on a buffer is worth keeping: the allocator gives larger ones back to the
/// system, and each page of them is then a fault again.
const KEPT_MIN: usize = 16 << 10;

/// The largest buffer that is kept, and how many bytes all of them may have.
const KEPT_MAX: usize = 4 << 20;
const KEPT_SUM: usize = 16 << 20;

/// Bytes that are copied as a whole instead of one by one, in a buffer that is used again.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Payload(Vec<u8>);

/// Buffers that wait for their next use, and their sum.
static KEPT: Mutex<(Vec<Vec<u8>>, usize)> = Mutex::new((Vec::new(), 0));

thread_local! {
    /// How long the last value was that this thread has encoded: the next is likely to be as long.
    static LAST: Cell<usize> = const { Cell::new(0) };
}

impl Payload {
    pub(crate) fn copy(bytes: &[u8]) -> Self {
        let mut buffer = take(bytes.len());
        buffer.extend_from_slice(bytes);
        Self(buffer)
    }

    /// Has `fill` write to an empty buffer.
    pub(crate) fn write<E>(fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<Self, E> {
        let mut payload = Self(take(LAST.get()));
        fill(&mut payload.0)?;
        LAST.set(payload.0.len());
        Ok(payload)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

fn take(len: usize) -> Vec<u8> {
    if len >= KEPT_MIN {
        let mut kept = lock(&KEPT);
        if let Some(buffer) = kept.0.pop() {
            kept.1 -= buffer.capacity();
            return buffer;
        }
    }
    Vec::with_capacity(len)
}

impl Drop for Payload {
    fn drop(&mut self) {
        let capacity = self.0.capacity();
        if !(KEPT_MIN..=KEPT_MAX).contains(&capacity) {
            return;
        }
        let mut buffer = std::mem::take(&mut self.0);
        buffer.clear();
        let mut kept = lock(&KEPT);
        if kept.1 + capacity <= KEPT_SUM {
            kept.1 += capacity;
            kept.0.push(buffer);
        }
    }
}

impl Clone for Payload {
    fn clone(&self) -> Self {
        Self::copy(&self.0)
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Payload;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Payload, E> {
                Ok(Payload::copy(bytes))
            }

            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Payload, E> {
                Ok(Payload(bytes))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_and_empty() {
        let large = Payload::copy(&[7; KEPT_MIN * 2]);
        let capacity = large.0.capacity();
        drop(large);
        let again = Payload::copy(&[1; KEPT_MIN]);
        assert_eq!(again.bytes(), [1; KEPT_MIN]);
        assert!(again.0.capacity() >= capacity.min(KEPT_MIN));
        assert!(lock(&KEPT).1 <= KEPT_SUM);
    }
}
