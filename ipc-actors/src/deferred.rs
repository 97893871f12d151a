//! A result to come.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use ipc_core::Deadline;

/// How long a waiter looks before it sleeps: about what the sleep and the wake would cost. On a
/// machine with one processor nobody could answer meanwhile, so there it sleeps at once.
const SPINS: u32 = 2000;

/// A result to come: wait for it, await it, or leave a callback.
///
/// It is completed exactly once, by whoever holds the other end; if that is dropped, the error says
/// that the answer was lost.
#[must_use = "a result that nobody waits for is lost"]
pub struct Deferred<T, E> {
    shared: Arc<Shared<T, E>>,
}

/// The end that completes a [`Deferred`].
pub(crate) struct Resolver<T, E> {
    shared: Arc<Shared<T, E>>,
}

type Callback<T, E> = Box<dyn FnOnce(Result<T, E>) + Send>;

struct Shared<T, E> {
    slot: Mutex<Slot<T, E>>,
    done: Condvar,
    /// Set when `slot` holds the result, for those who look before they sleep.
    ready: AtomicBool,
}

enum Slot<T, E> {
    Waiting {
        sleepers: bool,
        waker: Option<Waker>,
    },
    Callback(Callback<T, E>),
    Done(Result<T, E>),
    Taken,
}

impl<T, E> Shared<T, E> {
    fn lock(&self) -> MutexGuard<'_, Slot<T, E>> {
        // Nothing that can panic runs under the lock.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(slot: &mut Slot<T, E>) -> Option<Result<T, E>> {
        match std::mem::replace(slot, Slot::Taken) {
            Slot::Done(result) => Some(result),
            other => {
                *slot = other;
                None
            }
        }
    }
}

pub(crate) fn deferred<T, E>() -> (Resolver<T, E>, Deferred<T, E>) {
    let shared = Arc::new(Shared {
        slot: Mutex::new(Slot::Waiting {
            sleepers: false,
            waker: None,
        }),
        done: Condvar::new(),
        ready: AtomicBool::new(false),
    });
    (
        Resolver {
            shared: Arc::clone(&shared),
        },
        Deferred { shared },
    )
}

impl<T, E> Resolver<T, E> {
    pub(crate) fn resolve(self, result: Result<T, E>) {
        let mut slot = self.shared.lock();
        match std::mem::replace(&mut *slot, Slot::Taken) {
            Slot::Callback(callback) => {
                drop(slot);
                callback(result);
            }
            Slot::Waiting { sleepers, waker } => {
                *slot = Slot::Done(result);
                // Release: pairs with the acquire load of a waiter that spins, though the lock that
                // it takes next orders everything anyway.
                self.shared.ready.store(true, Ordering::Release);
                drop(slot);
                if sleepers {
                    self.shared.done.notify_all();
                }
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            done @ (Slot::Done(_) | Slot::Taken) => *slot = done,
        }
    }
}

impl<T, E> Deferred<T, E> {
    /// A result that is already there.
    pub(crate) fn ready(result: Result<T, E>) -> Self {
        let (resolver, deferred) = deferred();
        resolver.resolve(result);
        deferred
    }

    /// Waits for the result. Only its coming ends the wait.
    ///
    /// # Errors
    ///
    /// What the other side answered.
    pub fn wait(self) -> Result<T, E> {
        match self.wait_until(Deadline::Never) {
            Ok(result) => result,
            Err(_) => unreachable!("a wait without a deadline ends with the result"),
        }
    }

    /// Takes the result if it is there.
    ///
    /// # Errors
    ///
    /// The deferred itself, when the result has not come yet.
    pub fn try_wait(self) -> Result<Result<T, E>, Self> {
        self.wait_until(Deadline::Now)
    }

    /// Waits for the result for at most `timeout`.
    ///
    /// # Errors
    ///
    /// The deferred itself, when the result has not come by then.
    pub fn wait_timeout(self, timeout: Duration) -> Result<Result<T, E>, Self> {
        self.wait_until(Deadline::after(timeout))
    }

    /// Waits for the result until `deadline`.
    ///
    /// # Errors
    ///
    /// The deferred itself, when the result has not come by then.
    pub fn wait_deadline(self, deadline: Instant) -> Result<Result<T, E>, Self> {
        self.wait_until(Deadline::At(deadline))
    }

    /// Runs `callback` with the result: now if it is there, else on the thread that completes it.
    pub fn then(self, callback: impl FnOnce(Result<T, E>) + Send + 'static) {
        let mut slot = self.shared.lock();
        match Shared::take(&mut slot) {
            Some(result) => {
                drop(slot);
                callback(result);
            }
            None => *slot = Slot::Callback(Box::new(callback)),
        }
    }

    /// Whether the result is there.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        // Acquire: pairs with the release store in `resolve`.
        self.shared.ready.load(Ordering::Acquire)
    }

    pub(crate) fn wait_until(self, deadline: Deadline) -> Result<Result<T, E>, Self> {
        if deadline != Deadline::Now && !self.is_ready() {
            crate::spin::until(SPINS, || self.is_ready());
        }
        let mut slot = self.shared.lock();
        loop {
            if let Some(result) = Shared::take(&mut slot) {
                return Ok(result);
            }
            let remaining = deadline.remaining();
            if remaining == Some(Duration::ZERO) {
                drop(slot);
                return Err(self);
            }
            if let Slot::Waiting { sleepers, .. } = &mut *slot {
                *sleepers = true;
            }
            slot = match remaining {
                None => self
                    .shared
                    .done
                    .wait(slot)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let woken = self.shared.done.wait_timeout(slot, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl<T, E> Future for Deferred<T, E> {
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let mut slot = self.shared.lock();
        if let Some(result) = Shared::take(&mut slot) {
            return Poll::Ready(result);
        }
        if let Slot::Waiting { waker, .. } = &mut *slot {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl<T, E> fmt::Debug for Deferred<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred")
            .field("ready", &self.is_ready())
            .finish_non_exhaustive()
    }
}
