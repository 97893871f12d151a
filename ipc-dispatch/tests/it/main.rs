//! The behaviours that `ipc-dispatch` promises.

mod process;
mod pyre;
mod reentrancy;
mod scheduler;
mod selector;
mod support;
