//! `ipc-cli bench`: what each transport does on this machine, beside what is possible without it.

mod args;
mod cell;
mod chart;
mod link;
mod memory;
mod report;
mod serve;

pub(crate) use args::BenchArgs;
pub(crate) use report::run;
