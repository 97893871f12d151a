//! A codec that is chosen at run time.

use ipc_core::Reservation;
use serde::de::Deserialize;
use serde::ser::Serialize;

#[cfg(feature = "bincode")]
use super::Bincode;
#[cfg(feature = "json")]
use super::Json;
#[cfg(feature = "messagepack")]
use super::MessagePack;
#[cfg(feature = "pickle")]
use super::Pickle;
#[cfg(feature = "postcard")]
use super::Postcard;
use super::{Codec, Raw};
use crate::{DecodeError, EncodeError};

/// One of this crate's codecs, chosen at run time: for tools, which take its name from a user.
///
/// Only those whose feature is on are there. Values whose type is not known either need a
/// self-describing codec at the other end (`json`, `messagepack`, `pickle`) and a type that takes
/// anything, such as `serde_json::Value`.
///
/// # Examples
///
/// ```
/// use ipc_marshal::{AnyCodec, Codec};
///
/// let codec = AnyCodec::by_name("raw").expect("always there");
/// let mut bytes = Vec::new();
/// codec.encode("hello", &mut bytes)?;
/// assert_eq!(bytes, b"hello");
/// # Ok::<(), ipc_marshal::EncodeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnyCodec {
    /// [`Bincode`].
    #[cfg(feature = "bincode")]
    Bincode,
    /// [`Json`].
    #[cfg(feature = "json")]
    Json,
    /// [`MessagePack`].
    #[cfg(feature = "messagepack")]
    MessagePack,
    /// [`Pickle`].
    #[cfg(feature = "pickle")]
    Pickle,
    /// [`Postcard`].
    #[cfg(feature = "postcard")]
    Postcard,
    /// [`Raw`].
    Raw,
}

impl AnyCodec {
    /// Every codec that is there.
    pub const ALL: &[Self] = &[
        #[cfg(feature = "bincode")]
        Self::Bincode,
        #[cfg(feature = "json")]
        Self::Json,
        #[cfg(feature = "messagepack")]
        Self::MessagePack,
        #[cfg(feature = "pickle")]
        Self::Pickle,
        #[cfg(feature = "postcard")]
        Self::Postcard,
        Self::Raw,
    ];

    /// The codec of this [`name`](Codec::name), if it is there.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|codec| codec.name() == name)
    }
}

/// Does the same with the codec, whichever it is.
macro_rules! each {
    ($self:expr, $codec:ident => $body:expr) => {
        match $self {
            #[cfg(feature = "bincode")]
            AnyCodec::Bincode => {
                let $codec = Bincode;
                $body
            }
            #[cfg(feature = "json")]
            AnyCodec::Json => {
                let $codec = Json;
                $body
            }
            #[cfg(feature = "messagepack")]
            AnyCodec::MessagePack => {
                let $codec = MessagePack;
                $body
            }
            #[cfg(feature = "pickle")]
            AnyCodec::Pickle => {
                let $codec = Pickle;
                $body
            }
            #[cfg(feature = "postcard")]
            AnyCodec::Postcard => {
                let $codec = Postcard;
                $body
            }
            AnyCodec::Raw => {
                let $codec = Raw;
                $body
            }
        }
    };
}

impl Codec for AnyCodec {
    fn id(&self) -> u16 {
        each!(self, codec => codec.id())
    }

    fn name(&self) -> &'static str {
        each!(self, codec => codec.name())
    }

    fn encode<T: Serialize + ?Sized>(
        &self,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        each!(self, codec => codec.encode(value, out))
    }

    fn encode_in_place<T: Serialize + ?Sized>(
        &self,
        value: &T,
        room: &mut Reservation<'_>,
    ) -> Result<bool, EncodeError> {
        each!(self, codec => codec.encode_in_place(value, room))
    }

    fn decode<'de, T: Deserialize<'de>>(&self, bytes: &'de [u8]) -> Result<T, DecodeError> {
        each!(self, codec => codec.decode(bytes))
    }
}
