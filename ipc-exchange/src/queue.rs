//! Results in the order in which they come.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ipc_core::Deadline;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::decode;
use crate::outcome::{Arrival, Collector, NO_KEY, Sink};
use crate::task::{path, signature};
use crate::wire::CREDIT;
use crate::{Exchange, IntoTask, SubmitError, Task, TaskError, TaskId, Yield};

/// Results of tasks that may be different functions with one type of result, in the order in which
/// they end.
///
/// As an iterator it ends when every task started so far has given its result; after more were
/// started it can be iterated over again. Dropping a queue cancels what has not ended.
pub struct Queue<R> {
    exchange: Exchange,
    collector: Arc<Collector>,
    arrived: VecDeque<(u64, Arrival)>,
    started: u64,
    taken: u64,
    /// Streaming tasks that have not ended: their keys, and the items taken since the last credit.
    streams: HashMap<u64, (Arc<AtomicUsize>, u32)>,
    result: PhantomData<fn() -> R>,
}

impl<R> Queue<R> {
    pub(crate) fn new(exchange: Exchange) -> Self {
        Self {
            exchange,
            collector: Arc::default(),
            arrived: VecDeque::new(),
            started: 0,
            taken: 0,
            streams: HashMap::new(),
            result: PhantomData,
        }
    }

    /// Starts a task, waiting while the exchange's backlog is full. Answers its number in this
    /// queue, from 0.
    ///
    /// # Errors
    ///
    /// As [`Exchange::submit`].
    pub fn start<A: Serialize>(
        &mut self,
        task: impl IntoTask<A, R>,
        argument: A,
    ) -> Result<u64, SubmitError<A>> {
        let number = self.started;
        let sink = Sink::Collector(Arc::clone(&self.collector), number);
        let task = task.into_task();
        self.exchange
            .place(task, argument, None, sink, Deadline::Never)?;
        self.started += 1;
        Ok(number)
    }

    /// Starts a streaming task, `fn(A, Yield<R>)`: every item it yields is a result. Its own end is
    /// none, unless it fails. If it is lost and tried again, its items come again.
    ///
    /// # Errors
    ///
    /// As [`Exchange::submit`].
    pub fn start_stream<F, A>(&mut self, task: F, argument: A) -> Result<u64, SubmitError<A>>
    where
        F: Fn(A, Yield<R>) + Copy + 'static,
        A: Serialize,
    {
        let _ = task;
        let name = path::<F>();
        let id = TaskId::new(name, &signature::<A, Yield<R>>());
        let task = Task::<A, ()>::from_parts(id, name);
        let number = self.started;
        let key = Arc::new(AtomicUsize::new(NO_KEY));
        let sink = Sink::Stream(Arc::clone(&self.collector), number, Arc::clone(&key));
        self.exchange
            .place(task, argument, None, sink, Deadline::Never)?;
        self.streams.insert(number, (key, 0));
        self.started += 1;
        Ok(number)
    }

    /// Results that have come and were not taken.
    pub fn len(&self) -> usize {
        self.arrived.len() + self.collector.len()
    }

    /// Whether no result waits to be taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tasks started whose results were not taken.
    pub fn unfinished(&self) -> u64 {
        self.started - self.taken
    }
}

impl<R: DeserializeOwned> Queue<R> {
    /// The next result with its number, waiting for it; `None` when every result was taken.
    pub fn recv(&mut self) -> Option<(u64, Result<R, TaskError>)> {
        self.recv_by(Deadline::Never)
    }

    /// The next result if one is there.
    pub fn try_recv(&mut self) -> Option<(u64, Result<R, TaskError>)> {
        self.recv_by(Deadline::Now)
    }

    /// The next result, waiting for it no longer than `timeout`.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Option<(u64, Result<R, TaskError>)> {
        self.recv_by(Deadline::after(timeout))
    }

    /// [`recv_timeout`](Self::recv_timeout) until `deadline`.
    pub fn recv_deadline(&mut self, deadline: Instant) -> Option<(u64, Result<R, TaskError>)> {
        self.recv_by(Deadline::At(deadline))
    }

    /// Waits for results, for no longer than `timeout` if there is one, and gives all that came to
    /// `store` with their numbers. Answers whether there were any.
    pub fn store(
        &mut self,
        timeout: Option<Duration>,
        mut store: impl FnMut(u64, Result<R, TaskError>),
    ) -> bool {
        let deadline = timeout.map_or(Deadline::Never, Deadline::after);
        let Some((number, result)) = self.recv_by(deadline) else {
            return false;
        };
        store(number, result);
        while let Some((number, result)) = self.try_recv() {
            store(number, result);
        }
        true
    }

    /// Gives every result of what was started to `store`, with its number.
    pub fn finish(&mut self, mut store: impl FnMut(u64, Result<R, TaskError>)) {
        while let Some((number, result)) = self.recv() {
            store(number, result);
        }
    }

    fn recv_by(&mut self, deadline: Deadline) -> Option<(u64, Result<R, TaskError>)> {
        loop {
            if self.taken == self.started {
                return None;
            }
            if self.arrived.is_empty() && !self.collector.take(&mut self.arrived, deadline) {
                return None;
            }
            let (number, arrival) = self.arrived.pop_front()?;
            match arrival {
                Arrival::Item(value) => {
                    self.grant(number);
                    match decode(value.bytes()) {
                        Ok(item) => return Some((number, Ok(item))),
                        // The types are the same on both sides, or the hand-shake had failed; only
                        // a `Deserialize` that refuses what its `Serialize` wrote gets here.
                        Err(_) => continue,
                    }
                }
                // A queue has no chunks.
                Arrival::Part(..) => {}
                Arrival::End(outcome) => {
                    self.taken += 1;
                    let is_stream = self.streams.remove(&number).is_some();
                    if !is_stream || outcome.result.is_err() {
                        return Some((number, outcome.into_result()));
                    }
                }
            }
        }
    }

    /// An item was taken: now and then the task is told that it may yield more.
    fn grant(&mut self, number: u64) {
        let Some((key, taken)) = self.streams.get_mut(&number) else {
            return;
        };
        *taken += 1;
        if *taken < CREDIT / 2 {
            return;
        }
        let count = std::mem::take(taken);
        let key = Arc::clone(key);
        // A loop that is gone has ended the task.
        let _ = self.exchange.poster().post(move |ctx| {
            let key = key.load(Ordering::Relaxed);
            if key != NO_KEY {
                ctx.state.grant(key, count, ctx.registry);
            }
        });
    }
}

impl<R: DeserializeOwned> Iterator for Queue<R> {
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.recv().map(|(_, result)| result)
    }
}

impl<R> Drop for Queue<R> {
    fn drop(&mut self) {
        if self.taken < self.started {
            let collector = Arc::clone(&self.collector);
            // A loop that is gone has ended every task.
            let _ = self
                .exchange
                .poster()
                .post(move |ctx| ctx.state.cancel_collected(&collector, ctx.registry));
        }
    }
}

impl<R> fmt::Debug for Queue<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("len", &self.len())
            .field("unfinished", &self.unfinished())
            .finish_non_exhaustive()
    }
}
