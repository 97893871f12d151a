//! The behaviours that `ipc-dispatch` promises.

mod selector;
mod support;
