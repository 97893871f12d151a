//! Integration tests of ipc-marshal, one binary.

mod codec;
mod duct;
mod framing;
mod handshake;
mod within;
