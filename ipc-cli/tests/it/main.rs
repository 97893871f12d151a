//! Tests of the command and of the workspace's own rules.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod command_line;
mod map;
mod smoke;
mod support;
mod tidy;
