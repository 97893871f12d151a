//! Integration tests of ipc-marshal, one binary.

mod codec;
mod duct;
mod framing;
mod handshake;
#[cfg(all(feature = "auth", feature = "json", feature = "pickle"))]
mod interop;
#[cfg(all(feature = "auth", feature = "json", feature = "pickle"))]
mod python;
mod within;
