//! What shared memory cannot beat: the time for a cache line to go to another CPU and back, and that
//! of a plain copy.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Alone in its cache line, and in the one that is fetched with it.
#[repr(align(128))]
struct Line(AtomicU64);

/// How often the line goes to the other thread and back in one measurement: so few that both
/// threads run all the while even on a busy machine.
const BOUNCES: u64 = 8;

/// Nanoseconds for a cache line to go to another thread and back, at best: the least of several
/// measurements within `time`. On a single CPU the threads take turns.
pub(super) fn bounce(time: Duration) -> f64 {
    let attempts = (0..ATTEMPTS).map(|_| attempt(time / ATTEMPTS));
    attempts.fold(f64::INFINITY, f64::min)
}

/// How often another thread is started, as the system may put it on the CPU of this one.
const ATTEMPTS: u32 = 25;

fn attempt(time: Duration) -> f64 {
    let (ping, pong) = (Line(AtomicU64::new(0)), Line(AtomicU64::new(0)));
    let end = Instant::now() + time;
    thread::scope(|scope| {
        // Acquire and Release: nothing but the numbers themselves is handed over.
        scope.spawn(|| {
            let mut turn = 1;
            while await_turn(&ping, turn) {
                pong.0.store(turn, Ordering::Release);
                turn += 1;
            }
        });
        let mut turn = 0;
        let mut least = f64::INFINITY;
        while Instant::now() < end {
            let start = Instant::now();
            for _ in 0..BOUNCES {
                turn += 1;
                ping.0.store(turn, Ordering::Release);
                await_turn(&pong, turn);
            }
            least = least.min(start.elapsed().as_nanos() as f64 / BOUNCES as f64);
        }
        ping.0.store(STOP, Ordering::Release);
        least
    })
}

/// Ends the other thread.
const STOP: u64 = u64::MAX;

/// Spins until it is `turn`; answers whether there is another.
fn await_turn(line: &Line, turn: u64) -> bool {
    for spins in 0_u32.. {
        match line.0.load(Ordering::Acquire) {
            STOP => return false,
            now if now == turn => return true,
            // The other thread may wait for this CPU.
            _ if spins % 1_000 == 999 => thread::yield_now(),
            _ => spin_loop(),
        }
    }
    true
}

/// Nanoseconds to copy `size` bytes, at best, measured for `time`.
pub(super) fn copy(size: u32, time: Duration) -> f64 {
    let from = vec![1_u8; size as usize];
    let mut to = vec![0_u8; size as usize];
    // About 64 KiB at least between two looks at the clock.
    let repeats = (65_536 / u64::from(size)).max(1);
    let end = Instant::now() + time;
    let mut least = f64::INFINITY;
    while Instant::now() < end {
        let start = Instant::now();
        for _ in 0..repeats {
            black_box(&mut to).copy_from_slice(black_box(&from));
        }
        least = least.min(start.elapsed().as_nanos() as f64 / repeats as f64);
    }
    least
}
