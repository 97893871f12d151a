//! The behaviours that `ipc-dispatch` promises.
#![expect(clippy::unwrap_used, reason = "what helps a test is a test")]

mod cost;
// What only Linux has.
#[cfg(not(ipc_portable))]
mod embedding;
mod futures;
mod messages;
mod model;
mod panics;
mod posting;
mod process;
mod pyre;
mod reentrancy;
#[cfg(not(ipc_portable))]
mod rings;
mod scheduler;
mod selector;
mod servers;
mod streams;
mod support;
mod torture;
