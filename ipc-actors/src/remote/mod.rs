//! Actors reached from other programs, over a socket.

mod client;
mod server;
mod wire;

pub(crate) use client::RemoteRoute;
pub use client::{Reference, RemoteArbiter, RemoteError};
pub(crate) use server::{Erased, Opened};
pub use server::{Listener, RemoteOptions};
