//! The exchange: workers, and the tasks that wait for them.

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ipc_core::Deadline;
use ipc_dispatch::{Poster, Selector};
use serde::Serialize;

use crate::codec::encode;
use crate::driver::{Driver, cancelled};
use crate::launch::installed;
use crate::outcome::{Sink, Slot, lock, wait};
use crate::payload::Payload;
use crate::plan::{Event, Spec};
use crate::{
    Events, ExchangeOptions, Handle, IntoTask, Map, Queue, Registry, Snapshot, SubmitError,
    SubmitReason, Task, TaskId, TaskOptions,
};

/// Workers in other processes, and the tasks they run.
///
/// It has a thread of its own, so that workers stay busy whatever the caller does. Cloning gives
/// another reference to the same exchange. When the last one is dropped everything that has not
/// ended is cancelled and the workers are stopped, without waiting for it; [`finish`](Self::finish)
/// and [`shutdown`](Self::shutdown) wait.
#[derive(Clone)]
pub struct Exchange {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    poster: Poster<Driver>,
    thread: Mutex<Option<JoinHandle<()>>>,
    task: TaskOptions,
}

/// One submitted task on its way to the exchange's thread.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) task: TaskId,
    pub(crate) name: &'static str,
    pub(crate) number: u64,
    pub(crate) argument: Arc<Payload>,
    pub(crate) spec: Spec,
    pub(crate) sink: Sink,
    pub(crate) at: Instant,
}

/// What the callers' threads and the exchange's thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    inbox: Mutex<Inbox>,
    room: Condvar,
    backlog: usize,
}

#[derive(Debug, Default)]
struct Inbox {
    queue: Vec<Submission>,
    /// Whether the exchange's thread has been told and has not looked yet.
    is_scheduled: bool,
    /// Submitted and not ended.
    unfinished: usize,
    submitted: u64,
    waiters: usize,
    is_closed: bool,
}

impl Shared {
    /// What was submitted since the last time.
    pub(crate) fn take(&self) -> Vec<Submission> {
        let mut inbox = lock(&self.inbox);
        inbox.is_scheduled = false;
        std::mem::take(&mut inbox.queue)
    }

    /// Makes room for `count` jobs that have ended.
    pub(crate) fn release(&self, count: usize) {
        let mut inbox = lock(&self.inbox);
        // Zero already if the exchange was closed meanwhile.
        inbox.unfinished = inbox.unfinished.saturating_sub(count);
        let wake = inbox.waiters > 0;
        drop(inbox);
        if wake {
            self.room.notify_all();
        }
    }

    /// Ends everything that the exchange's thread has not taken in.
    pub(crate) fn close(&self) {
        let mut inbox = lock(&self.inbox);
        inbox.is_closed = true;
        let queue = std::mem::take(&mut inbox.queue);
        inbox.unfinished = 0;
        drop(inbox);
        self.room.notify_all();
        for submission in queue {
            let outcome = cancelled(&submission);
            submission.sink.complete(outcome);
        }
    }
}

impl Exchange {
    /// Opens an exchange with at most `limit` workers; see [`ExchangeOptions`] for the rest.
    ///
    /// # Errors
    ///
    /// As [`ExchangeOptions::open`].
    pub fn new(limit: usize) -> io::Result<Self> {
        ExchangeOptions::new().limit(limit).open()
    }

    pub(crate) fn open(options: ExchangeOptions) -> io::Result<Self> {
        installed()?;
        let shared = Arc::new(Shared {
            inbox: Mutex::default(),
            room: Condvar::new(),
            backlog: options.backlog,
        });
        let task = options.task.clone();
        let (opened, poster) = mpsc::channel();
        let for_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("ipc-exchange".into())
            .spawn(move || {
                let mut driver = Driver::new(options, for_thread);
                let mut selector = match Selector::new() {
                    Ok(selector) => selector,
                    Err(error) => return drop(opened.send(Err(error))),
                };
                selector.set_persistent(true);
                if opened.send(Ok(selector.poster())).is_ok() {
                    // An error of the system's own waiting ends the exchange: the driver's drop
                    // ends every task.
                    let _ = selector.run(&mut driver);
                }
            })?;
        let poster = poster
            .recv()
            .map_err(|_| io::Error::other("the exchange's thread ended at its start"))??;
        Ok(Self {
            inner: Arc::new(Inner {
                shared,
                poster,
                thread: Mutex::new(Some(thread)),
                task,
            }),
        })
    }

    /// Submits a task, waiting while the backlog is full; a task that ends makes room.
    ///
    /// `task` is a registered function, or a [`Task`] found by name.
    ///
    /// # Errors
    ///
    /// [`SubmitError`] with the argument: the function is not registered, the argument cannot be
    /// encoded, or the exchange is closed.
    pub fn submit<A: Serialize, R>(
        &self,
        task: impl IntoTask<A, R>,
        argument: A,
    ) -> Result<Handle<R>, SubmitError<A>> {
        self.submit_by(task.into_task(), argument, None, Deadline::Never)
    }

