//! What the tests share.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::{Address, UnixName};

/// Runs `body` and fails when it takes longer than `limit`.
#[track_caller]
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    body: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, finished) = mpsc::channel();
    let thread = thread::spawn(move || {
        let value = body();
        let _ = done.send(());
        value
    });
    if finished.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("still running after {limit:?}");
    }
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Whether this system has rings and abstract names.
pub(crate) const HAS_RINGS: bool = cfg!(all(target_os = "linux", not(ipc_portable)));

/// Long enough for anything that does not hang.
pub(crate) const LIMIT: Duration = Duration::from_secs(240);

/// Waits for one event of `flags` on `fd`.
#[track_caller]
pub(crate) fn poll(fd: std::os::fd::BorrowedFd<'_>, flags: nix::poll::PollFlags) {
    let mut fds = [nix::poll::PollFd::new(fd, flags)];
    let ready = nix::poll::poll(&mut fds, 20_000_u16).unwrap();
    assert!(
        ready > 0,
        "an armed channel did not wake its sleeper within 20 s"
    );
}

/// What a call may be late by.
pub(crate) const TOLERANCE: Duration = Duration::from_millis(250);

/// A busy machine may take the processor away for longer than the tolerance, but not so often in a row.
const ATTEMPTS_MAX: usize = 5;

/// Runs `attempt`, which measures by how much something was late, until that is within the tolerance,
/// and fails when it never is.
#[track_caller]
pub(crate) fn punctual(what: &str, mut attempt: impl FnMut() -> Duration) {
    let mut late = Vec::new();
    while late.len() < ATTEMPTS_MAX {
        let by = attempt();
        if by <= TOLERANCE {
            return;
        }
        late.push(by);
    }
    panic!("{what}: late by {late:?}, each more than {TOLERANCE:?}");
}

/// Runs `wait`, which is to take as long as `limit`: never less, and more by the tolerance at most.
#[track_caller]
pub(crate) fn takes(what: &str, limit: Duration, mut wait: impl FnMut()) {
    punctual(what, || {
        let start = Instant::now();
        wait();
        let took = start.elapsed();
        assert!(took >= limit, "{what}: {took:?} is less than {limit:?}");
        took - limit
    });
}

/// An address of this kind that nothing else uses: `unix:PATH`, `unix:@`, `ring:PATH`, `ring:@`,
/// `tcp:v4` or `tcp:v6`.
pub(crate) fn address(kind: &str, folder: &Path) -> Address {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let abstract_name = || {
        UnixName::abstract_name(format!("ipc-core-test-{}-{count}", std::process::id())).unwrap()
    };
    let path = folder.join(format!("{count}"));
    match kind {
        "unix:PATH" => Address::unix(path).unwrap(),
        "unix:@" => Address::Unix(abstract_name()),
        "ring:PATH" => Address::ring(path).unwrap(),
        "ring:@" => Address::Ring(abstract_name()),
        "tcp:v4" => Address::tcp("127.0.0.1", 0).unwrap(),
        "tcp:v6" => Address::tcp("::1", 0).unwrap(),
        kind => panic!("no address is a {kind}"),
    }
}

/// Does `kill` after `pause`, on a thread, and answers when that was done.
pub(crate) fn kill_after(
    pause: Duration,
    kill: impl FnOnce() -> Instant + Send + 'static,
) -> thread::JoinHandle<Instant> {
    thread::spawn(move || {
        let (_told, tell) = mpsc::channel::<()>();
        // Nobody tells: it is the pause that counts.
        let _ = tell.recv_timeout(pause);
        kill()
    })
}
