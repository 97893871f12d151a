//! `ipc-cli map`: a task or a command over many inputs, in worker processes.

mod args;
mod expand;
mod halt;
mod job;
mod listing;
mod progress;
mod report;
mod run;
mod source;
mod spool;
mod work;

pub(crate) use args::MapArgs;
pub(crate) use run::run;
