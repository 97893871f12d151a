//! Actors reached from other programs, over a socket.

mod actor;
mod bucket;
mod call;
mod client;
mod door;
mod greeting;
mod manage;
mod options;
mod pool;
mod seal;
mod server;
mod stats;
mod wire;

pub use actor::RemoteActor;
pub(crate) use client::RemoteRoute;
pub use client::{Reference, RemoteArbiter, RemoteError};
pub(crate) use door::{Erased, Opened};
pub use options::RemoteOptions;
pub use server::Listener;
pub use stats::ListenerStats;
