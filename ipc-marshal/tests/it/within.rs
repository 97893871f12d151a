//! A watchdog for tests that could hang.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Runs `test` on another thread and fails if it takes longer than `limit`.
#[track_caller]
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    test: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, wait) = mpsc::channel();
    let thread = thread::spawn(move || {
        let answer = test();
        let _ = done.send(());
        answer
    });
    match wait.recv_timeout(limit) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("the test took longer than {limit:?}"),
        _ => match thread.join() {
            Ok(answer) => answer,
            Err(panic) => std::panic::resume_unwind(panic),
        },
    }
}

/// Long for anything that happens on one machine, however busy, without being told to wait.
pub(crate) const SOON: Duration = Duration::from_secs(300);
