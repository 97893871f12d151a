//! Results to come.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use crate::{Context, Failure, Poster};

type Callback<T> = Box<dyn FnOnce(Result<T, Failure>) + Send>;

enum State<T> {
    Waiting(Option<Callback<T>>, Option<Waker>),
    Done(Result<T, Failure>),
    Taken,
}

struct Inner<T> {
    state: Mutex<State<T>>,
    done: Condvar,
    /// The result has come, for those who look before they sleep; it may have been taken since.
    settled: AtomicBool,
    /// Somebody sleeps on `done`. Used under the lock alone: without sleepers a result needs no
    /// system call.
    sleepers: AtomicBool,
}

impl<T> Inner<T> {
    /// A panic while the lock is held cannot leave the state half changed.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A result that will be there later: one value or one [`Failure`], once.
///
/// It can be waited for ([`wait`](Self::wait) and its three other forms), awaited, given a callback
/// ([`on_complete`](Self::on_complete), [`deliver`](Self::deliver)) or turned into another
/// ([`map`](Self::map), [`and_then`](Self::and_then), [`or_else`](Self::or_else)). Completing it
/// consumes the [`Completer`], so there is no second time; a completer that is dropped fails it.
///
/// # Examples
///
/// ```
/// use ipc_dispatch::{Deferred, Failure};
///
/// let (completer, deferred) = Deferred::pair();
/// let doubled = deferred.map(|number: i32| 2 * number);
/// completer.complete(21);
/// assert_eq!(doubled.wait(), Ok(42));
///
/// let (completer, deferred) = Deferred::<i32>::pair();
/// drop(completer);
/// assert_eq!(deferred.wait(), Err(Failure::abandoned()));
/// ```
#[must_use = "a result that nobody looks at may be a failure"]
pub struct Deferred<T: 'static> {
    inner: Arc<Inner<T>>,
}

/// The other end of a [`Deferred`]: whoever has it owes the result.
pub struct Completer<T: 'static> {
    inner: Option<Arc<Inner<T>>>,
}

/// An error of [`Deferred::try_wait`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TryWaitError {
    /// The result is not there yet.
    Empty,
    /// It is a failure.
    Failed(Failure),
}

/// An error of [`Deferred::wait_timeout`] and [`Deferred::wait_deadline`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// The result did not come in time. It may still be waited for.
    Timeout,
    /// It is a failure.
    Failed(Failure),
}

impl fmt::Display for TryWaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the result is not there yet"),
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("timed out waiting for the result"),
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for TryWaitError {}

impl std::error::Error for WaitError {}

impl<T: 'static> fmt::Debug for Deferred<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred")
            .field("done", &self.is_done())
            .finish()
    }
}

impl<T: 'static> fmt::Debug for Completer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completer").finish_non_exhaustive()
    }
}

impl<T: 'static> Completer<T> {
    /// Gives the result. Callbacks run here, on this thread, before it returns.
    pub fn complete(self, value: T) {
        self.settle(Ok(value));
    }

    /// Says that there will be none.
    pub fn fail(self, failure: impl Into<Failure>) {
        self.settle(Err(failure.into()));
    }

    /// Gives either.
    pub fn settle(mut self, result: Result<T, Failure>) {
        if let Some(inner) = self.inner.take() {
            settle(&inner, result);
        }
    }

    /// Whether nobody waits for the result any more.
    pub fn is_cancelled(&self) -> bool {
        let Some(inner) = &self.inner else {
            return true;
        };
        let waited = matches!(&*inner.lock(), State::Waiting(Some(_), _));
        // Nobody else can make a second reference out of the only one.
        !waited && Arc::strong_count(inner) == 1
    }
}

impl<T: 'static> Drop for Completer<T> {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            settle(&inner, Err(Failure::abandoned()));
        }
    }
}

fn settle<T: 'static>(inner: &Inner<T>, result: Result<T, Failure>) {
    let mut state = inner.lock();
    let (callback, waker) = match &mut *state {
        State::Waiting(callback, waker) => (callback.take(), waker.take()),
        // Only one completer exists and it is gone afterwards.
        State::Done(_) | State::Taken => return,
    };
    match callback {
        Some(callback) => {
            *state = State::Taken;
            drop(state);
            call_flat(move || callback(result));
        }
        None => {
            *state = State::Done(result);
            // Release: pairs with the acquire load of a waiter that looks again and again, though
            // the lock that it takes next orders everything anyway.
            inner.settled.store(true, Ordering::Release);
            let sleepers = inner.sleepers.load(Ordering::Relaxed);
            drop(state);
            if sleepers {
                inner.done.notify_all();
            }
        }
    }
    if let Some(waker) = waker {
        waker.wake();
    }
}

