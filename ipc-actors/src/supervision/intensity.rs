//! How many restarts are too many.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The restarts of the last period, counted exactly.
///
/// A sliding window, not a counter that is reset: crashing for ever at a rate below the limit is
/// allowed for ever. At most `limit + 1` instants are kept.
#[derive(Clone, Debug)]
pub struct Intensity {
    limit: u32,
    period: Duration,
    /// When restarts happened, oldest first; none is older than `period`.
    restarts: VecDeque<Instant>,
}

impl Intensity {
    /// A window that allows `limit` restarts within `period`.
    #[must_use]
    pub fn new(limit: u32, period: Duration) -> Self {
        Self {
            limit,
            period,
            restarts: VecDeque::new(),
        }
    }

    /// Counts a restart at `now` and says whether it is allowed. A restart exactly `period` ago still
    /// counts.
    pub fn record(&mut self, now: Instant) -> bool {
        while let Some(&oldest) = self.restarts.front() {
            if now.saturating_duration_since(oldest) <= self.period {
                break;
            }
            self.restarts.pop_front();
        }
        self.restarts.push_back(now);
        let allowed = self.restarts.len() <= self.limit as usize;
        if !allowed {
            // The caller gives up; should it go on, the window must still be bounded.
            self.restarts.pop_front();
        }
        allowed
    }

    /// How many restarts are in the window as of the last [`record`](Self::record).
    #[must_use]
    pub fn len(&self) -> usize {
        self.restarts.len()
    }

    /// Whether the window is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.restarts.is_empty()
    }
}
