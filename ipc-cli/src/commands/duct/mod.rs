//! `ipc-cli duct`: a typed link from the command line, JSON lines in and out.

mod args;
mod conversation;
mod lines;
mod payload;
mod run;

pub(crate) use args::DuctArgs;
pub(crate) use run::run;
