//! Typed messages over any channel of bytes.
//!
//! ```
//! use ipc_marshal::Duct;
//!
//! let (mut ours, mut theirs) = Duct::<String, u32>::pair()?;
//! ours.send("hello".to_owned())?;
//! let length = theirs.recv()?.len() as u32;
//! theirs.send(length)?;
//! assert_eq!(ours.recv()?, 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod attached;
#[cfg(feature = "auth")]
mod auth;
mod codec;
mod duct;
mod error;
mod framing;
mod handshake;
mod inbox;
mod message;
mod options;
mod outbox;
mod receiver;
mod region;
mod sender;
mod turn;

pub use attached::Attached;
#[cfg(feature = "auth")]
pub use auth::{AuthKey, AuthRole};
#[cfg(feature = "json")]
pub use codec::Json;
#[cfg(feature = "messagepack")]
pub use codec::MessagePack;
#[cfg(feature = "pickle")]
pub use codec::Pickle;
#[cfg(feature = "postcard")]
pub use codec::Postcard;
pub use codec::{AnyCodec, Bincode, Codec, Raw};
pub use duct::Duct;
pub use error::{
    AckError, AuthError, ConnectError, DecodeError, EncodeError, FrameError, HandshakeError,
    RecvError, SendError, TryRecvError, TrySendError,
};
pub use framing::{ByteOrder, Decoder, Frame, FrameKind, Framing, LengthWidth, OpenFrame};
pub use handshake::schema_hash;
pub use message::Message;
pub use options::{DuctOptions, PAYLOAD_LEN_MAX};
pub use receiver::Receiver;
pub use region::Region;
pub use sender::Sender;
