//! What every codec can do, and the name of the default.

use std::fmt::Debug;

use ipc_core::Reservation;
use serde::de::Deserialize;
use serde::ser::Serialize;

use crate::{DecodeError, EncodeError};

/// What turns values into payloads and back.
///
/// A codec is a plain value without state. `decode` is given bytes from a peer: whatever they are,
/// it answers a value or an error, and allocates no more than a small multiple of their number.
pub trait Codec: Clone + Debug + Send + Sync {
    /// What the hand-shake compares. Codecs of your own choose from 0x8000 up.
    fn id(&self) -> u16;

    /// The name for tools and errors, lowercase.
    fn name(&self) -> &'static str;

    /// Appends `value` to `out`. What `out` holds after an error beyond what it held before is
    /// unspecified.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] when the value's `Serialize` refuses or the format cannot hold it.
    fn encode<T: Serialize + ?Sized>(
        &self,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError>;

    /// Writes `value` straight into a channel's memory, behind what is there already, and answers
    /// whether it fitted. A codec that cannot do this answers `false`, as this one does unless it is
    /// overridden; what was put is then never sent, and [`encode`](Codec::encode) is called instead.
    ///
    /// # Errors
    ///
    /// As [`encode`](Codec::encode).
    #[inline]
    fn encode_in_place<T: Serialize + ?Sized>(
        &self,
        value: &T,
        room: &mut Reservation<'_>,
    ) -> Result<bool, EncodeError> {
        let _ = (value, room);
        Ok(false)
    }

    /// Reads one value, which may borrow from `bytes`, and nothing may be left over.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] when the bytes are not what `encode` writes for a `T`.
    fn decode<'de, T: Deserialize<'de>>(&self, bytes: &'de [u8]) -> Result<T, DecodeError>;
}

/// Compact and fast, for peers that share the Rust types: bincode 2's standard format.
///
/// It is not self-describing: both ends must have the same types, fields in the same order. Set a
/// schema hash in the hand-shake to find out early if they have not. Byte strings travel one byte at a time
/// unless the type says that they are bytes, as `serde_bytes` does.
///
/// It implements [`Codec`] with the feature `bincode`, which is on by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bincode;
