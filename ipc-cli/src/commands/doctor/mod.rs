//! `ipc-cli doctor`: limits and kernel features that matter here, and what it costs to lack them.

mod args;
mod cgroup;
mod examine;
mod finding;
mod probe;
mod report;

pub(crate) use args::DoctorArgs;
pub(crate) use report::run;
