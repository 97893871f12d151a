//! The tests of `ipc-actors`.

mod actors;
mod life;
mod messages;
mod pools;
mod processes;
mod supervision;
mod support;
mod trees;
