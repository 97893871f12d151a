//! What happens in an exchange, told to whoever wants to know.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::{Cause, Exit};

/// Something that has happened in an [`Exchange`](crate::Exchange).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExchangeEvent {
    /// A worker's process was started.
    WorkerStarted {
        /// Its process id.
        pid: u32,
    },
    /// A worker's process has ended.
    WorkerEnded {
        /// Its process id.
        pid: u32,
        /// How.
        exit: Exit,
    },
    /// A task was sent to a worker, which may still have others before it.
    Sent {
        /// The number of the submission within its exchange, from 1.
        job: u64,
        /// The function's full path.
        task: &'static str,
        /// The worker's process id.
        pid: u32,
        /// How often it was sent to be begun, this time included.
        attempt: u32,
    },
    /// A task has ended.
    Ended {
        /// The number of the submission within its exchange, from 1.
        job: u64,
        /// The function's full path.
        task: &'static str,
        /// From the last start to the end.
        ran: Duration,
        /// Why it has no result, if it has none.
        error: Option<Cause>,
    },
}

/// The events of an exchange from the moment of [`Exchange::events`](crate::Exchange::events) on. It
/// ends with the exchange.
///
/// An exchange never waits for those who listen: what found no room is counted and not told.
#[derive(Debug)]
pub struct Events {
    receiver: Receiver<ExchangeEvent>,
    missed: Arc<AtomicU64>,
}

impl Events {
    /// Those of an exchange that is gone.
    pub(crate) fn ended() -> Self {
        Self {
            // Its other end is dropped here.
            receiver: bounded(1).1,
            missed: Arc::default(),
        }
    }

    /// The next event, waiting for it; `None` when the exchange is gone.
    pub fn recv(&self) -> Option<ExchangeEvent> {
        self.receiver.recv().ok()
    }

    /// The next event if there is one.
    pub fn try_recv(&self) -> Option<ExchangeEvent> {
        self.receiver.try_recv().ok()
    }

    /// The next event, waiting for it no longer than `timeout`.
    pub fn recv_timeout(&self, timeout: Duration) -> Option<ExchangeEvent> {
        self.receiver.recv_timeout(timeout).ok()
    }

    /// [`recv_timeout`](Self::recv_timeout) until `deadline`.
    pub fn recv_deadline(&self, deadline: Instant) -> Option<ExchangeEvent> {
        self.receiver.recv_deadline(deadline).ok()
    }

    /// How many events found no room.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

impl Iterator for Events {
    type Item = ExchangeEvent;

    fn next(&mut self) -> Option<ExchangeEvent> {
        self.recv()
    }
}

/// Those who listen.
#[derive(Debug, Default)]
pub(super) struct Listeners(Vec<(Sender<ExchangeEvent>, Arc<AtomicU64>)>);

impl Listeners {
    pub(super) fn add(&mut self, capacity: usize) -> Events {
        let (sender, receiver) = bounded(capacity.max(1));
        let missed = Arc::new(AtomicU64::new(0));
        self.0.push((sender, Arc::clone(&missed)));
        Events { receiver, missed }
    }

    /// Tells what `event` makes, which is not asked when nobody listens.
    pub(super) fn tell(&mut self, event: impl FnOnce() -> ExchangeEvent) {
        if self.0.is_empty() {
            return;
        }
        let event = event();
        self.0
            .retain(|(sender, missed)| match sender.try_send(event.clone()) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    // Relaxed: a count that orders nothing.
                    missed.fetch_add(1, Ordering::Relaxed);
                    true
                }
                Err(TrySendError::Disconnected(_)) => false,
            });
    }
}
