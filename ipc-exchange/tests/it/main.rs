//! Integration tests with real processes: one binary, which is its own workers.
//!
//! It has a `main` of its own because a worker must come out of `init` before anything else runs.
//! Tests run one after another, so that each can assert that it left no process and no descriptor.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
#![expect(clippy::print_stdout, reason = "the test runner prints what it does")]

mod death;
mod exchange;
mod harness;
mod journal;
mod map;
mod observing;
mod persistent;
mod predecessor;
mod program;
mod programs;
mod recycling;
mod tasks;

use std::process::ExitCode;

fn main() -> ExitCode {
    tasks::init();
    harness::run(&[
        exchange::TESTS,
        map::TESTS,
        observing::TESTS,
        death::TESTS,
        program::TESTS,
        programs::TESTS,
        recycling::TESTS,
        journal::TESTS,
        predecessor::TESTS,
        persistent::TESTS,
    ])
}
