//! Results in the order in which they come.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_core::Deadline;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::outcome::{Collector, Outcome, Sink};
use crate::{Exchange, IntoTask, SubmitError, TaskError};

/// Results of tasks that may be different functions with one type of result, in the order in which
/// they end.
///
/// As an iterator it ends when every task started so far has given its result; after more were
/// started it can be iterated over again. Dropping a queue cancels what has not ended.
pub struct Queue<R> {
    exchange: Exchange,
    collector: Arc<Collector>,
    arrived: VecDeque<(u64, Outcome)>,
    started: u64,
    taken: u64,
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

    fn recv_by(&mut self, deadline: Deadline) -> Option<(u64, Result<R, TaskError>)> {
        if self.taken == self.started {
            return None;
        }
        if self.arrived.is_empty() && !self.collector.take(&mut self.arrived, deadline) {
            return None;
        }
        let (number, outcome) = self.arrived.pop_front()?;
        self.taken += 1;
        Some((number, outcome.into_result()))
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
