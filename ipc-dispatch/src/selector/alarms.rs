//! Alarms of a loop.

use std::time::{Duration, Instant};

use super::{Context, Registry};
use crate::Next;
use crate::scheduler::{AlarmId, Lane};

type Ring<S> = Box<dyn FnMut(&mut Context<'_, S>) -> Next>;

/// An alarm inside: its answer is already in its general form.
pub(crate) struct Alarm<S> {
    pub(super) ring: Ring<S>,
    /// Whether it leaves the loop free to end.
    pub(crate) background: bool,
}

impl<S: 'static> Registry<S> {
    /// Rings after `delay`, counted from [`now`](Self::now). What the handler returns says when
    /// again: see [`Next`]. Alarms ring in the order of their deadlines, equal ones in the order in
    /// which they were armed, in milliseconds rounded up.
    pub fn alarm<N, F>(&mut self, delay: Duration, handler: F) -> AlarmId
    where
        N: Into<Next>,
        F: FnMut(&mut Context<'_, S>) -> N + 'static,
    {
        let now = self.now();
        // A deadline that cannot be represented is as good as a century away.
        let century = Duration::from_secs(100 * 366 * 86_400);
        let due = now.checked_add(delay).unwrap_or(now + century);
        self.alarm_at(due, handler)
    }

    /// Like [`alarm`](Self::alarm), at an instant.
    pub fn alarm_at<N, F>(&mut self, due: Instant, handler: F) -> AlarmId
    where
        N: Into<Next>,
        F: FnMut(&mut Context<'_, S>) -> N + 'static,
    {
        self.alarms.arm(due, boxed(handler))
    }

    /// Makes a lane for alarms that all wait for `duration`. See [`crate::Scheduler::lane`].
    pub fn lane(&mut self, duration: Duration) -> Lane {
        self.alarms.lane(duration)
    }

    /// Like [`alarm`](Self::alarm), after the lane's duration.
    pub fn alarm_in<N, F>(&mut self, lane: Lane, handler: F) -> AlarmId
    where
        N: Into<Next>,
        F: FnMut(&mut Context<'_, S>) -> N + 'static,
    {
        let now = self.now();
        self.alarms.arm_in(lane, now, boxed(handler))
    }

    /// Takes an alarm away; it does not ring even if it is due in the same pass. Answers whether it
    /// was armed or ringing.
    pub fn cancel(&mut self, id: AlarmId) -> bool {
        let there = self.alarms.contains(id);
        if self.alarms.cancel(id).is_some_and(|alarm| alarm.background) {
            self.background_alarms -= 1;
        }
        there
    }

    /// When the next alarm rings.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.alarms.next_deadline()
    }

    /// The time, read once per pass: all alarms that ring together see the same.
    pub fn now(&mut self) -> Instant {
        *self.now.get_or_insert_with(|| self.driver.now())
    }
}

fn boxed<S, N, F>(mut handler: F) -> Alarm<S>
where
    N: Into<Next>,
    F: FnMut(&mut Context<'_, S>) -> N + 'static,
{
    Alarm {
        ring: Box::new(move |context| handler(context).into()),
        background: false,
    }
}
