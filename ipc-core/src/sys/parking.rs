//! Sleeping on a word of shared memory, waking its sleeper, and the barrier in between.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// Sleeps while `word` is `expected`, at most `limit`. Answers false when the time is up; true when
/// woken, when the word was another already, or a signal arrived: the caller looks again in any case.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, limit: Duration) -> io::Result<bool> {
    let limit = libc::timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    // SAFETY: the kernel reads the aligned word, which the borrow keeps mapped, and the time.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            expected,
            &raw const limit,
        )
    };
    match Errno::result(result) {
        Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => Ok(true),
        Err(Errno::ETIMEDOUT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Wakes the process that sleeps on `word`.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // SAFETY: the kernel only uses the word's address, which the borrow keeps mapped.
    let _woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}

const REGISTER_GLOBAL_EXPEDITED: libc::c_int = 4;
const GLOBAL_EXPEDITED: libc::c_int = 2;

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: the call takes numbers only and changes no memory of this program.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
    result == 0
}

/// Whether this process takes part in [`barrier`]; it joins at the first call.
pub(crate) fn joins_barriers() -> bool {
    static JOINED: OnceLock<bool> = OnceLock::new();
    *JOINED.get_or_init(|| membarrier(REGISTER_GLOBAL_EXPEDITED))
}

/// A full memory barrier on every thread that runs in a process that joined: what the peer stored
/// before is visible after, and the other way round. Answers false when the system refuses.
pub(crate) fn barrier() -> bool {
    membarrier(GLOBAL_EXPEDITED)
}

/// How many processors this thread may run on; 1 when the system does not tell.
pub(crate) fn processors() -> usize {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else {
        return 1;
    };
    (0..CpuSet::count())
        .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
        .count()
        .max(1)
}

/// Nanoseconds of the monotonic clock, which all processes of the system share.
pub(crate) fn monotonic_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    now.map_or(0, |now| {
        (now.tv_sec().cast_unsigned())
            .wrapping_mul(1_000_000_000)
            .wrapping_add(now.tv_nsec().cast_unsigned())
    })
}
