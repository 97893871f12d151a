//! Tests of the command and of the workspace's own rules.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says why it skips something"
)]

mod actor;
mod bench;
mod command_line;
mod doctor;
mod duct;
mod help;
mod map;
mod map_command;
mod python;
mod smoke;
mod support;
mod tidy;
mod top;
