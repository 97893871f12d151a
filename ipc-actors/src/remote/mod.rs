//! Actors reached from other programs, over a socket.

mod actor;
mod bucket;
mod call;
mod client;
mod door;
mod fair;
mod greeting;
mod guest;
mod load;
mod manage;
mod options;
mod order;
mod pool;
mod reference;
mod seal;
mod server;
mod stats;
mod ticket;
mod wire;

pub use actor::RemoteActor;
pub(crate) use client::RemoteRoute;
pub use client::{RemoteArbiter, RemoteError};
pub(crate) use door::{Erased, Opened};
pub use options::RemoteOptions;
pub(crate) use order::Ordered;
pub use reference::Reference;
pub use server::Listener;
pub use stats::ListenerStats;
pub use ticket::Rights;
pub(crate) use wire::{Manage, Managed};
