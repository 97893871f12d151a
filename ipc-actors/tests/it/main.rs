//! The tests of `ipc-actors`.

mod actors;
mod life;
mod messages;
mod processes;
mod supervision;
mod support;
