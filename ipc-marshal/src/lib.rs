//! Typed messages over any channel of bytes: pipe, unix socket, TCP, shared memory.
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
//!
//! # Ducts
//!
//! A [`Duct<Tx, Rx>`](Duct) sends values of one type and receives values of another, both of them
//! serde's. The transport is the address: `unix:`, `tcp:`, or `ring:` for shared memory.
//!
//! ```
//! use ipc_core::Port;
//! use ipc_marshal::Duct;
//!
//! let mut port = Port::bind(&"tcp:127.0.0.1:0".parse()?)?;
//! let address = port.address().clone();
//! let client = std::thread::spawn(move || -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
//!     let mut duct = Duct::<String, u32>::connect(&address)?;
//!     duct.send("how long?".to_owned())?;
//!     Ok(duct.recv()?)
//! });
//! let mut duct = Duct::<u32, String>::accept(&mut port)?;
//! let question = duct.recv()?;
//! duct.send(question.len() as u32)?;
//! assert_eq!(client.join().expect("it does not panic").expect("it is answered"), 9);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Duct::split`] takes one apart into a [`Receiver`] and a [`Sender`] that can be cloned: frames of
//! several threads never mix. [`Duct::spawn`] starts a program that has the other end.
//!
//! # Framings and codecs
//!
//! A [`Framing`] cuts the bytes into messages and a [`Codec`] turns values into bytes. The defaults are
//! this crate's own framing and [`Bincode`]; [`DuctOptions`] chooses others, among them those of other
//! people's programs:
//!
//! | peer | framing | codec |
//! |---|---|---|
//! | this crate | [`Framing::Native`] | any |
//! | Ductworks | [`Framing::Ductworks`] | `Json` |
//! | pyre's pickler | [`Framing::PYRE`] | `Pickle` |
//! | Python's `multiprocessing.connection` | [`Framing::Multiprocessing`], with `AuthKey` | `Pickle` |
//!
//! Both are pure: [`Framing::encode`] and [`Decoder`] work on bytes in memory, fed any split.
//!
//! # Hand-shake
//!
//! Where the other end is another program, two native ends tell each other version, codec, schema
//! ([`schema_hash`]), limit and capabilities before the first message, and a mismatch is a
//! [`HandshakeError`] instead of garbage: [`DuctOptions::handshake`].
//!
//! # What is not bytes
//!
//! Descriptors and ducts travel with a message as [`Attached`], large read-only memory as a [`Region`].
//!
//! # Blocking
//!
//! `send` and `recv` block; `try_`, `_timeout` and `_deadline` forms bound the wait, and the peer's death
//! ends it. Nothing is buffered beyond one frame, or one batch of [`Duct::feed`]. Interruption by signals
//! is not visible. To use a duct in an event loop sleep on [`Duct::inbound`] after
//! [`Duct::arm_inbound`] has answered `Armed`.
//!
//! # What a peer cannot do
//!
//! Whatever a peer sends gives a value or an error. Lengths are compared with the limit
//! ([`DuctOptions::payload_len_max`]) before anything is allocated, and memory grows only as bytes
//! arrive; decoding bounds depth and elements; pickles are data and never run. A peer that stalls
//! can make `recv` wait, so give it a time-out where that matters.
//!
//! # What this crate does not do
//!
//! No requests and replies, no reconnecting, no encryption, no threads, no runtime. Types are not
//! negotiated: both ends are compiled with the same ones, or use a self-describing codec.
//!
//! # Features
//!
//! `bincode` (default), `json`, `messagepack`, `postcard`, `pickle`: the codecs. `crc32c`: checksums in
//! frames. `auth`: authentication by a key.
//!
//! # Platforms
//!
//! Unix. Shared memory and [`Region`] are for Linux.

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
