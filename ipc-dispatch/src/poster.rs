//! Handing work to a loop from any thread.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use async_task::Runnable;
use crossbeam_queue::SegQueue;
use nix::unistd::getpid;

use crate::Context;
use crate::driver::Waker;
use crate::parking::Parking;

/// A task from another thread.
pub(crate) type Task<S> = Box<dyn FnOnce(&mut Context<'_, S>) + Send>;

/// What a loop shares with its posters.
pub(crate) struct Shared<S> {
    pub(crate) tasks: SegQueue<Task<S>>,
    /// Futures that were woken.
    pub(crate) runnables: SegQueue<Runnable>,
    pub(crate) parking: Parking,
    pub(crate) stop: AtomicBool,
    pub(crate) closed: AtomicBool,
    /// The signals that have come and were not handled yet, one bit each.
    pub(crate) signals: AtomicU64,
    /// The process that the loop runs in. A child that was forked is another until it says so.
    pub(crate) owner: AtomicI32,
    pub(crate) waker: Waker,
    posts_max: usize,
}

impl<S> Shared<S> {
    pub(crate) fn new(waker: Waker, posts_max: usize) -> Self {
        Self {
            tasks: SegQueue::new(),
            runnables: SegQueue::new(),
            parking: Parking::new(),
            stop: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            signals: AtomicU64::new(0),
            owner: AtomicI32::new(getpid().as_raw()),
            waker,
            posts_max,
        }
    }

    /// Whether there is nothing for the loop to do, by a look at every queue.
    /// [`Parking::is_marked`] is quicker and errs only on the other side.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
            && self.runnables.is_empty()
            && self.signals.load(Ordering::Relaxed) == 0
    }

    /// Called after something was left for the loop. Safe in a signal handler.
    pub(crate) fn notify(&self) {
        if self.parking.must_wake() {
            self.waker.wake();
        }
    }

    /// The loop is gone: what was posted is dropped, as is whatever still arrives.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        while self.tasks.pop().is_some() {}
    }
}

/// Why a post did not reach the loop. Both give the task back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PostError<F> {
    /// The loop is gone.
    Disconnected(F),
    /// As many posts wait as [`posts_max`](crate::SelectorOptions::posts_max) allows.
    Full(F),
}

impl<F> PostError<F> {
    /// The task that was not posted.
    pub fn into_inner(self) -> F {
        match self {
            Self::Disconnected(task) | Self::Full(task) => task,
        }
    }
}

impl<F> fmt::Debug for PostError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disconnected(_) => "Disconnected(..)",
            Self::Full(_) => "Full(..)",
        })
    }
}

impl<F> fmt::Display for PostError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disconnected(_) => "the loop is gone",
            Self::Full(_) => "the loop has as many posted tasks as it accepts",
        })
    }
}

impl<F> std::error::Error for PostError<F> {}

/// A handle by which any thread, and a signal handler as far as [`stop`](Self::stop) goes, reaches
/// a loop. Cheap to clone; does not keep the loop running or alive.
///
/// A post to a loop that is awake costs an allocation and a push; one that finds the loop asleep
/// costs one system call as well, however many threads post at once.
pub struct Poster<S> {
    shared: Arc<Shared<S>>,
}

impl<S> Poster<S> {
    pub(crate) fn new(shared: Arc<Shared<S>>) -> Self {
        Self { shared }
    }

    /// Runs `task` on the loop's thread, in its next turn. Tasks of one thread run in the order in
    /// which they were posted. Never blocks.
    ///
    /// A task is dropped without being run only with the loop itself.
    ///
    /// # Errors
    ///
    /// The task, when the loop is gone or has too many already.
    pub fn post<F>(&self, task: F) -> Result<(), PostError<F>>
    where
        F: FnOnce(&mut Context<'_, S>) + Send + 'static,
    {
        let shared = &*self.shared;
        if shared.closed.load(Ordering::Relaxed) {
            return Err(PostError::Disconnected(task));
        }
        if shared.posts_max != usize::MAX && shared.tasks.len() >= shared.posts_max {
            return Err(PostError::Full(task));
        }
        shared.tasks.push(Box::new(task));
        if shared.parking.must_wake() {
            shared.waker.wake();
        }
        // A loop that was dropped between the two looks has drained its queue for the last time.
        // SeqCst: pairs with the store in `close`, the fence in `must_wake` standing between.
        if shared.closed.load(Ordering::SeqCst) {
            while shared.tasks.pop().is_some() {}
        }
        Ok(())
    }

    /// Ends the loop's [`run`](crate::Selector::run) after its present turn; a loop that does not run
    /// ends its next run at once. May be called from a signal handler.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.notify();
    }

    /// Whether the loop is gone.
    pub fn is_disconnected(&self) -> bool {
        self.shared.closed.load(Ordering::Relaxed)
    }

    /// How many posted tasks wait.
    pub fn len(&self) -> usize {
        self.shared.tasks.len()
    }

    /// Whether no posted task waits.
    pub fn is_empty(&self) -> bool {
        self.shared.tasks.is_empty()
    }
}

impl<S> Clone for Poster<S> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }
}

impl<S> fmt::Debug for Poster<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poster")
            .field("waiting", &self.len())
            .field("disconnected", &self.is_disconnected())
            .finish()
    }
}
