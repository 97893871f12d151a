//! The workers that are alive, and what each has in hand.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Ending, Force, JobKey, WorkerKey};

/// How long a worker must have been busy with one job before the ones behind it are taken back for
/// an idle worker: moving a job costs about as much as a wake-up.
const STEAL_AFTER: Duration = Duration::from_micros(200);

/// A job sent to a worker and not answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) job: JobKey,
    /// How many bytes its argument has.
    pub(crate) len: usize,
    /// Taken back; the worker will pass over it and say so.
    pub(crate) recalled: bool,
}

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its process was asked for; the hand-shake is not complete.
    Starting,
    /// Takes jobs.
    Live,
    /// Takes no more jobs; ends once its window is empty.
    Retiring,
    /// Being made to end, with the step reached and when the next one is due.
    Stopping { force: Force, next: Instant },
}

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) phase: Phase,
    /// Jobs in the order they were sent; the first is running or about to.
    pub(crate) window: VecDeque<Sent>,
    /// The sequence number of the first job in the window.
    pub(crate) first_seq: u64,
    /// How many jobs in the window have not been recalled.
    pub(crate) held: usize,
    /// The bytes of their arguments.
    pub(crate) held_len: usize,
    /// When the first job in the window came to the front, or when the worker was last heard of.
    pub(crate) since: Instant,
    /// From when on jobs may be taken back for idle workers.
    pub(crate) steal_from: Instant,
    pub(crate) born: Instant,
    /// Jobs answered.
    pub(crate) answered: u64,
    /// What the job in front ends in, decided before the worker has ended.
    pub(crate) verdict: Option<Ending>,
    /// Whether the hand-shake was ever completed.
    pub(crate) was_ready: bool,
    /// Whether its process was told that no more jobs come.
    pub(crate) dismissed: bool,
}

impl Worker {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Starting,
            window: VecDeque::new(),
            first_seq: 1,
            held: 0,
            held_len: 0,
            since: now,
            steal_from: now + STEAL_AFTER,
            born: now,
            answered: 0,
            verdict: None,
            was_ready: false,
            dismissed: false,
        }
    }

    /// The job in front is another, or the worker was heard of.
    pub(crate) fn progressed(&mut self, now: Instant) {
        self.since = now;
        self.postpone_steal(now);
    }

    pub(crate) fn postpone_steal(&mut self, now: Instant) {
        self.steal_from = now + STEAL_AFTER;
    }

    /// The sequence number the next job sent will have.
    pub(crate) fn next_seq(&self) -> u64 {
        self.first_seq + self.window.len() as u64
    }

    /// The entry with this sequence number.
    pub(crate) fn sent(&mut self, seq: u64) -> Option<&mut Sent> {
        let index = seq.checked_sub(self.first_seq)?;
        self.window.get_mut(usize::try_from(index).ok()?)
    }

    /// Whether it waits for a job and would begin one at once.
    pub(crate) fn is_idle(&self) -> bool {
        self.phase == Phase::Live && self.window.is_empty()
    }

    pub(crate) fn takes_jobs(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Live)
    }
}

/// Workers by key. A key is free again once the worker's process has ended.
#[derive(Debug, Default)]
pub(crate) struct Table {
    workers: Vec<Option<Worker>>,
    len: usize,
}

impl Table {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, worker: Worker) -> WorkerKey {
        self.len += 1;
        if let Some(free) = self.workers.iter().position(Option::is_none) {
            self.workers[free] = Some(worker);
            return WorkerKey(free);
        }
        self.workers.push(Some(worker));
        WorkerKey(self.workers.len() - 1)
    }

    pub(crate) fn remove(&mut self, key: WorkerKey) -> Option<Worker> {
        let worker = self.workers.get_mut(key.0)?.take()?;
        self.len -= 1;
        Some(worker)
    }

    pub(crate) fn get_mut(&mut self, key: WorkerKey) -> Option<&mut Worker> {
        self.workers.get_mut(key.0)?.as_mut()
    }

    pub(crate) fn get(&self, key: WorkerKey) -> Option<&Worker> {
        self.workers.get(key.0)?.as_ref()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (WorkerKey, &Worker)> {
        self.workers
            .iter()
            .enumerate()
            .filter_map(|(index, worker)| Some((WorkerKey(index), worker.as_ref()?)))
    }

    /// Every key that may name a worker. It borrows nothing, so that workers may be changed, and even
    /// leave, while it is gone through.
    pub(crate) fn keys(&self) -> impl Iterator<Item = WorkerKey> + use<> {
        (0..self.workers.len()).map(WorkerKey)
    }
}
