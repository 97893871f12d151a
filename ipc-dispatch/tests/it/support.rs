//! What the tests share.

use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

/// Runs `body` on a thread of its own and fails when it takes longer than `limit`.
#[track_caller]
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    body: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, finished) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let value = body();
        let _ = done.send(());
        value
    });
    match finished.recv_timeout(limit) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it took longer than {limit:?}"),
        _ => match thread.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        },
    }
}

/// The limit for what should take no time.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A pair of non-blocking sockets.
pub(crate) fn pair() -> (UnixStream, UnixStream) {
    let (left, right) = UnixStream::pair().expect("sockets are to be had");
    left.set_nonblocking(true).expect("sockets can be set");
    right.set_nonblocking(true).expect("sockets can be set");
    (left, right)
}
