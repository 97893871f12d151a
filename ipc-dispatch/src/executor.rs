//! Futures that run on the loop's thread.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use async_task::{Runnable, Task};
use slab::Slab;

use crate::poster::Shared;
use crate::{Completer, Deferred, Failure, Poster, Registry};

/// The futures of one loop.
pub(crate) struct Executor {
    tasks: Slab<Task<()>>,
    /// Those that have ended since the last look.
    ended: Rc<RefCell<Vec<usize>>>,
}

impl Executor {
    pub(crate) fn new() -> Self {
        Self {
            tasks: Slab::new(),
            ended: Rc::default(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    fn spawn<S: 'static, T: 'static>(
        &mut self,
        shared: &Arc<Shared<S>>,
        future: impl Future<Output = T> + 'static,
    ) -> Deferred<T> {
        let (completer, deferred) = Deferred::pair();
        let entry = self.tasks.vacant_entry();
        let guarded = Guarded {
            future: Box::pin(future),
            completer: Some(completer),
            key: entry.key(),
            ended: Rc::clone(&self.ended),
        };
        let shared = Arc::clone(shared);
        let (runnable, task) =
            async_task::spawn_local(guarded, move |runnable| schedule(&shared, runnable));
        entry.insert(task);
        runnable.schedule();
        deferred
    }

    /// Forgets the futures that have ended.
    pub(crate) fn sweep(&mut self) {
        for key in self.ended.borrow_mut().drain(..) {
            // Its future has run to its end: dropping the handle cancels nothing.
            drop(self.tasks.try_remove(key));
        }
    }

    /// Drops every future, on the thread they belong to.
    pub(crate) fn close<S>(&mut self, shared: &Shared<S>) {
        for task in std::mem::take(&mut self.tasks) {
            // Cancelling schedules the task once more, to be dropped below.
            drop(task.1);
        }
        while let Some(runnable) = shared.runnables.pop() {
            drop(runnable);
        }
    }
}

/// Hands a future that was woken to its loop. May run on any thread.
fn schedule<S>(shared: &Shared<S>, runnable: Runnable) {
    if shared.closed.load(Ordering::SeqCst) {
        // Its loop is gone, and with it the only thread that may drop the future. It was cancelled
        // when the loop went, so all that leaks is what a stray waker held.
        std::mem::forget(runnable);
        return;
    }
    shared.runnables.push(runnable);
    shared.notify();
    if shared.closed.load(Ordering::SeqCst) {
        // The loop may have looked at the queue for the last time before the push.
        while let Some(runnable) = shared.runnables.pop() {
            std::mem::forget(runnable);
        }
    }
}

/// A future that completes its deferred, with the panic if it panics.
struct Guarded<T: 'static> {
    future: Pin<Box<dyn Future<Output = T>>>,
    completer: Option<Completer<T>>,
    key: usize,
    ended: Rc<RefCell<Vec<usize>>>,
}

impl<T: 'static> Future for Guarded<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        let future = &mut self.future;
        let result = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(task)));
        let result = match result {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(value)) => Ok(value),
            Err(panic) => Err(panic),
        };
        let key = self.key;
        self.ended.borrow_mut().push(key);
        let completer = self.completer.take();
        match (result, completer) {
            (Ok(value), Some(completer)) => completer.complete(value),
            (Err(panic), Some(completer)) if !completer.is_cancelled() => {
                completer.fail(Failure::from_panic(&*panic));
            }
            // Nobody would learn of it: it is the loop's, as a handler's panic would be.
            (Err(panic), _) => resume_unwind(panic),
            (Ok(_), None) => {}
        }
        Poll::Ready(())
    }
}

impl<S: 'static> Registry<S> {
    /// Runs a future on the loop's thread, and gives its result. It keeps the loop running. A panic
    /// becomes a [`Failure`] of the result, or is the loop's if the result was dropped. Dropping the
    /// result does not cancel the future; dropping the selector does.
    ///
    /// # Examples
    ///
    /// ```
    /// use ipc_dispatch::Selector;
    /// use std::time::Duration;
    ///
    /// let mut selector = Selector::<()>::new()?;
    /// let poster = selector.poster();
    /// let result = selector.spawn(async move {
    ///     poster.sleep(Duration::from_millis(1)).await.map(|()| 42)
    /// });
    /// selector.run(&mut ())?;
    /// assert_eq!(result.wait(), Ok(Ok(42)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn spawn<T: 'static>(&mut self, future: impl Future<Output = T> + 'static) -> Deferred<T> {
        let shared = Arc::clone(&self.shared);
        self.executor.spawn(&shared, future)
    }

    /// A result that comes after `delay`.
    pub fn sleep(&mut self, delay: Duration) -> Deferred<()> {
        let (completer, deferred) = Deferred::pair();
        let mut completer = Some(completer);
        self.alarm(delay, move |_| {
            if let Some(completer) = completer.take() {
                completer.complete(());
            }
        });
        deferred
    }

    /// Runs the steps of futures that were woken.
    pub(crate) fn run_futures(&mut self, state: &mut S) {
        if self.shared.runnables.is_empty() {
            return;
        }
        for _ in 0..self.shared.runnables.len().min(self.options.tasks_max) {
            let Some(runnable) = self.shared.runnables.pop() else {
                break;
            };
            self.run_task(state, |_| {
                runnable.run();
            });
        }
        self.executor.sweep();
    }
}

impl<S: 'static> Poster<S> {
    /// A result that comes after `delay`, for futures. Fails when the loop is gone.
    pub fn sleep(&self, delay: Duration) -> Deferred<()> {
        let (completer, deferred) = Deferred::pair();
        let posted = self.post(move |ctx| {
            ctx.sleep(delay)
                .on_complete(|result| completer.settle(result))
        });
        // The task that was not posted drops the completer, which fails the result.
        drop(posted);
        deferred
    }
}
