//! `ipc-cli smoke`: each layer, between real processes, on this machine.

mod actors;
mod check;
mod core;
mod dispatch;
mod exchange;
mod marshal;
mod other;
mod report;

pub(crate) use report::run;