type Due = Box<dyn FnOnce()>;

thread_local! {
    /// The callbacks that wait for the one that is running on this thread; none if none is.
    static DUE: RefCell<Option<VecDeque<Due>>> = const { RefCell::new(None) };
}

/// Runs a callback, or queues it behind the one that has set it off: a chain of a million results
/// then needs no more stack than one.
fn call_flat(callback: impl FnOnce() + 'static) {
    struct Running;
    impl Drop for Running {
        fn drop(&mut self) {
            DUE.with(|due| drop(due.borrow_mut().take()));
        }
    }
    let mut callback = Some(callback);
    DUE.with(|due| match &mut *due.borrow_mut() {
        Some(queue) => {
            if let Some(callback) = callback.take() {
                queue.push_back(Box::new(callback));
            }
        }
        none => *none = Some(VecDeque::new()),
    });
    let Some(callback) = callback else {
        return;
    };
    let _running = Running;
    callback();
    let next = || DUE.with(|due| due.borrow_mut().as_mut().and_then(VecDeque::pop_front));
    while let Some(callback) = next() {
        callback();
    }
}

impl<T: 'static> Deferred<T> {
    /// A result to come, and what completes it.
    pub fn pair() -> (Completer<T>, Self) {
        let inner = Arc::new(Inner {
            state: Mutex::new(State::Waiting(None, None)),
            done: Condvar::new(),
            settled: AtomicBool::new(false),
            sleepers: AtomicBool::new(false),
        });
        let completer = Completer {
            inner: Some(Arc::clone(&inner)),
        };
        (completer, Self { inner })
    }

    /// A result that is there already.
    pub fn settled(result: Result<T, Failure>) -> Self {
        let (completer, deferred) = Self::pair();
        completer.settle(result);
        deferred
    }

    /// Whether the result is there.
    pub fn is_done(&self) -> bool {
        // Acquire: pairs with the release store in `settle`.
        self.inner.settled.load(Ordering::Acquire) && matches!(&*self.inner.lock(), State::Done(_))
    }

    /// Waits for the result. Blocks until it is completed or the completer is dropped: never do so on
    /// the thread that is to complete it.
    ///
    /// # Errors
    ///
    /// The failure, if it is one.
    pub fn wait(mut self) -> Result<T, Failure> {
        match self.wait_until(None) {
            Some(result) => result,
            None => unreachable!("a wait without a deadline ends with the result"),
        }
    }

    /// The result if it is there. It can be had once; afterwards it counts as abandoned.
    ///
    /// # Errors
    ///
    /// See [`TryWaitError`].
    pub fn try_wait(&mut self) -> Result<T, TryWaitError> {
        take(&mut self.inner.lock())
            .ok_or(TryWaitError::Empty)?
            .map_err(TryWaitError::Failed)
    }

    /// Like [`wait`](Self::wait), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// See [`WaitError`].
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<T, WaitError> {
        self.wait_until(Instant::now().checked_add(timeout))
            .ok_or(WaitError::Timeout)?
            .map_err(WaitError::Failed)
    }

    /// Like [`wait`](Self::wait), until `deadline` at the latest.
    ///
    /// # Errors
    ///
    /// See [`WaitError`].
    pub fn wait_deadline(&mut self, deadline: Instant) -> Result<T, WaitError> {
        self.wait_until(Some(deadline))
            .ok_or(WaitError::Timeout)?
            .map_err(WaitError::Failed)
    }

    fn wait_until(&mut self, deadline: Option<Instant>) -> Option<Result<T, Failure>> {
        let mut state = self.inner.lock();
        loop {
            if let Some(result) = take(&mut state) {
                return Some(result);
            }
            self.inner.sleepers.store(true, Ordering::Relaxed);
            state = match deadline {
                None => {
                    let woken = self.inner.done.wait(state);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    let woken = self.inner.done.wait_timeout(state, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Calls `callback` with the result: at once if it is there, else on the thread that completes
    /// it. Callbacks that set off others run one after the other, however long the chain.
    pub fn on_complete<F>(self, callback: F)
    where
        F: FnOnce(Result<T, Failure>) + Send + 'static,
    {
        let mut state = self.inner.lock();
        match &mut *state {
            State::Waiting(slot, _) => *slot = Some(Box::new(callback)),
            State::Done(_) | State::Taken => {
                let result = take(&mut state);
                drop(state);
                if let Some(result) = result {
                    call_flat(move || callback(result));
                }
            }
        }
    }

    /// Calls `callback` with the result on the thread of a loop, which it wakes. If the loop is gone
    /// nobody is called.
    pub fn deliver<S, F>(self, poster: &Poster<S>, callback: F)
    where
        S: 'static,
        T: Send,
        F: FnOnce(Result<T, Failure>, &mut Context<'_, S>) + Send + 'static,
    {
        let poster = poster.clone();
        self.on_complete(move |result| {
            // Nobody is left to be told.
            let _ = poster.post(move |ctx| callback(result, ctx));
        });
    }

    /// The result of applying `step` to the value. Runs like [`on_complete`](Self::on_complete).
    pub fn map<U, F>(self, step: F) -> Deferred<U>
    where
        U: Send + 'static,
        F: FnOnce(T) -> U + Send + 'static,
    {
        let (completer, next) = Deferred::pair();
        self.on_complete(move |result| completer.settle(result.map(step)));
        next
    }

    /// The result of another operation that starts with the value.
    pub fn and_then<U, F>(self, step: F) -> Deferred<U>
    where
        U: Send + 'static,
        F: FnOnce(T) -> Deferred<U> + Send + 'static,
    {
        let (completer, next) = Deferred::pair();
        self.on_complete(move |result| match result {
            Ok(value) => step(value).on_complete(move |result| completer.settle(result)),
            Err(failure) => completer.fail(failure),
        });
        next
    }

    /// Recovers from a failure, or answers another.
    pub fn or_else<F>(self, step: F) -> Self
    where
        T: Send,
        F: FnOnce(Failure) -> Result<T, Failure> + Send + 'static,
    {
        let (completer, next) = Self::pair();
        self.on_complete(move |result| completer.settle(result.or_else(step)));
        next
    }
}

fn take<T>(state: &mut State<T>) -> Option<Result<T, Failure>> {
    match std::mem::replace(state, State::Taken) {
        State::Done(result) => Some(result),
        State::Taken => Some(Err(Failure::abandoned())),
        waiting @ State::Waiting(..) => {
            *state = waiting;
            None
        }
    }
}

/// Awaiting gives the value or the failure.
impl<T: 'static> Future for Deferred<T> {
    type Output = Result<T, Failure>;

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let mut state = self.inner.lock();
        if let Some(result) = take(&mut state) {
            return Poll::Ready(result);
        }
        if let State::Waiting(_, waker) = &mut *state {
            match waker {
                Some(waker) => waker.clone_from(task.waker()),
                none => *none = Some(task.waker().clone()),
            }
        }
        Poll::Pending
    }
}

/// The results of all, in their order, failures in their places, when the last has come.
pub fn join_all<T, I>(deferreds: I) -> Deferred<Vec<Result<T, Failure>>>
where
    T: Send + 'static,
    I: IntoIterator<Item = Deferred<T>>,
{
    struct Join<T: 'static> {
        results: Vec<Option<Result<T, Failure>>>,
        missing: usize,
        completer: Option<Completer<Vec<Result<T, Failure>>>>,
    }
    let deferreds: Vec<_> = deferreds.into_iter().collect();
    let (completer, joined) = Deferred::pair();
    if deferreds.is_empty() {
        completer.complete(Vec::new());
        return joined;
    }
    let join = Arc::new(Mutex::new(Join {
        results: deferreds.iter().map(|_| None).collect(),
        missing: deferreds.len(),
        completer: Some(completer),
    }));
    for (index, deferred) in deferreds.into_iter().enumerate() {
        let join = Arc::clone(&join);
        deferred.on_complete(move |result| {
            let mut join = join.lock().unwrap_or_else(PoisonError::into_inner);
            join.results[index] = Some(result);
            join.missing -= 1;
            if join.missing > 0 {
                return;
            }
            let results = std::mem::take(&mut join.results).into_iter().flatten();
            let completer = join.completer.take();
            drop(join);
            if let Some(completer) = completer {
                completer.complete(results.collect());
            }
        });
    }
    joined
}

/// The first result to come, value or failure, and whose it is. With none to wait for it fails.
pub fn race<T, I>(deferreds: I) -> Deferred<(usize, T)>
where
    T: Send + 'static,
    I: IntoIterator<Item = Deferred<T>>,
{
    let (completer, first) = Deferred::pair();
    let completer = Arc::new(Mutex::new(Some(completer)));
    for (index, deferred) in deferreds.into_iter().enumerate() {
        let completer = Arc::clone(&completer);
        deferred.on_complete(move |result| {
            let winner = completer
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(winner) = winner {
                winner.settle(result.map(|value| (index, value)));
            }
        });
    }
    first
}
