//! What comes of a job, on its way from the exchange's thread to its owner.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use ipc_core::Deadline;
use serde::de::DeserializeOwned;

use crate::chunk::Part;
use crate::codec::decode;
use crate::payload::Payload;
use crate::{Cause, Journal, Report, TaskError, TaskId};

/// A finished job: the encoded value, or why there is none.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) about: About,
    /// Whether the value is the `Err` of a `Result`.
    pub(crate) failed: bool,
    pub(crate) result: Result<Payload, Cause>,
}

/// What there is to tell about a job, whatever came of it.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) task: &'static str,
    pub(crate) task_id: TaskId,
    pub(crate) job: u64,
    pub(crate) attempt: u32,
    pub(crate) pid: Option<u32>,
    pub(crate) queued: Duration,
    pub(crate) ran: Duration,
    pub(crate) output: String,
}

impl Outcome {
    /// The value, decoded on the owner's thread.
    pub(crate) fn into_result<R: DeserializeOwned>(self) -> Result<R, TaskError> {
        let value = self.result.as_ref().map(Payload::bytes);
        self.about.result(value.map_err(Clone::clone))
    }
}

impl About {
    /// The decoded value, or the error.
    pub(crate) fn result<R: DeserializeOwned>(
        &self,
        value: Result<&[u8], Cause>,
    ) -> Result<R, TaskError> {
        let decoded =
            value.and_then(|bytes| decode(bytes).map_err(|reason| Cause::BadResult { reason }));
        decoded.map_err(|cause| self.error(cause))
    }

    pub(crate) fn error(&self, cause: Cause) -> TaskError {
        TaskError::new(Report {
            task: self.task,
            task_id: self.task_id,
            job: self.job,
            attempt: self.attempt,
            pid: self.pid,
            queued: self.queued,
            ran: self.ran,
            output: self.output.clone(),
            cause,
        })
    }
}

/// Where an outcome goes.
#[derive(Clone, Debug)]
pub(crate) enum Sink {
    /// To one handle.
    Slot(Arc<Slot>),
    /// To a map or queue, under this number.
    Collector(Arc<Collector>, u64),
    /// The same for a chunk, with the numbers of its arguments.
    Chunk(Arc<Collector>, Arc<[u64]>),
    /// As `Collector`, for a streaming task, whose key is needed to grant it credit.
    Stream(Arc<Collector>, u64, Arc<AtomicUsize>),
}

impl Sink {
    pub(crate) fn complete(self, outcome: Outcome) {
        match self {
            Self::Slot(slot) => slot.complete(outcome),
            Self::Collector(collector, index) => collector.push(index, Arrival::End(outcome)),
            Self::Chunk(collector, numbers) => collector.end_chunk(&numbers, outcome),
            Self::Stream(collector, index, key) => {
                key.store(NO_KEY, Ordering::Relaxed);
                collector.push(index, Arrival::End(outcome));
            }
        }
    }

    /// Hands over an item of a streaming task. From any other it goes nowhere.
    pub(crate) fn item(&self, value: Payload) {
        if let Self::Stream(collector, index, _) = self {
            collector.push(*index, Arrival::Item(value));
        }
    }

    /// Hands over some results of a chunk. From any other task they go nowhere.
    pub(crate) fn part(&self, about: About, part: Part) {
        if let Self::Chunk(collector, numbers) = self {
            collector.part(numbers, about, part);
        }
    }

    /// Whether the task is a chunk.
    pub(crate) fn is_chunk(&self) -> bool {
        matches!(self, Self::Chunk(..))
    }

    /// Where the job's key is to be noted.
    pub(crate) fn key(&self) -> Option<&AtomicUsize> {
        match self {
            Self::Slot(slot) => Some(&slot.key),
            Self::Collector(..) | Self::Chunk(..) => None,
            Self::Stream(_, _, key) => Some(key),
        }
    }

    /// Whether it goes to this map or queue.
    pub(crate) fn is_of(&self, other: &Arc<Collector>) -> bool {
        match self {
            Self::Slot(_) => false,
            Self::Collector(collector, _)
            | Self::Chunk(collector, _)
            | Self::Stream(collector, ..) => Arc::ptr_eq(collector, other),
        }
    }
}

/// What comes to a map or queue.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// One of the results of a streaming task.
    Item(Payload),
    /// Some of the results of a chunk.
    Part(About, Part),
    /// The end of a task; for others than streaming ones and chunks, with its result.
    End(Outcome),
}

/// The key of a job that has not reached the exchange's thread.
pub(crate) const NO_KEY: usize = usize::MAX;

/// One outcome, and whoever waits for it.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The job's key in the plan, for cancelling.
    pub(crate) key: AtomicUsize,
    state: Mutex<SlotState>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct SlotState {
    outcome: Option<Outcome>,
    is_done: bool,
    /// Whether somebody waits: waking nobody would still be a system call.
    waits: bool,
    waker: Option<Waker>,
}

impl Slot {
    pub(crate) fn new() -> Self {
        Self {
            key: AtomicUsize::new(NO_KEY),
            state: Mutex::default(),
            done: Condvar::new(),
        }
    }

