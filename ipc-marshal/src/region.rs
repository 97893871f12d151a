//! Large values that are shared instead of sent.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ipc_core::FrozenMemory;
use serde::de::Deserialize;
use serde::ser::Serialize;

use crate::{Codec, DecodeError, EncodeError};

/// Read-only memory that travels as a descriptor: written once, then frozen for everybody, and read in
/// place by any number of processes. Attach it to a message with
/// [`Attached::attach_region`](crate::Attached::attach_region).
///
/// A receiver looks at the bytes only after it has seen the kernel's seals, so that not even a hostile
/// sender can change them under its eyes. One costs a descriptor and a few system calls: it pays
/// from about 64 KiB. Linux only; elsewhere making one is
/// [`Unsupported`](io::ErrorKind::Unsupported).
///
/// # Examples
///
/// ```
/// use ipc_core::Deadline;
/// use ipc_marshal::{Attached, Bincode, Duct, Region};
///
/// let (mut ours, mut theirs) = Duct::<(), ()>::pair()?;
/// let region = Region::encode(&Bincode, &("a name", [1_u32, 2, 3]))?;
/// ours.send_attached(Attached::new(()).attach_region(&region)?, Deadline::Never)?;
///
/// let ((), mut descriptors) = theirs.recv_attached(Deadline::Never)?.into_parts();
/// let fd = descriptors.pop().expect("the other side attached one");
/// let region = Region::from_fd(fd, 1 << 20)?;
/// let (name, numbers): (&str, [u32; 3]) = region.decode(&Bincode)?;
/// assert_eq!((name, numbers), ("a name", [1, 2, 3]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Region(FrozenMemory);

impl Region {
    /// Freezes a copy of `bytes`.
    ///
    /// # Errors
    ///
    /// What the system says: no memory, too many descriptors.
    pub fn new(bytes: &[u8]) -> io::Result<Self> {
        FrozenMemory::new(bytes).map(Self)
    }

    /// Makes `len` zero bytes, lets `fill` write to them in place, and freezes them.
    ///
    /// # Errors
    ///
    /// As [`new`](Region::new).
    pub fn build(len: usize, fill: impl FnOnce(&mut [u8])) -> io::Result<Self> {
        FrozenMemory::build(len, fill).map(Self)
    }

    /// Freezes a value's payload.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) with the [`EncodeError`] when the codec cannot
    /// encode it; and as [`new`](Region::new).
    pub fn encode<C: Codec, T: Serialize + ?Sized>(codec: &C, value: &T) -> io::Result<Self> {
        let mut payload = Vec::new();
        let encoded: Result<(), EncodeError> = codec.encode(value, &mut payload);
        encoded.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Self::new(&payload)
    }

    /// The value; `T` may borrow from the region.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] when the bytes are not what the codec writes for a `T`.
    pub fn decode<'a, C: Codec, T: Deserialize<'a>>(&'a self, codec: &C) -> Result<T, DecodeError> {
        codec.decode(self)
    }

    /// Looks at a received region, of at most `len_max` bytes.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) when the descriptor is not of frozen memory, or of
    /// more than `len_max` bytes; else what the system says.
    pub fn from_fd(fd: OwnedFd, len_max: usize) -> io::Result<Self> {
        FrozenMemory::from_fd(fd, len_max).map(Self)
    }
}

impl Deref for Region {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Region {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsFd for Region {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
