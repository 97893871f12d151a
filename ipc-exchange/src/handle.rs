//! One submitted task.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ipc_core::Deadline;
use ipc_dispatch::Poster;
use serde::de::DeserializeOwned;

use crate::TaskError;
use crate::driver::Driver;
use crate::outcome::Slot;

/// A task that was submitted: its result to come.
///
/// Dropping it neither ends the task nor waits for it; the result is thrown away. It does not keep
/// the exchange open: with the exchange's end the task ends as
/// [`Cause::Cancelled`](crate::Cause::Cancelled). It is a future as well, for any executor.
#[must_use = "the result is lost with the handle"]
pub struct Handle<R> {
    slot: Arc<Slot>,
    poster: Poster<Driver>,
    result: PhantomData<fn() -> R>,
}

impl<R> Handle<R> {
    pub(crate) fn new(slot: Arc<Slot>, poster: Poster<Driver>) -> Self {
        Self {
            slot,
            poster,
            result: PhantomData,
        }
    }

    /// Whether the result is there.
    pub fn is_done(&self) -> bool {
        self.slot.is_done()
    }

    /// Ends the task and does not wait for that: one that has not begun never will; one that runs is
    /// stopped in steps, as [`ExchangeOptions`](crate::ExchangeOptions) says, by ending its worker;
    /// one that has ended stays as it is.
    ///
    /// Once the exchange has seen the call the task ends as
    /// [`Cause::Cancelled`](crate::Cause::Cancelled), even if it returns meanwhile.
    pub fn cancel(&self) {
        let slot = Arc::clone(&self.slot);
        // A loop that is gone has ended every task.
        let _ = self.poster.post(move |ctx| {
            ctx.state
                .cancel(slot.key.load(Ordering::Relaxed), ctx.registry)
        });
    }
}

impl<R: DeserializeOwned> Handle<R> {
    /// Waits until the task has ended. The exchange's thread wakes it.
    ///
    /// # Errors
    ///
    /// [`TaskError`] with what is known about why there is no result.
    pub fn wait(self) -> Result<R, TaskError> {
        let outcome = self.slot.take(Deadline::Never);
        outcome
            .expect("a wait without a deadline ends with an outcome")
            .into_result()
    }

    /// The result if it is there, else the handle.
    ///
    /// # Errors
    ///
    /// The handle, while the task has not ended.
    pub fn try_wait(self) -> Result<Result<R, TaskError>, Self> {
        self.wait_by(Deadline::Now)
    }

    /// Waits until the task has ended, for no longer than `timeout`. The task goes on.
    ///
    /// # Errors
    ///
    /// The handle, when the task has not ended.
    pub fn wait_timeout(self, timeout: Duration) -> Result<Result<R, TaskError>, Self> {
        self.wait_by(Deadline::after(timeout))
    }

    /// [`wait_timeout`](Self::wait_timeout) until `deadline`.
    ///
    /// # Errors
    ///
    /// The handle, when the task has not ended.
    pub fn wait_deadline(self, deadline: Instant) -> Result<Result<R, TaskError>, Self> {
        self.wait_by(Deadline::At(deadline))
    }

    fn wait_by(self, deadline: Deadline) -> Result<Result<R, TaskError>, Self> {
        match self.slot.take(deadline) {
            Some(outcome) => Ok(outcome.into_result()),
            None => Err(self),
        }
    }
}

impl<R: DeserializeOwned> Future for Handle<R> {
    type Output = Result<R, TaskError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.slot.poll(context.waker()) {
            Some(outcome) => Poll::Ready(outcome.into_result()),
            None => Poll::Pending,
        }
    }
}

impl<R> fmt::Debug for Handle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("is_done", &self.is_done())
            .finish_non_exhaustive()
    }
}