    fn complete(&self, outcome: Outcome) {
        self.key.store(NO_KEY, Ordering::Relaxed);
        let mut state = lock(&self.state);
        state.outcome = Some(outcome);
        state.is_done = true;
        let waits = std::mem::take(&mut state.waits);
        let waker = state.waker.take();
        drop(state);
        if waits {
            self.done.notify_all();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        lock(&self.state).is_done
    }

    /// Takes the outcome, waiting for it until `deadline`.
    pub(crate) fn take(&self, deadline: Deadline) -> Option<Outcome> {
        let mut state = lock(&self.state);
        loop {
            if let Some(outcome) = state.outcome.take() {
                return Some(outcome);
            }
            state.waits = true;
            state = wait(&self.done, state, deadline)?;
        }
    }

    /// Takes the outcome, or has `waker` woken when there is one.
    pub(crate) fn poll(&self, waker: &Waker) -> Option<Outcome> {
        let mut state = lock(&self.state);
        let outcome = state.outcome.take();
        if outcome.is_none() {
            state.waker = Some(waker.clone());
        }
        outcome
    }
}

/// The outcomes of a map or queue, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    /// Where ends are written down, under the keys of their tasks.
    journal: Option<Journal>,
    keys: Mutex<HashMap<u64, (u64, u64)>>,
    state: Mutex<CollectorState>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct CollectorState {
    arrivals: VecDeque<(u64, Arrival)>,
    waits: bool,
}

impl Collector {
    pub(crate) fn with_journal(journal: Journal) -> Self {
        Self {
            journal: Some(journal),
            ..Self::default()
        }
    }

    /// Looks a task up in the journal, if there is one: its result, if it has one.
    pub(crate) fn resume(&self, index: u64, task: TaskId, argument: &Payload) -> Option<Payload> {
        let (key, result) = self.journal.as_ref()?.begin(task, argument);
        if result.is_none() {
            lock(&self.keys).insert(index, key);
        }
        result
    }

    /// Whether results are written down.
    pub(crate) fn has_journal(&self) -> bool {
        self.journal.is_some()
    }

    fn push(&self, index: u64, arrival: Arrival) {
        if let (Some(journal), Arrival::End(outcome)) = (&self.journal, &arrival)
            && let Some(key) = lock(&self.keys).remove(&index)
        {
            journal.end([(key, outcome)]);
        }
        self.arrive(index, arrival);
    }

    /// Takes in some results of the chunk whose arguments have these numbers.
    fn part(&self, numbers: &[u64], about: About, part: Part) {
        if let Some(journal) = &self.journal {
            let mut keys = lock(&self.keys);
            let mut ends = Vec::new();
            for single in part.results() {
                let number = numbers.get(single.position);
                // One that an earlier attempt has answered is written down already.
                if let Some(key) = number.and_then(|number| keys.remove(number)) {
                    let about = About {
                        ran: single.ran,
                        ..about.clone()
                    };
                    let outcome = Outcome {
                        about,
                        failed: single.failed,
                        result: single.result.map(Payload::copy),
                    };
                    ends.push((key, outcome));
                }
            }
            drop(keys);
            journal.end(ends.iter().map(|(key, outcome)| (*key, outcome)));
        }
        if let Some(first) = numbers.first() {
            self.arrive(*first, Arrival::Part(about, part));
        }
    }

    /// Takes in the end of the chunk whose arguments have these numbers.
    fn end_chunk(&self, numbers: &[u64], outcome: Outcome) {
        if let Some(journal) = &self.journal {
            let mut keys = lock(&self.keys);
            let left: Vec<_> = numbers.iter().filter_map(|n| keys.remove(n)).collect();
            drop(keys);
            if outcome.result.is_err() {
                journal.end(left.into_iter().map(|key| (key, &outcome)));
            }
        }
        if let Some(first) = numbers.first() {
            self.arrive(*first, Arrival::End(outcome));
        }
    }

    fn arrive(&self, index: u64, arrival: Arrival) {
        let mut state = lock(&self.state);
        state.arrivals.push_back((index, arrival));
        let waits = std::mem::take(&mut state.waits);
        drop(state);
        if waits {
            self.more.notify_all();
        }
    }

    /// Moves everything that has come to `into`, waiting until `deadline` for the first. Answers
    /// whether there was anything.
    pub(crate) fn take(&self, into: &mut VecDeque<(u64, Arrival)>, deadline: Deadline) -> bool {
        let mut state = lock(&self.state);
        loop {
            if !state.arrivals.is_empty() {
                into.append(&mut state.arrivals);
                return true;
            }
            state.waits = true;
            match wait(&self.more, state, deadline) {
                Some(woken) => state = woken,
                None => return false,
            }
        }
    }

    /// Outcomes that have come and were not taken.
    pub(crate) fn len(&self) -> usize {
        lock(&self.state).arrivals.len()
    }
}

/// Locks; a panic of another holder leaves these states whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until woken, or answers `None` at `deadline`.
pub(crate) fn wait<'a, T>(
    condition: &Condvar,
    guard: MutexGuard<'a, T>,
    deadline: Deadline,
) -> Option<MutexGuard<'a, T>> {
    match deadline.remaining() {
        None => Some(
            condition
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner),
        ),
        Some(Duration::ZERO) => None,
        Some(left) => {
            let woken = condition.wait_timeout(guard, left);
            Some(woken.unwrap_or_else(PoisonError::into_inner).0)
        }
    }
}

/// How long ago, never negative.
pub(crate) fn between(from: Instant, to: Instant) -> Duration {
    to.saturating_duration_since(from)
}
