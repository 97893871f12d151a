//! Trying again: attempts, delays and when to give up.

use std::io;
use std::time::{Duration, Instant};

use crate::{Address, AnyChannel, Deadline};

/// How often and how patiently something is tried again.
///
/// # Examples
///
/// ```no_run
/// use ipc_core::Retry;
/// use std::time::Duration;
///
/// // For a server that is just starting.
/// let retry = Retry::new().attempts(10).delay(Duration::from_millis(10)).growth(2.0);
/// let channel = retry.connect(&"unix:/run/me/socket".parse()?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Retry {
    attempts: u32,
    delay: Duration,
    growth: f64,
    delay_max: Duration,
    deadline: Deadline,
}

impl Default for Retry {
    fn default() -> Self {
        Self::new()
    }
}

impl Retry {
    /// Ductworks' rule: 3 attempts, 3 s apart, without growth; delays of at most a minute and no
    /// deadline.
    pub fn new() -> Self {
        Self {
            attempts: 3,
            delay: Duration::from_secs(3),
            growth: 1.0,
            delay_max: Duration::from_secs(60),
            deadline: Deadline::Never,
        }
    }

    /// How often it is tried in all; at least once.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// How long to wait after the first failure.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// By how much each delay is longer than the one before; 1 or less keeps it.
    #[must_use]
    pub fn growth(mut self, factor: f64) -> Self {
        self.growth = factor;
        self
    }

    /// The longest delay, however much it has grown.
    #[must_use]
    pub fn delay_max(mut self, delay: Duration) -> Self {
        self.delay_max = delay;
        self
    }

    /// When to give up, however many attempts are left; it also bounds each attempt.
    #[must_use]
    pub fn deadline(mut self, deadline: impl Into<Deadline>) -> Self {
        self.deadline = deadline.into();
        self
    }

    /// The delays between the attempts: one fewer than there are attempts.
    pub fn delays(&self) -> impl Iterator<Item = Duration> + use<> {
        let growth = if self.growth.is_finite() {
            self.growth.max(1.0)
        } else {
            1.0
        };
        let (mut next, max) = (self.delay.min(self.delay_max), self.delay_max);
        (1..self.attempts).map(move |_| {
            let delay = next;
            let grown = delay.as_secs_f64() * growth;
            next = Duration::try_from_secs_f64(grown).unwrap_or(max).min(max);
            delay
        })
    }

    /// Connects to the port at `address`, trying again while there is none: the path does not exist,
    /// or the connection is refused. Waits in between.
    ///
    /// # Errors
    ///
    /// The last attempt's error; other errors at once; [`TimedOut`](io::ErrorKind::TimedOut).
    pub fn connect(&self, address: &Address) -> io::Result<AnyChannel> {
        let no_port = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            )
        };
        self.run(no_port, || {
            AnyChannel::connect_deadline(address, self.deadline)
        })
    }

    /// Calls `attempt` until it succeeds, fails with an error that is not `worth` another try, or the
    /// attempts or the time are used up. Waits in between.
    ///
    /// # Errors
    ///
    /// The last attempt's error.
    pub fn run<T, E>(
        &self,
        worth: impl Fn(&E) -> bool,
        mut attempt: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut delays = self.delays();
        loop {
            let error = match attempt() {
                Err(error) if worth(&error) => error,
                result => return result,
            };
            let Some(delay) = delays.next() else {
                return Err(error);
            };
            // A delay beyond the deadline cannot lead to another attempt.
            if self
                .deadline
                .remaining()
                .is_some_and(|remaining| remaining <= delay)
            {
                return Err(error);
            }
            pause(Instant::now() + delay);
        }
    }
}

/// Nothing tells when a port appears that does not exist yet.
#[expect(clippy::disallowed_methods, reason = "the pause of a retry loop")]
fn pause(until: Instant) {
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_cap() {
        let retry = Retry::new()
            .attempts(6)
            .delay(Duration::from_millis(10))
            .growth(3.0)
            .delay_max(Duration::from_millis(200));
        let delays: Vec<_> = retry.delays().map(|delay| delay.as_millis()).collect();
        assert_eq!(delays, [10, 30, 90, 200, 200]);
    }

    #[test]
    fn absurd_settings_do_no_harm() {
        for growth in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300] {
            let retry = Retry::new().attempts(5).growth(growth);
            assert!(
                retry.delays().all(|delay| delay <= Duration::from_secs(60)),
                "{growth}"
            );
        }
        assert_eq!(Retry::new().attempts(0).delays().count(), 0);
    }

    #[test]
    fn it_tries_as_often_as_told_and_not_for_other_errors() {
        let retry = Retry::new().attempts(4).delay(Duration::ZERO);
        let mut calls = 0;
        let result: Result<(), u32> = retry.run(
            |_| true,
            || {
                calls += 1;
                Err(calls)
            },
        );
        assert_eq!(result, Err(4));
        let mut calls = 0;
        let result: Result<(), u32> = retry.run(
            |&error| error < 2,
            || {
                calls += 1;
                Err(calls)
            },
        );
        assert_eq!(result, Err(2));
    }
}
