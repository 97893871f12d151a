//! The behaviours that `ipc-dispatch` promises.

mod process;
mod selector;
mod support;
