//! Whether the loop sleeps: the state that decides which post must wake it.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, AtomicU8, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering, fence};

/// The loop looks at its queue before it sleeps next.
const AWAKE: u8 = 0;
/// The loop sleeps, or is about to after one more look at its queue.
const SLEEPING: u8 = 1;
/// Somebody has woken the loop, or is about to.
const NOTIFIED: u8 = 2;

/// The meeting of posters with the loop.
///
/// A poster pushes, then asks [`must_wake`](Self::must_wake), which leaves a mark. The loop looks at
/// the mark alone instead of at all its queues. It calls [`park`](Self::park), looks *once more*,
/// sleeps only if there is no mark, and calls [`unpark`](Self::unpark) before it drains. Of the two
/// fences that stand between each side's write (the mark; the state) and its read (of the other's),
/// one comes first in the total order of sequentially consistent operations: so either the poster
/// sees `SLEEPING` and wakes, or the loop sees the mark and does not sleep. Mark and state are cleared
/// before draining, never after.
#[derive(Debug)]
pub(crate) struct Parking {
    state: AtomicU8,
    /// Whether something may have been pushed since the loop last took the mark.
    mark: AtomicBool,
}

impl Parking {
    /// A loop that does not run yet counts as asleep.
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicU8::new(SLEEPING),
            mark: AtomicBool::new(false),
        }
    }

    /// Whether there may be something to drain.
    pub(crate) fn is_marked(&self) -> bool {
        // Relaxed: what is missed here is seen in the next turn, or by the look after `park`, which a
        // fence precedes.
        self.mark.load(Ordering::Relaxed)
    }

    /// Takes the mark, if there is one; whoever does so drains afterwards, or marks again.
    pub(crate) fn take_mark(&self) -> bool {
        // Acquire: pairs with the release in `set_mark`, so that the drain sees what was pushed.
        self.is_marked() && self.mark.swap(false, Ordering::Acquire)
    }

    /// Says that there is something to drain.
    pub(crate) fn set_mark(&self) {
        // Release: pairs with the acquire in `take_mark`. A swap, not a store, so that whoever takes
        // the mark sees what every poster pushed who left it, not only the last.
        self.mark.swap(true, Ordering::Release);
    }

    /// The loop is about to sleep; it must look at its queue after this and before it does.
    pub(crate) fn park(&self) {
        // Relaxed: the fence orders it before the look at the queue that follows.
        self.state.store(SLEEPING, Ordering::Relaxed);
        // Pairs with the fence in `must_wake`.
        fence(Ordering::SeqCst);
    }

    /// The loop is awake again.
    pub(crate) fn unpark(&self) {
        // Relaxed: a poster that still sees SLEEPING wakes once too often, which is harmless; one
        // that sees AWAKE pushed before the drain that follows, or before the next `park`.
        self.state.store(AWAKE, Ordering::Relaxed);
    }

    /// Asked after a push: whether the asker must wake the loop. Of several askers one is told so.
    pub(crate) fn must_wake(&self) -> bool {
        self.set_mark();
        // Pairs with the fence in `park`.
        fence(Ordering::SeqCst);
        // Relaxed, both: the push is published by the queue; only who wakes is decided here.
        self.state.load(Ordering::Relaxed) == SLEEPING
            && self
                .state
                .compare_exchange(SLEEPING, NOTIFIED, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

#[cfg(all(test, loom))]
mod tests {
    use super::Parking;
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::sync::{Arc, Notify};
    use loom::thread;

    /// The queue is a counter that synchronises no more than the real one, and the notification
    /// keeps one wake as an eventfd does.
    struct Loop {
        parking: Parking,
        pushed: AtomicUsize,
        wakes: AtomicUsize,
        eventfd: Notify,
    }

    fn check(posters: usize, posts: usize) {
        let mut builder = loom::model::Builder::new();
        // Three switches at the worst moments; without a bound the search takes hours.
        builder.preemption_bound = Some(3);
        builder.check(move || {
            let shared = Arc::new(Loop {
                parking: Parking::new(),
                pushed: AtomicUsize::new(0),
                wakes: AtomicUsize::new(0),
                eventfd: Notify::new(),
            });
            let threads: Vec<_> = (0..posters)
                .map(|_| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || {
                        for _ in 0..posts {
                            shared.pushed.fetch_add(1, Ordering::Relaxed);
                            if shared.parking.must_wake() {
                                shared.wakes.fetch_add(1, Ordering::Relaxed);
                                shared.eventfd.notify();
                            }
                        }
                    })
                })
                .collect();
            let mut seen = 0;
            let mut sleeps = 0;
            while seen < posters * posts {
                shared.parking.unpark();
                if shared.parking.take_mark() {
                    // Relaxed: the mark alone makes the pushes visible.
                    seen = shared.pushed.load(Ordering::Relaxed);
                }
                if seen == posters * posts {
                    break;
                }
                shared.parking.park();
                // A post that this look misses must wake: loom finds a deadlock otherwise.
                if !shared.parking.is_marked() {
                    sleeps += 1;
                    shared.eventfd.wait();
                }
            }
            for thread in threads {
                thread.join().unwrap();
            }
            assert!(shared.wakes.load(Ordering::Relaxed) <= posters * posts);
            assert!(sleeps <= posters * posts + 1);
        });
    }

    #[test]
    fn no_wake_up_is_lost_with_one_poster() {
        check(1, 2);
    }

    #[test]
    fn no_wake_up_is_lost_with_two_posters() {
        check(2, 1);
    }
}
