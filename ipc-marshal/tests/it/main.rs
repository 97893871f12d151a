//! Integration tests of ipc-marshal, one binary.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod allocation;
mod attached;
mod codec;
mod duct;
mod ductworks;
mod fake;
mod framing;
mod handshake;
mod hostile;
#[cfg(all(feature = "auth", feature = "json", feature = "pickle"))]
mod interop;
#[cfg(all(feature = "auth", feature = "json", feature = "pickle"))]
mod python;
#[cfg(all(target_os = "linux", not(ipc_portable)))]
mod ring;
mod within;