    /// [`submit`](Self::submit) that fails instead of waiting.
    ///
    /// # Errors
    ///
    /// As `submit`, and [`SubmitReason::Full`].
    pub fn try_submit<A: Serialize, R>(
        &self,
        task: impl IntoTask<A, R>,
        argument: A,
    ) -> Result<Handle<R>, SubmitError<A>> {
        self.submit_by(task.into_task(), argument, None, Deadline::Now)
    }

    /// [`submit`](Self::submit) that waits for room no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// As `submit`, and [`SubmitReason::Timeout`].
    pub fn submit_timeout<A: Serialize, R>(
        &self,
        task: impl IntoTask<A, R>,
        argument: A,
        timeout: Duration,
    ) -> Result<Handle<R>, SubmitError<A>> {
        let deadline = Deadline::after(timeout);
        self.submit_by(task.into_task(), argument, None, deadline)
    }

    /// [`submit_timeout`](Self::submit_timeout) until `deadline`.
    ///
    /// # Errors
    ///
    /// As `submit`, and [`SubmitReason::Timeout`].
    pub fn submit_deadline<A: Serialize, R>(
        &self,
        task: impl IntoTask<A, R>,
        argument: A,
        deadline: Instant,
    ) -> Result<Handle<R>, SubmitError<A>> {
        self.submit_by(task.into_task(), argument, None, deadline.into())
    }

    /// [`submit`](Self::submit) with options that replace the exchange's own.
    ///
    /// # Errors
    ///
    /// As `submit`.
    pub fn submit_with<A: Serialize, R>(
        &self,
        options: &TaskOptions,
        task: impl IntoTask<A, R>,
        argument: A,
    ) -> Result<Handle<R>, SubmitError<A>> {
        self.submit_by(task.into_task(), argument, Some(options), Deadline::Never)
    }

    fn submit_by<A: Serialize, R>(
        &self,
        task: Task<A, R>,
        argument: A,
        options: Option<&TaskOptions>,
        deadline: Deadline,
    ) -> Result<Handle<R>, SubmitError<A>> {
        let slot = Arc::new(Slot::new());
        let sink = Sink::Slot(Arc::clone(&slot));
        self.place(task, argument, options, sink, deadline)?;
        Ok(Handle::new(slot, self.inner.poster.clone()))
    }

    /// Runs `task` on every input. Results come in the order of the inputs, while later ones are
    /// still running; inputs are taken as results are, so that they may be endless.
    pub fn map<A, R, I>(&self, task: impl IntoTask<A, R>, inputs: I) -> Map<A, R>
    where
        I: IntoIterator<Item = A>,
        I::IntoIter: Send + 'static,
    {
        Map::new(self.clone(), task.into_task(), Box::new(inputs.into_iter()))
    }

    /// Collects results of tasks in the order in which they end.
    pub fn queue<R>(&self) -> Queue<R> {
        Queue::new(self.clone())
    }

    /// A function of which every call runs in a worker.
    pub fn manage<A, R>(&self, task: impl IntoTask<A, R>) -> Managed<A, R> {
        Managed {
            exchange: self.clone(),
            task: task.into_task(),
        }
    }

    /// Changes how many workers are alive at most. Workers beyond it end after the task they run.
    pub fn set_limit(&self, workers: usize) {
        self.tell(Event::Limit { limit: workers });
    }

    /// Tasks submitted and not ended.
    pub fn unfinished(&self) -> usize {
        lock(&self.inner.shared.inbox).unfinished
    }

    /// What the exchange is doing now. Waits for its thread to answer.
    pub fn snapshot(&self) -> Snapshot {
        let (answer, answered) = mpsc::channel();
        let asked = self.inner.poster.post(move |ctx| {
            // Nobody waits any more if this fails.
            let _ = answer.send(ctx.state.snapshot());
        });
        match asked {
            Ok(()) => answered.recv().unwrap_or_default(),
            Err(_) => Snapshot::default(),
        }
    }

    /// What happens from now on, as events of which up to `capacity` wait to be taken. Waits for the
    /// exchange's thread to answer.
    pub fn events(&self, capacity: usize) -> Events {
        let (answer, answered) = mpsc::channel();
        // Nobody waits any more if the answer fails; an exchange that is gone has no events.
        let _ = self.inner.poster.post(move |ctx| {
            let _ = answer.send(ctx.state.listen(capacity));
        });
        answered.recv().unwrap_or_else(|_| Events::ended())
    }

    /// The process ids of the workers that are alive. Waits for the exchange's thread to answer.
    pub fn workers(&self) -> Vec<u32> {
        let workers = self.snapshot().workers;
        workers.iter().map(|worker| worker.pid).collect()
    }

