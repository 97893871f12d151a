//! A result to come, with a typed error.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use ipc_core::Deadline;
use ipc_dispatch::{Completer, TryWaitError, WaitError};

use crate::local::Bringer;
use crate::{AskError, RemoteError, SpawnError};

/// How long a waiter looks before it sleeps: about what the sleep and the wake would cost. On a
/// machine with one processor nobody could answer meanwhile, so there it sleeps at once.
const SPINS: u32 = 2000;

/// A result to come: wait for it, await it, or leave a callback.
///
/// It is completed exactly once, by whoever holds the other end; if that is dropped, the error says
/// that the answer was lost. It is `ipc-dispatch`'s [`Deferred`](ipc_dispatch::Deferred) with an error
/// that callers can branch on, and with a wait that fetches the answer itself where no other thread
/// need be woken to do so.
#[must_use = "a result that nobody waits for is lost"]
pub struct Deferred<T: 'static, E: 'static> {
    inner: ipc_dispatch::Deferred<Result<T, E>>,
    abandoned: fn() -> E,
    deadlock: fn() -> E,
    bringer: Bringer,
    helper: Helper,
}

/// The end that completes a [`Deferred`].
pub(crate) struct Resolver<T: 'static, E: 'static> {
    completer: Completer<Result<T, E>>,
}

/// What is said when a result will not come.
pub(crate) trait Abandoned: Sized {
    /// Nobody is left who could complete it.
    fn abandoned() -> Self;

    /// Whoever would complete it waits for it.
    fn deadlock() -> Self {
        Self::abandoned()
    }
}

impl Abandoned for AskError {
    fn abandoned() -> Self {
        Self::Lost
    }

    fn deadlock() -> Self {
        Self::Deadlock
    }
}

impl Abandoned for SpawnError {
    fn abandoned() -> Self {
        Self::Disconnected
    }

    fn deadlock() -> Self {
        Self::Deadlock
    }
}

impl Abandoned for RemoteError {
    fn abandoned() -> Self {
        Self::Disconnected
    }
}

/// What a waiter can do for its result to come.
pub(crate) trait Help: Send + Sync {
    /// Fetches answers on the caller's thread until `is_done`, as long as nobody else does.
    fn help(self: Arc<Self>, is_done: &dyn Fn() -> bool, deadline: Deadline);
    /// Nobody will come to fetch the answer.
    fn leave(self: Arc<Self>);
}

/// Says that nobody will come when it is dropped.
struct Helper(Option<Arc<dyn Help>>);

impl Drop for Helper {
    fn drop(&mut self) {
        if let Some(help) = self.0.take() {
            help.leave();
        }
    }
}

pub(crate) fn deferred<T, E: Abandoned>() -> (Resolver<T, E>, Deferred<T, E>) {
    let (completer, inner) = ipc_dispatch::Deferred::pair();
    let deferred = Deferred {
        inner,
        abandoned: E::abandoned,
        deadlock: E::deadlock,
        bringer: Bringer::Anybody,
        helper: Helper(None),
    };
    (Resolver { completer }, deferred)
}

impl<T, E> Resolver<T, E> {
    #[inline]
    pub(crate) fn resolve(self, result: Result<T, E>) {
        self.completer.complete(result);
    }
}

impl<T, E> Deferred<T, E> {
    /// A result that is already there.
    pub(crate) fn ready(result: Result<T, E>) -> Self
    where
        E: Abandoned,
    {
        let (resolver, deferred) = deferred();
        resolver.resolve(result);
        deferred
    }

    /// Has the waiter fetch the answer.
    pub(crate) fn with_help(mut self, help: Arc<dyn Help>) -> Self {
        self.helper = Helper(Some(help));
        self
    }

    /// Says who alone brings the result, and so must not wait for it.
    #[inline]
    pub(crate) fn brought_by(mut self, bringer: Bringer) -> Self {
        self.bringer = bringer;
        self
    }

    /// Waits for the result. Only its coming ends the wait, unless the caller itself would have to bring
    /// it: an actor that waits for its own answer, or one on the arbiter's loop for what comes by way of
    /// that loop. That is an error at once, by this and by the waits with a limit; what was sent is under
    /// way nevertheless. Such a caller leaves a [callback](Deferred::then), or hands the result to a
    /// [`Reply`](crate::Reply::answer_with).
    ///
    /// # Errors
    ///
    /// What the other side answered; `Deadlock`.
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
        let Self {
            inner,
            abandoned,
            helper,
            ..
        } = self;
        inner.on_complete(move |result| callback(result.unwrap_or_else(|_| Err(abandoned()))));
        drop(helper);
    }

    /// Whether the result is there.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        if !self.inner.is_done() {
            self.help(Deadline::Now);
        }
        self.inner.is_done()
    }

    fn help(&self, deadline: Deadline) {
        if let Some(help) = &self.helper.0 {
            Arc::clone(help).help(&|| self.inner.is_done(), deadline);
        }
    }

    pub(crate) fn wait_until(mut self, deadline: Deadline) -> Result<Result<T, E>, Self> {
        if !self.inner.is_done() {
            if deadline != Deadline::Now && self.bringer.is_caller() {
                return Ok(Err((self.deadlock)()));
            }
            self.help(deadline);
        }
        if deadline != Deadline::Now && !self.inner.is_done() {
            crate::spin::until(SPINS, || self.inner.is_done());
        }
        let waited = match deadline {
            Deadline::Now => match self.inner.try_wait() {
                Err(TryWaitError::Empty) => None,
                Ok(result) => Some(Ok(result)),
                Err(TryWaitError::Failed(failure)) => Some(Err(failure)),
            },
            Deadline::At(at) => match self.inner.wait_deadline(at) {
                Err(WaitError::Timeout) => None,
                Ok(result) => Some(Ok(result)),
                Err(WaitError::Failed(failure)) => Some(Err(failure)),
            },
            Deadline::Never => {
                let Self {
                    inner,
                    abandoned,
                    mut helper,
                    ..
                } = self;
                let result = inner.wait().unwrap_or_else(|_| Err(abandoned()));
                helper.0 = None;
                return Ok(result);
            }
        };
        let Some(result) = waited else {
            return Err(self);
        };
        self.helper.0 = None;
        Ok(result.unwrap_or_else(|_| Err((self.abandoned)())))
    }
}

impl<T, E> Future for Deferred<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let abandoned = self.abandoned;
        let polled = Pin::new(&mut self.inner).poll(context);
        match polled {
            Poll::Ready(result) => {
                self.helper.0 = None;
                Poll::Ready(result.unwrap_or_else(|_| Err(abandoned())))
            }
            Poll::Pending => {
                // The waker is there to be used: somebody else must fetch the answer.
                drop(std::mem::replace(&mut self.helper, Helper(None)));
                Poll::Pending
            }
        }
    }
}

impl<T, E> fmt::Debug for Deferred<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred")
            .field("ready", &self.inner.is_done())
            .finish_non_exhaustive()
    }
}
