//! Integration tests with real processes: one binary, which is its own workers.
//!
//! It has a `main` of its own because a worker must come out of `init` before anything else runs.
//! Tests run one after another, so that each can assert that it left nothing behind.
//!
//! Where to look for what: `predecessor::bN_` shows that defect N of pprocess does not happen here;
//! `behaviours::bNN_` and `system::bNN_` behaviour NN of the fifteen that a pool is judged by; scenario
//! SN, of eighteen, is in `examples/scenarios`, which is run as a test too.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
#![expect(clippy::print_stdout, reason = "the test runner prints what it does")]

mod behaviours;
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
mod refuge;
mod system;
mod tasks;

use std::process::ExitCode;

fn main() -> ExitCode {
    tasks::init();
    if let Some(code) = system::helper() {
        return code;
    }
    let rounds = std::env::var("IPC_EXCHANGE_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    harness::run(
        rounds,
        &[behaviours::TESTS, system::TESTS],
        &[
            exchange::TESTS,
            map::TESTS,
            observing::TESTS,
            death::TESTS,
            program::TESTS,
            programs::TESTS,
            recycling::TESTS,
            refuge::TESTS,
            journal::TESTS,
            predecessor::TESTS,
            persistent::TESTS,
        ],
    )
}
