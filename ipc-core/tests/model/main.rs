//! The ring's protocol for publishing, sleeping and waking, in every interleaving and reordering that
//! the memory model allows: `RUSTFLAGS="--cfg loom" cargo test --release -p ipc-core --test model`.
//!
//! The model is that of `src/ring/lane.rs` with its fences; `membarrier` is a full fence on every
//! thread and cannot be expressed here. The futex is a mutex and a condition variable. A wake that is
//! lost leaves a thread asleep for ever, which loom reports as a deadlock.

#![cfg(loom)]

use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

const FENCED: u32 = 0;
const FUTEX: u32 = 2;
const WOKEN: u32 = 4;

/// A state word and who sleeps on it.
struct Word {
    state: AtomicU32,
    asleep: Mutex<()>,
    woken: Condvar,
}

impl Word {
    fn new() -> Self {
        Self {
            state: AtomicU32::new(FENCED),
            asleep: Mutex::new(()),
            woken: Condvar::new(),
        }
    }

    /// Like the kernel's: looks at the word under the lock that a waker needs.
    fn futex_wait(&self) {
        let guard = self.asleep.lock().unwrap();
        if self.state.load(Ordering::Relaxed) == FUTEX {
            drop(self.woken.wait(guard).unwrap());
        }
    }

    fn futex_wake(&self) {
        drop(self.asleep.lock().unwrap());
        self.woken.notify_one();
    }
}

/// One lane with room for `CAPACITY` numbers.
struct Lane {
    tail: AtomicU64,
    head: AtomicU64,
    slots: [AtomicU64; CAPACITY as usize],
    consumer: Word,
    producer: Word,
}

const CAPACITY: u64 = 2;

impl Lane {
    fn new() -> Self {
        Self {
            tail: AtomicU64::new(0),
            head: AtomicU64::new(0),
            slots: [AtomicU64::new(0), AtomicU64::new(0)],
            consumer: Word::new(),
            producer: Word::new(),
        }
    }

    fn wake(&self, word: &Word, worthwhile: bool) {
        // Nothing here is ever `AWAKE`, which alone would excuse from the fence.
        fence(Ordering::SeqCst);
        if word.state.load(Ordering::Relaxed) != FUTEX || !worthwhile {
            return;
        }
        let won = word
            .state
            .compare_exchange(FUTEX, WOKEN, Ordering::Relaxed, Ordering::Relaxed);
        if won.is_ok() {
            word.futex_wake();
        }
    }

    fn park(&self, word: &Word, ready: impl Fn() -> bool) {
        while !ready() {
            word.state.store(FUTEX, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if !ready() {
                word.futex_wait();
            }
            word.state.store(FENCED, Ordering::Relaxed);
        }
    }

    fn send(&self, tail: u64, number: u64) {
        if tail - self.head.load(Ordering::Acquire) == CAPACITY {
            self.park(&self.producer, || {
                tail - self.head.load(Ordering::Relaxed) < CAPACITY
            });
            assert!(tail - self.head.load(Ordering::Acquire) < CAPACITY);
        }
        self.slots[(tail % CAPACITY) as usize].store(number, Ordering::Relaxed);
        self.tail.store(tail + 1, Ordering::Release);
        self.wake(&self.consumer, true);
    }

    fn receive(&self, head: u64) -> u64 {
        if self.tail.load(Ordering::Acquire) == head {
            self.park(&self.consumer, || self.tail.load(Ordering::Relaxed) != head);
            assert_ne!(self.tail.load(Ordering::Acquire), head);
        }
        let seen = self.tail.load(Ordering::Acquire);
        let number = self.slots[(head % CAPACITY) as usize].load(Ordering::Relaxed);
        self.head.store(head + 1, Ordering::Release);
        // Woken for half of the ring, not for each number.
        self.wake(&self.producer, seen - (head + 1) <= CAPACITY / 2);
        number
    }
}

fn check(numbers: u64) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let lane = Arc::new(Lane::new());
        let producer = {
            let lane = Arc::clone(&lane);
            thread::spawn(move || {
                for index in 0..numbers {
                    lane.send(index, index + 100);
                }
            })
        };
        for index in 0..numbers {
            assert_eq!(lane.receive(index), index + 100);
        }
        producer.join().unwrap();
    });
}

#[test]
fn no_wake_is_lost_on_an_empty_ring() {
    check(1);
    check(2);
}

#[test]
fn no_wake_is_lost_on_a_full_ring() {
    check(CAPACITY + 1);
}
