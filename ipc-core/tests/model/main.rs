//! The ring's protocol for publishing, sleeping and waking, in every interleaving and reordering that
//! the memory model allows: `RUSTFLAGS="--cfg loom" cargo test --release -p ipc-core --test model`.
//!
//! The model is that of `src/ring/lane.rs`, with each side either fenced or unfenced. The futex is a
//! mutex and a condition variable. A wake that is lost leaves a thread asleep for ever, which loom
//! reports as a deadlock.

#![cfg(loom)]

mod processors;

use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use processors::{Processors, Thread};

const FENCED: u32 = 0;
const AWAKE: u32 = 1;
const FUTEX: u32 = 2;
const WOKEN: u32 = 4;

/// What orders a publication before the look at the other side's state.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    /// A fence after every publication.
    Fenced,
    /// The sleeper's barrier on all threads.
    Unfenced,
    /// Nothing: to see that the model finds what is wrong then.
    Missing,
}

/// A state word, and who sleeps on it.
struct Word {
    state: AtomicU32,
    order: Order,
    asleep: Mutex<()>,
    woken: Condvar,
}

impl Word {
    fn new(order: Order) -> Self {
        let word = Self {
            state: AtomicU32::new(FENCED),
            order,
            asleep: Mutex::new(()),
            woken: Condvar::new(),
        };
        word.state.store(word.awake(), Ordering::Relaxed);
        word
    }

    fn awake(&self) -> u32 {
        match self.order {
            Order::Fenced => FENCED,
            Order::Unfenced | Order::Missing => AWAKE,
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
    processors: Processors,
}

const CAPACITY: u64 = 2;

impl Lane {
    fn new(consumer: Order, producer: Order) -> Self {
        Self {
            tail: AtomicU64::new(0),
            head: AtomicU64::new(0),
            slots: [AtomicU64::new(0), AtomicU64::new(0)],
            consumer: Word::new(consumer),
            producer: Word::new(producer),
            processors: Processors::new(),
        }
    }

    /// After a publication by `me`; `word` is the other side's.
    fn publish(&self, me: Thread, word: &Word, worthwhile: bool) {
        // The other side's barrier may come here.
        self.processors.interrupted(me);
        if word.state.load(Ordering::Relaxed) == AWAKE {
            return;
        }
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

    fn park(&self, me: Thread, word: &Word, ready: impl Fn() -> bool) {
        while !ready() {
            word.state.store(FUTEX, Ordering::Relaxed);
            self.order(me, word);
            if !ready() {
                self.processors.enter_kernel(me);
                word.futex_wait();
                self.processors.leave_kernel(me);
            }
            word.state.store(word.awake(), Ordering::Relaxed);
        }
    }

    /// Orders `me`'s announcement before its last look.
    fn order(&self, me: Thread, word: &Word) {
        match word.order {
            Order::Fenced => fence(Ordering::SeqCst),
            Order::Unfenced => self.processors.barrier(me),
            Order::Missing => {}
        }
    }

    fn send(&self, tail: u64, number: u64) {
        let me = Thread::Producer;
        if tail - self.head.load(Ordering::Acquire) == CAPACITY {
            self.park(me, &self.producer, || {
                tail - self.head.load(Ordering::Relaxed) < CAPACITY
            });
            assert!(tail - self.head.load(Ordering::Acquire) < CAPACITY);
        }
        self.slots[(tail % CAPACITY) as usize].store(number, Ordering::Relaxed);
        self.tail.store(tail + 1, Ordering::Release);
        self.publish(me, &self.consumer, true);
    }

    fn receive(&self, head: u64) -> u64 {
        let me = Thread::Consumer;
        if self.tail.load(Ordering::Acquire) == head {
            self.park(me, &self.consumer, || {
                self.tail.load(Ordering::Relaxed) != head
            });
            assert_ne!(self.tail.load(Ordering::Acquire), head);
        }
        let seen = self.tail.load(Ordering::Acquire);
        let number = self.slots[(head % CAPACITY) as usize].load(Ordering::Relaxed);
        self.head.store(head + 1, Ordering::Release);
        // Woken for half of the ring, not for each number.
        self.publish(me, &self.producer, seen - (head + 1) <= CAPACITY / 2);
        number
    }
}

fn check(consumer: Order, producer: Order, numbers: u64) {
    let mut model = loom::model::Builder::new();
    // What is mixed has more to go wrong in every turn, and more turns than there is time for.
    model.preemption_bound = Some(if consumer == producer { 3 } else { 2 });
    model.check(move || {
        let lane = Arc::new(Lane::new(consumer, producer));
        let sender = {
            let lane = Arc::clone(&lane);
            thread::spawn(move || {
                for index in 0..numbers {
                    lane.send(index, index + 100);
                }
                lane.processors.enter_kernel(Thread::Producer);
            })
        };
        for index in 0..numbers {
            assert_eq!(lane.receive(index), index + 100);
        }
        lane.processors.enter_kernel(Thread::Consumer);
        sender.join().unwrap();
    });
}

#[test]
fn no_wake_is_lost_on_an_empty_ring() {
    check(Order::Fenced, Order::Fenced, 1);
    check(Order::Fenced, Order::Fenced, 2);
}

#[test]
fn no_wake_is_lost_on_a_full_ring() {
    check(Order::Fenced, Order::Fenced, CAPACITY + 1);
}

#[test]
fn no_wake_is_lost_without_fences_on_an_empty_ring() {
    check(Order::Unfenced, Order::Unfenced, 1);
    check(Order::Unfenced, Order::Unfenced, 2);
}

#[test]
fn no_wake_is_lost_without_fences_on_a_full_ring() {
    check(Order::Unfenced, Order::Unfenced, CAPACITY + 1);
}

#[test]
fn no_wake_is_lost_when_only_one_side_fences() {
    check(Order::Fenced, Order::Unfenced, CAPACITY + 1);
    check(Order::Unfenced, Order::Fenced, CAPACITY + 1);
}

/// The heart of it alone: a publication and a look at the state on one side, the announcement of a
/// sleep and a look at the position on the other. One of them sees the other's store.
fn check_one_sees_the_other(order: Order) {
    loom::model(move || {
        let lane = Arc::new(Lane::new(order, order));
        let sleeper = {
            let lane = Arc::clone(&lane);
            thread::spawn(move || {
                lane.consumer.state.store(FUTEX, Ordering::Relaxed);
                lane.order(Thread::Consumer, &lane.consumer);
                let seen = lane.tail.load(Ordering::Relaxed);
                lane.processors.enter_kernel(Thread::Consumer);
                seen
            })
        };
        lane.tail.store(1, Ordering::Release);
        lane.processors.interrupted(Thread::Producer);
        let mut state = lane.consumer.state.load(Ordering::Relaxed);
        if state != AWAKE && order == Order::Fenced {
            fence(Ordering::SeqCst);
            state = lane.consumer.state.load(Ordering::Relaxed);
        }
        lane.processors.enter_kernel(Thread::Producer);
        let tail = sleeper.join().unwrap();
        assert!(tail == 1 || state == FUTEX, "neither sees the other");
    });
}

#[test]
fn one_sees_the_other() {
    check_one_sees_the_other(Order::Fenced);
    check_one_sees_the_other(Order::Unfenced);
}

/// That the model can tell.
#[test]
#[should_panic(expected = "neither sees the other")]
fn neither_sees_the_other_where_nothing_orders() {
    check_one_sees_the_other(Order::Missing);
}
