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

pub(crate) const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A pair of non-blocking sockets.
pub(crate) fn pair() -> (UnixStream, UnixStream) {
    let (left, right) = UnixStream::pair().expect("sockets are to be had");
    left.set_nonblocking(true).expect("sockets can be set");
    right.set_nonblocking(true).expect("sockets can be set");
    (left, right)
}

/// The variable that makes a test act as the other process of itself.
const ROLE: &str = "IPC_DISPATCH_ROLE";

/// This test binary again, running only `test`, as `role`.
pub(crate) fn again(test: &str, role: &str) -> std::process::Command {
    let mut command =
        std::process::Command::new(std::env::current_exe().expect("a test is a file"));
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role);
    command
}

/// As what this process was started, if not as the tests themselves.
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// How much processor time this thread has used.
pub(crate) fn thread_time() -> Duration {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)
        .expect("threads have a clock");
    Duration::from(time)
}

/// A sequence of numbers that looks random and is always the same for a seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
