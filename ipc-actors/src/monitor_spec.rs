//! How a pool is to be.

use std::fmt;
use std::time::Duration;

use crate::{Actor, PoolOptions, Spec};

/// A pool as it is to be started by [`Arbiter::monitor`](crate::Arbiter::monitor).
pub struct MonitorSpec<A: Actor> {
    pub(crate) name: String,
    pub(crate) worker: Spec<A>,
    pub(crate) options: PoolOptions,
    pub(crate) terms: Terms,
    pub(crate) wear: Wear,
}

/// How a pool's work is given to its workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) backlog: usize,
    pub(crate) queue_max: usize,
    pub(crate) deliveries_max: u32,
    pub(crate) requests_max: u64,
    pub(crate) requests_jitter: u64,
}

/// When a worker has lived long enough, whatever it has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wear {
    /// Bytes of memory.
    pub(crate) memory: Option<u64>,
    /// Its age, and how much more it may be at random.
    pub(crate) age: Option<(Duration, Duration)>,
}

impl<A: Actor> MonitorSpec<A> {
    /// A pool of `size` workers, each of which has one message at hand and one more waiting. A
    /// thousand messages may wait in the pool. A message that was begun by a worker that died is given
    /// to another, twice in all.
    #[must_use]
    pub fn new(name: impl Into<String>, worker: Spec<A>, size: usize) -> Self {
        let options = PoolOptions {
            size,
            shutdown: worker.policy.shutdown,
            start_timeout: worker.policy.start_timeout,
            ..PoolOptions::default()
        };
        Self {
            name: name.into(),
            worker,
            options,
            terms: Terms {
                backlog: 2,
                queue_max: 1024,
                deliveries_max: 2,
                requests_max: u64::MAX,
                requests_jitter: 0,
            },
            wear: Wear::default(),
        }
    }

    /// How failures are counted and new workers put off, and how many are replaced at once.
    #[must_use]
    pub fn options(mut self, change: impl FnOnce(&mut PoolOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// How many messages a worker has at a time, at least one. With one, a worker waits for the next
    /// while its answer travels.
    #[must_use]
    pub fn backlog(mut self, messages: usize) -> Self {
        self.terms.backlog = messages.max(1);
        self
    }

    /// How many messages may wait in the pool, at least one.
    #[must_use]
    pub fn queue_max(mut self, messages: usize) -> Self {
        self.terms.queue_max = messages.max(1);
        self
    }

    /// How often a message is given to a worker that dies of it, or with it, before its asker is
    /// told [`Started`](crate::AskError::Started). Two unless changed: what a killed worker had begun is
    /// done by another, and what kills its workers kills no third. One never repeats what may have had
    /// effects. Messages that only waited in a worker that died are not counted.
    #[must_use]
    pub fn deliveries_max(mut self, times: u32) -> Self {
        self.terms.deliveries_max = times.max(1);
        self
    }

    /// Replace each worker after this many messages and up to `jitter` more, drawn at random so that
    /// not all are replaced together; zero for never. Its successor is up before it goes.
    #[must_use]
    pub fn requests_max(mut self, messages: u64, jitter: u64) -> Self {
        self.terms.requests_max = if messages == 0 { u64::MAX } else { messages };
        self.terms.requests_jitter = jitter;
        self
    }

    /// Replace a worker whose process has more than this many bytes of memory resident, looked at once
    /// a second. Its successor is up before it goes, and no message is lost. Only for workers in
    /// processes, and where the system tells ([`SystemInfo`](crate::SystemInfo)).
    #[must_use]
    pub fn memory_max(mut self, bytes: u64) -> Self {
        self.wear.memory = Some(bytes);
        self
    }

    /// Replace a worker when it is this old, and up to `jitter` older, drawn at random; looked at once a
    /// second. Its successor is up before it goes, and no message is lost.
    #[must_use]
    pub fn age_max(mut self, age: Duration, jitter: Duration) -> Self {
        self.wear.age = Some((age, jitter));
        self
    }
}

impl<A: Actor> Clone for MonitorSpec<A> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            worker: self.worker.clone(),
            options: self.options,
            terms: self.terms,
            wear: self.wear,
        }
    }
}

impl<A: Actor> fmt::Debug for MonitorSpec<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MonitorSpec")
            .field("name", &self.name)
            .field("worker", &self.worker)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
