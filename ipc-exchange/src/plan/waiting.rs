//! Jobs that have not been sent to a worker.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::JobKey;

/// First in, first out within a priority; higher priorities first.
///
/// A cancelled job is not searched for: its owner stops using the ticket, and whoever pops the entry
/// compares tickets.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    lanes: BTreeMap<Reverse<i8>, VecDeque<(u64, JobKey)>>,
    /// Jobs that are to wait before they are tried again, by when and ticket.
    delayed: BTreeMap<(Instant, u64), (JobKey, i8)>,
    next_ticket: u64,
}

impl Waiting {
    /// Puts a job at the end of its lane.
    pub(crate) fn push_back(&mut self, job: JobKey, priority: i8) -> u64 {
        let ticket = self.ticket();
        self.lane(priority).push_back((ticket, job));
        ticket
    }

    /// Puts a job at the front of its lane: it had its turn and lost it through no fault of its own.
    pub(crate) fn push_front(&mut self, job: JobKey, priority: i8) -> u64 {
        let ticket = self.ticket();
        self.lane(priority).push_front((ticket, job));
        ticket
    }

    /// Puts a job aside until `when`.
    pub(crate) fn delay(&mut self, job: JobKey, priority: i8, when: Instant) -> u64 {
        let ticket = self.ticket();
        self.delayed.insert((when, ticket), (job, priority));
        ticket
    }

    /// Moves the jobs whose delay is over to the front of their lanes; their tickets stay.
    pub(crate) fn mature(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            let (when, ticket) = *entry.key();
            if when > now {
                break;
            }
            let (job, priority) = entry.remove();
            self.lane(priority).push_front((ticket, job));
        }
    }

    /// When the next delayed job is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.delayed.keys().next().map(|(when, _)| *when)
    }

    /// Takes the next job with its ticket.
    pub(crate) fn pop(&mut self) -> Option<(u64, JobKey)> {
        let mut lane = self.lanes.first_entry()?;
        let popped = lane.get_mut().pop_front();
        if lane.get().is_empty() && self.lanes.len() > 1 {
            self.lanes.pop_first();
            return popped.or_else(|| self.pop());
        }
        popped
    }

    fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    fn lane(&mut self, priority: i8) -> &mut VecDeque<(u64, JobKey)> {
        self.lanes.entry(Reverse(priority)).or_default()
    }
}
