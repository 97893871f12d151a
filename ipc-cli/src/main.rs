//! The command `ipc-cli`: see its README, or `ipc-cli --help`.

mod args;
mod commands;
mod demo;
mod execution;
mod interrupt;
mod key;
mod output;
mod parrot;
mod run;
mod sys;
mod tasks;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    // A worker process never comes back from here.
    ipc_exchange::init(tasks::registry());
    run::run()
}
