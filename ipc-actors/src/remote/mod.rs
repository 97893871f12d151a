//! Actors reached from other programs, over a socket.

mod actor;
mod call;
mod client;
mod door;
mod manage;
mod server;
mod wire;

pub use actor::RemoteActor;
pub(crate) use client::RemoteRoute;
pub use client::{Reference, RemoteArbiter, RemoteError};
pub(crate) use door::{Erased, Opened};
pub use server::{Listener, RemoteOptions};
