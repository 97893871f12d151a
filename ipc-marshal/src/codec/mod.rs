//! Values as bytes.

mod any;
#[cfg(feature = "bincode")]
mod bincode;
#[cfg(feature = "postcard")]
mod guard;
mod interface;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "messagepack")]
mod messagepack;
#[cfg(feature = "pickle")]
mod pickle;
#[cfg(feature = "postcard")]
mod postcard;
mod raw;

pub use any::AnyCodec;
pub use interface::{Bincode, Codec};
#[cfg(feature = "json")]
pub use json::Json;
#[cfg(feature = "messagepack")]
pub use messagepack::MessagePack;
#[cfg(feature = "pickle")]
pub use pickle::Pickle;
#[cfg(feature = "postcard")]
pub use postcard::Postcard;
pub use raw::Raw;
