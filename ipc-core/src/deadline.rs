//! When a blocking call gives up.

use std::io;
use std::time::{Duration, Instant};

/// The moment at which a blocking call gives up with [`TimedOut`](std::io::ErrorKind::TimedOut).
///
/// One type carries all four forms of a call inward: `try_x` is [`Deadline::Now`], `x` is
/// [`Deadline::Never`], `x_timeout` is [`Deadline::after`] and `x_deadline` is [`Deadline::At`]. A call
/// that is interrupted by a signal goes on against the same deadline.
///
/// # Examples
///
/// ```
/// use ipc_core::Deadline;
/// use std::time::Duration;
///
/// assert!(Deadline::Now.is_expired());
/// assert_eq!(Deadline::Never.remaining(), None);
/// assert!(Deadline::after(Duration::from_secs(60)).remaining() > Some(Duration::from_secs(50)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// Never waits: the call answers [`WouldBlock`](std::io::ErrorKind::WouldBlock) instead.
    Now,
    /// Waits until this instant.
    At(Instant),
    /// Waits for as long as the peer lives.
    Never,
}

impl Deadline {
    /// The deadline `timeout` from now; one too far away to be represented is [`Deadline::Never`].
    pub fn after(timeout: Duration) -> Self {
        Instant::now()
            .checked_add(timeout)
            .map_or(Self::Never, Self::At)
    }

    /// How long is left: zero once the deadline has passed, `None` when there is none.
    pub fn remaining(self) -> Option<Duration> {
        match self {
            Self::Now => Some(Duration::ZERO),
            Self::At(instant) => Some(instant.saturating_duration_since(Instant::now())),
            Self::Never => None,
        }
    }

    /// What a call that ran out of this time answers.
    pub(crate) fn expired(self) -> io::Error {
        match self {
            Self::Now => io::ErrorKind::WouldBlock.into(),
            _ => io::ErrorKind::TimedOut.into(),
        }
    }

    /// Whether the deadline has passed.
    pub fn is_expired(self) -> bool {
        self.remaining() == Some(Duration::ZERO)
    }
}

impl From<Instant> for Deadline {
    fn from(instant: Instant) -> Self {
        Self::At(instant)
    }
}
