//! How long a restart is put off.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a restart is put off: the first by `min`, each further one twice as long up to `max`,
/// made longer by a random part of up to `jitter_percent`, until the child has run for `stable`.
///
/// The rule is Akka's `restartWithBackoff`. It works inside the count of restarts: a restart that
/// waits is counted when the child fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// The delay of the first restart.
    pub min: Duration,
    /// The delay that is never exceeded, the random part aside.
    pub max: Duration,
    /// How much may be added at random, in percent of the delay.
    pub jitter_percent: u8,
    /// A child that ran for this long starts again with `min`.
    pub stable: Duration,
}

impl Backoff {
    /// Restarts are not put off.
    pub const NONE: Self = Self {
        min: Duration::ZERO,
        max: Duration::ZERO,
        jitter_percent: 0,
        stable: Duration::ZERO,
    };

    /// The delay before the restart that follows `failures` failures in a row (1 for the first).
    /// `random` is any number; it picks the random part.
    #[must_use]
    pub fn delay(&self, failures: u32, random: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let base = self
            .min
            .saturating_mul(1 << doublings)
            .min(self.max.max(self.min));
        let permille = u64::from(random % 1001) * u64::from(self.jitter_percent) / 100;
        let extra = u128::from(permille) * base.as_nanos() / 1000;
        base.saturating_add(Duration::from_nanos(
            u64::try_from(extra).unwrap_or(u64::MAX),
        ))
    }
}

impl Default for Backoff {
    /// 100 ms, doubled up to 10 s, up to 20 % longer, reset by 30 s of running.
    fn default() -> Self {
        Self {
            min: Duration::from_millis(100),
            max: Duration::from_secs(10),
            jitter_percent: 20,
            stable: Duration::from_secs(30),
        }
    }
}