    /// Cancels every task that has not ended, and goes on.
    pub fn cancel_all(&self) {
        self.tell(Event::CancelAll);
    }

    /// Waits until every task has ended and every worker is gone. Other references to the exchange
    /// can submit nothing from now on.
    pub fn finish(self) {
        self.close(false);
    }

    /// Cancels every task that has not ended and waits until every worker is gone.
    pub fn shutdown(self) {
        self.close(true);
    }

    fn close(&self, cancel: bool) {
        lock(&self.inner.shared.inbox).is_closed = true;
        let thread = lock(&self.inner.thread).take();
        self.inner.end(cancel);
        if let Some(thread) = thread {
            // A panic of that thread has ended every task and is printed already.
            let _ = thread.join();
        }
    }

    fn tell(&self, event: Event) {
        // A loop that is gone has nothing left to tell.
        let _ = self
            .inner
            .poster
            .post(move |ctx| ctx.state.event(event, ctx.registry));
    }

    /// Whether a submission would not wait now.
    pub(crate) fn has_room(&self) -> bool {
        let shared = &self.inner.shared;
        lock(&shared.inbox).unfinished < shared.backlog
    }

    pub(crate) fn poster(&self) -> &Poster<Driver> {
        &self.inner.poster
    }

    /// Hands one job to the exchange's thread. For a chunk, as the sink tells, the task is that of one
    /// of its arguments.
    pub(crate) fn place<A: Serialize, R>(
        &self,
        task: Task<A, R>,
        argument: A,
        options: Option<&TaskOptions>,
        sink: Sink,
        deadline: Deadline,
    ) -> Result<(), SubmitError<A>> {
        let name = task.name();
        if !Registry::installed().is_some_and(|registry| registry.contains(task.id())) {
            return Err(SubmitError::new(
                argument,
                SubmitReason::Unregistered { name },
            ));
        }
        let payload = match encode(&argument) {
            Ok(payload) => payload,
            Err(reason) => {
                return Err(SubmitError::new(
                    argument,
                    SubmitReason::BadArgument { reason },
                ));
            }
        };
        let options = options.unwrap_or(&self.inner.task);
        let submission = Submission {
            task: task.id(),
            name,
            number: 0,
            spec: Spec {
                len: payload.bytes().len(),
                retries: options.retries,
                timeout: options.timeout,
                deadline: options.deadline,
                priority: options.priority,
            },
            argument: Arc::new(payload),
            sink,
            at: Instant::now(),
        };
        self.inner
            .push(submission, deadline)
            .map_err(|reason| SubmitError::new(argument, reason))
    }
}

/// A function bound to an exchange, made by [`Exchange::manage`].
#[derive(Clone, Debug)]
pub struct Managed<A, R> {
    exchange: Exchange,
    task: Task<A, R>,
}

impl<A: Serialize, R> Managed<A, R> {
    /// Starts a call, waiting while the backlog is full.
    ///
    /// # Errors
    ///
    /// As [`Exchange::submit`].
    pub fn start(&self, argument: A) -> Result<Handle<R>, SubmitError<A>> {
        self.exchange.submit(self.task, argument)
    }
}

impl Inner {
    fn push(&self, mut submission: Submission, deadline: Deadline) -> Result<(), SubmitReason> {
        let mut inbox = lock(&self.shared.inbox);
        while inbox.unfinished >= self.shared.backlog && !inbox.is_closed {
            if deadline == Deadline::Now {
                return Err(SubmitReason::Full);
            }
            inbox.waiters += 1;
            match wait(&self.shared.room, inbox, deadline) {
                Some(woken) => inbox = woken,
                None => {
                    lock(&self.shared.inbox).waiters -= 1;
                    return Err(SubmitReason::Timeout);
                }
            }
            inbox.waiters -= 1;
        }
        if inbox.is_closed {
            return Err(SubmitReason::Closed);
        }
        inbox.unfinished += 1;
        inbox.submitted += 1;
        submission.number = inbox.submitted;
        inbox.queue.push(submission);
        let first = !std::mem::replace(&mut inbox.is_scheduled, true);
        drop(inbox);
        if first {
            let taken = self.poster.post(|ctx| ctx.state.take_in(ctx.registry));
            if taken.is_err() {
                self.shared.close();
            }
        }
        Ok(())
    }

    fn end(&self, cancel: bool) {
        let _ = self.poster.post(move |ctx| {
            ctx.state.take_in(ctx.registry);
            if cancel {
                ctx.state.event(Event::CancelAll, ctx.registry);
            }
            ctx.state.event(Event::Close, ctx.registry);
        });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end(true);
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("unfinished", &self.unfinished())
            .finish_non_exhaustive()
    }
}
