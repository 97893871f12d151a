//! How a selector is made, and what it counts.

use std::io;
use std::time::{Duration, Instant};

use super::Selector;

/// What happens when a handler, alarm or task panics.
///
/// In each case the one that panicked is gone, everything else is where it was, and siblings that
/// were ready in the same pass still run, once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PanicPolicy {
    /// The panic goes on out of [`turn`](Selector::turn) or [`run`](Selector::run), which can be
    /// called again.
    #[default]
    Propagate,
    /// The panic goes to the hook of [`on_panic`](crate::Registry::on_panic) and the loop goes on.
    Contain,
    /// The process aborts.
    Abort,
}

/// Options of a [`Selector`].
///
/// ```
/// use ipc_dispatch::{PanicPolicy, SelectorOptions};
///
/// let selector = SelectorOptions::new().panics(PanicPolicy::Contain).open::<()>()?;
/// # drop(selector);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SelectorOptions {
    pub(crate) panics: PanicPolicy,
    pub(crate) events_max: usize,
    pub(crate) tasks_max: usize,
    pub(crate) alarms_max: usize,
    pub(crate) busy_max: Duration,
    pub(crate) posts_max: usize,
    pub(crate) spin: Duration,
}

impl Default for SelectorOptions {
    fn default() -> Self {
        Self {
            panics: PanicPolicy::Propagate,
            events_max: 1024,
            tasks_max: 1024,
            alarms_max: 1024,
            busy_max: Duration::from_millis(10),
            posts_max: usize::MAX,
            spin: default_spin(),
        }
    }
}

impl SelectorOptions {
    /// The defaults: 1024 events, tasks and alarms a turn, 10 ms of a busy turn before alarms get
    /// another chance, an unbounded queue of posts, panics go on.
    pub fn new() -> Self {
        Self::default()
    }

    /// What happens when a handler panics.
    #[must_use]
    pub fn panics(mut self, policy: PanicPolicy) -> Self {
        self.panics = policy;
        self
    }

    /// How many events one turn takes from the system, at least 1.
    #[must_use]
    pub fn events_max(mut self, count: usize) -> Self {
        self.events_max = count.max(1);
        self
    }

    /// How many posted and deferred tasks, and steps of futures, run in one turn, at least 1 each.
    #[must_use]
    pub fn tasks_max(mut self, count: usize) -> Self {
        self.tasks_max = count.max(1);
        self
    }

    /// How many alarms ring in one turn, at least 1.
    #[must_use]
    pub fn alarms_max(mut self, count: usize) -> Self {
        self.alarms_max = count.max(1);
        self
    }

    /// After how much time of handling events a turn ends early when an alarm or a task waits; the
    /// other events are handled in the next turn.
    #[must_use]
    pub fn busy_max(mut self, limit: Duration) -> Self {
        self.busy_max = limit;
        self
    }

    /// How many posts may wait; [`post`](crate::Poster::post) hands back what does not fit. Several
    /// threads posting at once may exceed it by one each.
    #[must_use]
    pub fn posts_max(mut self, count: usize) -> Self {
        self.posts_max = count;
        self
    }

    /// For how long the loop looks at sources in shared memory before it asks them to ring and
    /// sleeps: 50 us, about the cost of being woken, unless there is one processor only. It stops doing
    /// so while it keeps losing, and never looks again once it sleeps.
    #[must_use]
    pub fn spin(mut self, limit: Duration) -> Self {
        self.spin = limit;
        self
    }

    /// Makes the selector.
    ///
    /// # Errors
    ///
    /// What the system says when it gives no descriptors.
    pub fn open<S: 'static>(self) -> io::Result<Selector<S>> {
        Selector::with_options(self, Instant::now())
    }
}

fn default_spin() -> Duration {
    match std::thread::available_parallelism() {
        Ok(count) if count.get() > 1 => Duration::from_micros(50),
        _ => Duration::ZERO,
    }
}

/// What a selector has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Turns of the loop.
    pub turns: u64,
    /// How often it asked the system, with or without waiting.
    pub waits: u64,
    /// How often it was ready to sleep: asked the system with a time-out other than zero.
    pub sleeps: u64,
    /// Events received about sources.
    pub events: u64,
    /// Runs of handlers of sources.
    pub handlers: u64,
    /// Rings of alarms.
    pub alarms: u64,
    /// Posted, deferred and idle tasks run.
    pub tasks: u64,
    /// Errors that dropped a handler or a source.
    pub errors: u64,
    /// Panics caught.
    pub panics: u64,
    /// Events about registrations that are gone.
    pub stale: u64,
}
