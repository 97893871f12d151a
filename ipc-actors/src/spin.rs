//! Looking for a moment before sleeping.

use std::hint::spin_loop;
use std::sync::OnceLock;
use std::thread::available_parallelism;

/// Looks at `done` up to `rounds` times, and answers whether it came true. Does not look at all where
/// only one processor may be used: who is waited for could not run.
pub(crate) fn until(rounds: u32, mut done: impl FnMut() -> bool) -> bool {
    static WORTH_IT: OnceLock<bool> = OnceLock::new();
    if !*WORTH_IT.get_or_init(|| available_parallelism().is_ok_and(|count| count.get() > 1)) {
        return false;
    }
    for _ in 0..rounds {
        if done() {
            return true;
        }
        spin_loop();
    }
    false
}
