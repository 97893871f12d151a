//! Sources in shared memory: looked at by the loop, and asked to ring only when it sleeps.

use std::time::Duration;

use super::registry::Registry;
use super::slots::State;
use super::{Event, SourceId};

/// How many sleeps in a row must end otherwise before looking longer is given up.
const CREDIT_MAX: u32 = 8;

/// How often it is tried again after that.
const RETRY_EVERY: u32 = 64;

/// How many looks are taken between two readings of the clock.
const LOOKS: u32 = 32;

/// Whether it is worth looking for a while before a sleep.
#[derive(Debug)]
pub(super) struct Patience {
    credit: u32,
    since: u32,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self {
            credit: CREDIT_MAX,
            since: 0,
        }
    }

    fn is_worthwhile(&mut self) -> bool {
        if self.credit > 0 {
            return true;
        }
        self.since += 1;
        if self.since < RETRY_EVERY {
            return false;
        }
        self.since = 0;
        true
    }

    fn learn(&mut self, won: bool) {
        self.credit = if won {
            CREDIT_MAX
        } else {
            self.credit.saturating_sub(1)
        };
    }
}

impl<S: 'static> Registry<S> {
    /// Looks at every source in shared memory once, and marks those that can be read.
    pub(super) fn poll_shared(&mut self) -> bool {
        let mut any = false;
        let mut index = 0;
        while let Some(id) = self.polled.get(index).copied() {
            let Some(slot) = self.slots.live_mut(id).filter(|slot| slot.polled) else {
                self.polled.swap_remove(index);
                continue;
            };
            index += 1;
            if let State::Present(entry) = &mut slot.state
                && entry.poll()
            {
                any = true;
                self.heat(id, Event::READ);
            }
        }
        any
    }

    /// Before a sleep of at most `timeout`: looks for a while, then asks all of them to ring. Answers
    /// whether the loop may sleep.
    pub(super) fn settle_shared(&mut self, timeout: Option<Duration>) -> bool {
        if self.polled.is_empty() {
            return true;
        }
        if self.look_for_a_while(timeout) {
            return false;
        }
        let mut sleeps = true;
        for index in 0..self.polled.len() {
            let id: SourceId = self.polled[index];
            let Some(slot) = self.slots.live_mut(id).filter(|slot| !slot.armed) else {
                continue;
            };
            let State::Present(entry) = &mut slot.state else {
                continue;
            };
            if entry.arm() {
                sleeps = false;
                self.heat(id, Event::READ);
            } else {
                slot.armed = true;
            }
        }
        sleeps
    }

    fn look_for_a_while(&mut self, timeout: Option<Duration>) -> bool {
        let limit = self.options.spin.min(timeout.unwrap_or(Duration::MAX));
        if limit.is_zero() || !self.spinning.is_worthwhile() {
            return false;
        }
        let began = self.driver.now();
        loop {
            for _ in 0..LOOKS {
                if self.poll_shared() {
                    self.spinning.learn(true);
                    return true;
                }
                if self.shared.parking.is_marked() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if self.driver.now().saturating_duration_since(began) >= limit {
                self.spinning.learn(false);
                return false;
            }
        }
    }
}
