//! Who has others change something.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::{ActorId, Arbiter};

/// Who wanted something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Caller {
    /// Another program, over a [`Listener`](crate::Listener).
    Remote {
        /// The connection's number, counted by its listener from 1.
        connection: u64,
        /// Which key it has proved: as it was named, or its number among those without a name.
        key: Option<String>,
        /// The user it runs as, where the kernel tells.
        user: Option<u32>,
        /// Its process, where the kernel tells.
        process: Option<u32>,
        /// Where it comes from, where that has an address.
        address: Option<String>,
    },
    /// An actor in a process of its own.
    Actor(ActorId),
}

/// What was wanted. No value of a setting and no key is ever in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deed {
    /// More rights for the connection, by proving a key.
    Auth,
    /// To spawn what was offered by this name, or an actor of this kind.
    Spawn(String),
    /// To end an actor.
    Stop(ActorId),
    /// To kill an actor's present incarnation.
    Kill(ActorId),
    /// To change the setting of this name.
    Config(String),
    /// To run what was offered by this name.
    Run(String),
    /// To replace the workers of all pools.
    Reload,
    /// To end the arbiter.
    Shutdown,
}

/// One entry of the [audit](Arbiter::audit).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Audit {
    /// When, by the clock on the wall.
    pub at: SystemTime,
    /// Who.
    pub caller: Caller,
    /// What.
    pub deed: Deed,
    /// Whether it was allowed. Whether it then succeeded is not known yet.
    pub allowed: bool,
}

/// What [`Arbiter::audit`] tells, from that moment on.
///
/// Nothing waits for those who listen: what found no room is counted and not told.
#[derive(Debug)]
pub struct Audits {
    receiver: Receiver<Audit>,
    missed: Arc<AtomicU64>,
}

impl Audits {
    /// The next entry, waiting for it; `None` when the arbiter is gone.
    pub fn recv(&self) -> Option<Audit> {
        self.receiver.recv().ok()
    }

    /// The next entry if there is one.
    pub fn try_recv(&self) -> Option<Audit> {
        self.receiver.try_recv().ok()
    }

    /// The next entry, waiting for it no longer than `timeout`.
    pub fn recv_timeout(&self, timeout: Duration) -> Option<Audit> {
        self.receiver.recv_timeout(timeout).ok()
    }

    /// [`recv_timeout`](Self::recv_timeout) until `deadline`.
    pub fn recv_deadline(&self, deadline: Instant) -> Option<Audit> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.recv_timeout(left)
    }

    /// How many entries found no room.
    pub fn missed(&self) -> u64 {
        // Relaxed: a count that orders nothing.
        self.missed.load(Ordering::Relaxed)
    }
}

impl Iterator for Audits {
    type Item = Audit;

    fn next(&mut self) -> Option<Audit> {
        self.recv()
    }
}

type Listener = (SyncSender<Audit>, Arc<AtomicU64>);

/// Those who listen.
#[derive(Debug, Default)]
pub(crate) struct Auditors {
    /// Whether there are any, so that nobody pays for it as long as nobody listens.
    any: AtomicBool,
    listeners: Mutex<Vec<Listener>>,
}

impl Auditors {
    fn add(&self, capacity: usize) -> Audits {
        let (sender, receiver) = sync_channel(capacity.max(1));
        let missed = Arc::new(AtomicU64::new(0));
        let mut listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        listeners.push((sender, Arc::clone(&missed)));
        // Relaxed: who wants something at the same time may be told of or not.
        self.any.store(true, Ordering::Relaxed);
        Audits { receiver, missed }
    }

    /// Tells those who listen. `who` is not asked when nobody does.
    pub(crate) fn tell(
        &self,
        allowed: bool,
        deed: impl FnOnce() -> Deed,
        who: impl FnOnce() -> Caller,
    ) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let audit = Audit {
            at: SystemTime::now(),
            caller: who(),
            deed: deed(),
            allowed,
        };
        let mut listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|(sender, missed)| match sender.try_send(audit.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                missed.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        });
        self.any.store(!listeners.is_empty(), Ordering::Relaxed);
    }
}

/// So much of a name that a peer has chosen is told.
const NAME_LEN_MAX: usize = 64;

/// A name that a peer has chosen, cut to a length that fits a log. Whoever prints it must escape it,
/// as `{:?}` does.
pub(crate) fn brief(name: &str) -> String {
    name.chars().take(NAME_LEN_MAX).collect()
}

impl Arbiter {
    /// Tells of everything that other programs and actors in processes have this arbiter do: who wants
    /// to spawn, stop, kill, run or change something, allowed or not, as entries of which up to
    /// `capacity` wait to be taken. What the program itself does is not told.
    ///
    /// ```no_run
    /// # fn of(arbiter: &ipc_actors::Arbiter) {
    /// let audits = arbiter.audit(1024);
    /// std::thread::spawn(move || {
    ///     for audit in audits {
    ///         eprintln!("{audit:?}");
    ///     }
    /// });
    /// # }
    /// ```
    #[must_use]
    pub fn audit(&self, capacity: usize) -> Audits {
        self.shared.auditors.add(capacity)
    }
}
