//! The behaviours that `ipc-dispatch` promises.

mod cost;
mod embedding;
mod futures;
mod panics;
mod posting;
mod process;
mod pyre;
mod reentrancy;
mod scheduler;
mod selector;
mod servers;
mod streams;
mod support;
