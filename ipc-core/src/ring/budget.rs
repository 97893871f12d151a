//! How long to spin before sleeping: a pure state machine fed with outcomes.

use std::time::Duration;

/// How a side of a ring waits for the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Spins for about as long as one wake takes, as measured, then sleeps. Does not spin when only
    /// one processor may be used, and ever less when spinning keeps losing.
    #[default]
    Adaptive,
    /// Sleeps at once: no processor time is spent on waiting.
    Park,
    /// Spins until its deadline. The lowest latency, for a processor of its own.
    Spin,
}

/// What one wake costs until the first was measured.
const WAKE_GUESS: Duration = Duration::from_micros(50);
/// Bounds on what is believed of a measurement; the stamp it is made from is the peer's word.
const WAKE_MIN: Duration = Duration::from_micros(4);
const WAKE_MAX: Duration = Duration::from_micros(100);
/// So many lost spins in a row halve the budget.
const LOSSES_MAX: u32 = 4;
/// A budget below this is not worth its clock reads.
const BUDGET_MIN: Duration = Duration::from_micros(1);
/// Every so many waits a reduced budget tries the full one, to notice that the peer is quick again.
const PROBE_EVERY: u32 = 32;

/// How long [`Wait::Adaptive`] spins.
#[derive(Clone, Debug)]
pub(crate) struct SpinBudget {
    /// The measured cost of one wake: spinning longer than that loses more than it can win.
    wake: Duration,
    /// `wake` halved this many times.
    halvings: u32,
    losses: u32,
    waits: u32,
}

impl SpinBudget {
    pub(crate) fn new() -> Self {
        Self {
            wake: WAKE_GUESS,
            halvings: 0,
            losses: 0,
            waits: 0,
        }
    }

    /// The budget of the next wait.
    pub(crate) fn next(&mut self) -> Duration {
        self.waits = self.waits.wrapping_add(1);
        if self.halvings == 0 || self.waits.is_multiple_of(PROBE_EVERY) {
            return self.wake;
        }
        let reduced = self.wake / (1 << self.halvings.min(16));
        if reduced < BUDGET_MIN {
            Duration::ZERO
        } else {
            reduced
        }
    }

    /// The peer answered while this side was spinning.
    pub(crate) fn won(&mut self) {
        self.losses = 0;
        self.halvings = 0;
    }

    /// The budget ran out.
    pub(crate) fn lost(&mut self) {
        self.losses += 1;
        if self.losses >= LOSSES_MAX {
            self.losses = 0;
            self.halvings = (self.halvings + 1).min(16);
        }
    }

    /// A wake took this long from the peer's call to this side's return.
    pub(crate) fn measured(&mut self, wake: Duration) {
        let wake = wake.clamp(WAKE_MIN, WAKE_MAX);
        self.wake = (self.wake * 7 + wake) / 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losing_ends_the_spin_and_one_win_restores_it() {
        let mut budget = SpinBudget::new();
        assert_eq!(budget.next(), WAKE_GUESS);
        let mut waits = 0;
        while budget.next() != Duration::ZERO {
            budget.lost();
            waits += 1;
            assert!(waits < 64, "a losing spin must end");
        }
        // It still looks now and then whether the peer is quick again.
        assert!((0..PROBE_EVERY).any(|_| budget.next() == WAKE_GUESS));
        budget.won();
        assert_eq!(budget.next(), WAKE_GUESS);
    }

    #[test]
    fn forged_measurements_stay_within_bounds() {
        let mut budget = SpinBudget::new();
        for _ in 0..100 {
            budget.measured(Duration::MAX);
        }
        assert!(budget.next() <= WAKE_MAX);
        for _ in 0..100 {
            budget.measured(Duration::ZERO);
        }
        assert!(budget.next() >= WAKE_MIN / 2);
    }
}
