//! Integration tests of ipc-marshal, one binary.

mod duct;
mod framing;
mod handshake;
mod within;
