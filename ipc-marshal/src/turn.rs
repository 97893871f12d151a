//! A mutex whose waiters can give up.

use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};

use ipc_core::Deadline;

/// Lets one thread at a time at a value, and lets the others wait for their turn no longer than they
/// want to.
///
/// `std::sync::Mutex` alone cannot do it: a thread that sends with a time-out would wait for ever
/// behind one that sends without. The uncontended way is one `try_lock` and one fence.
#[derive(Debug)]
pub(crate) struct Turn<T> {
    value: Mutex<T>,
    /// How many threads sleep on `freed`, or are about to.
    waiting: AtomicUsize,
    gate: Mutex<()>,
    freed: Condvar,
}

/// A turn; dropping it lets the next in.
#[derive(Debug)]
pub(crate) struct TurnGuard<'a, T> {
    turn: &'a Turn<T>,
    /// `None` only while dropping.
    guard: Option<MutexGuard<'a, T>>,
}

impl<T> Turn<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: Mutex::new(value),
            waiting: AtomicUsize::new(0),
            gate: Mutex::new(()),
            freed: Condvar::new(),
        }
    }

    /// Waits for a turn until `deadline`; `None` when it did not come. A panic in an earlier turn
    /// does not matter here: the value must be fit for use at any time.
    pub(crate) fn take(&self, deadline: Deadline) -> Option<TurnGuard<'_, T>> {
        if let Some(guard) = self.try_take() {
            return Some(guard);
        }
        match deadline {
            Deadline::Now => None,
            Deadline::Never => {
                let guard = self.value.lock().unwrap_or_else(PoisonError::into_inner);
                Some(self.guard(guard))
            }
            Deadline::At(_) => self.take_slowly(deadline),
        }
    }

    fn try_take(&self) -> Option<TurnGuard<'_, T>> {
        match self.value.try_lock() {
            Ok(guard) => Some(self.guard(guard)),
            Err(TryLockError::Poisoned(poisoned)) => Some(self.guard(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn guard<'a>(&'a self, guard: MutexGuard<'a, T>) -> TurnGuard<'a, T> {
        TurnGuard {
            turn: self,
            guard: Some(guard),
        }
    }

    fn take_slowly(&self, deadline: Deadline) -> Option<TurnGuard<'_, T>> {
        // Pairs with the fence in `TurnGuard::drop`: either the holder sees this count and rings,
        // or the `try_take` below sees the lock free.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = loop {
            if let Some(turn) = self.try_take() {
                break Some(turn);
            }
            let Some(left) = deadline.remaining().filter(|left| !left.is_zero()) else {
                break None;
            };
            let woken = self.freed.wait_timeout(gate, left);
            gate = woken.unwrap_or_else(PoisonError::into_inner).0;
        };
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        turn
    }
}

impl<T> Drop for TurnGuard<'_, T> {
    fn drop(&mut self) {
        drop(self.guard.take());
        // Pairs with the fence in `take_slowly`.
        fence(Ordering::SeqCst);
        if self.turn.waiting.load(Ordering::Relaxed) > 0 {
            // Through the gate, so that no waiter is between its look and its sleep.
            drop(
                self.turn
                    .gate
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner),
            );
            self.turn.freed.notify_one();
        }
    }
}

impl<T> std::ops::Deref for TurnGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().expect("only drop takes the guard")
    }
}

impl<T> std::ops::DerefMut for TurnGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect("only drop takes the guard")
    }
}
