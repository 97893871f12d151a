//! An actor's alarms.

use std::time::{Duration, Instant};

use ipc_dispatch::{AlarmId, Scheduler};

use crate::{Actor, Context};

/// Names an alarm of an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alarm(AlarmId);

/// What an alarm does; it answers after how long it rings again.
pub(crate) type Ring<A> = Box<dyn FnMut(&mut A, &mut Context<'_, A>) -> Option<Duration> + Send>;

/// The alarms of an incarnation. They end with it.
pub(crate) struct Alarms<A: Actor>(Option<Box<Scheduler<Ring<A>>>>);

impl<A: Actor> Alarms<A> {
    /// None, which takes no memory.
    pub(crate) fn new() -> Self {
        Self(None)
    }

    pub(crate) fn arm(&mut self, now: Instant, delay: Duration, ring: Ring<A>) -> Alarm {
        let alarms = self.0.get_or_insert_with(|| Box::new(Scheduler::new(now)));
        // An alarm beyond all time rings in a century.
        let due = now.checked_add(delay).unwrap_or(now + CENTURY);
        Alarm(alarms.arm(due, ring))
    }

    pub(crate) fn cancel(&mut self, Alarm(id): Alarm) -> bool {
        let alarms = self.0.as_mut();
        alarms.is_some_and(|alarms| alarms.cancel(id).is_some())
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.0.as_ref()?.next_deadline()
    }

    pub(crate) fn scheduler(&mut self) -> Option<&mut Scheduler<Ring<A>>> {
        self.0.as_deref_mut()
    }
}

const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
