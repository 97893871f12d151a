//! `ipc-cli top`: a live view of an application's tree.

mod args;
mod run;
mod screen;
mod watch;

pub(crate) use args::TopArgs;
pub(crate) use run::run;
