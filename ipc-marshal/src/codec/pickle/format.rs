//! The codec, of its two halves.

use serde::de::Deserialize;
use serde::ser::Serialize;

use super::{machine, value};
use crate::codec::Codec;
use crate::{DecodeError, EncodeError};

const NAME: &str = "pickle";

/// Python's pickles as plain data: `None`, `bool`, `int`, `float`, `str`, `bytes`, `list`, `tuple`,
/// `dict`, `set` and `frozenset`.
///
/// A pickle that names a class, a function or a call is an error, never an execution; that includes
/// sets in protocols below 4 and bytes in protocols below 3, which are calls there. All protocols are
/// read, and 3 is written, which every Python 3 reads.
///
/// Structs are dicts with the fields' names; a unit variant of an enum is its name, others are a
/// dict of one entry. Integers may have 128 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pickle;

impl Codec for Pickle {
    fn id(&self) -> u16 {
        5
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn encode<T: Serialize + ?Sized>(
        &self,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        serde_pickle::to_writer(out, &value, serde_pickle::SerOptions::new())
            .map_err(|error| EncodeError::new::<T>(NAME, error))
    }

    fn decode<'de, T: Deserialize<'de>>(&self, bytes: &'de [u8]) -> Result<T, DecodeError> {
        let decoded = machine::load(bytes).and_then(|heap| value::read(&heap, bytes.len()));
        decoded.map_err(|error| DecodeError::new::<T>(NAME, error.position, error.message))
    }
}

/// Why a pickle is refused.
#[derive(Debug)]
pub(super) struct Error {
    pub(super) position: Option<usize>,
    pub(super) message: String,
}
