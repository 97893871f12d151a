//! What handlers answer: whether they stay, and when an alarm rings next.

use std::io;
use std::time::{Duration, Instant};

use crate::Interest;

/// What becomes of a handler after it has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Control {
    /// It stays as it is.
    Keep,
    /// It stays, and there is more to do: it runs again in the next turn without waiting for the
    /// system to say so. The not-drained answer of an edge-triggered handler.
    Again,
    /// It goes. The channel stays with the selector, without being waited for if it was the last.
    Drop,
    /// It stays and waits for something else from now on.
    Replace(Interest),
    /// The channel goes, with all its handlers.
    Close,
    /// It stays, and the loop ends after this turn, as by [`stop`](crate::Registry::stop).
    Stop,
}

impl From<()> for Control {
    fn from((): ()) -> Self {
        Self::Keep
    }
}

/// `true` keeps and `false` drops, as in pyre.
impl From<bool> for Control {
    fn from(keep: bool) -> Self {
        if keep { Self::Keep } else { Self::Drop }
    }
}

/// What a handler may return: `()`, `bool`, [`Control`], or an [`io::Result`] of one of them.
///
/// Of errors, [`WouldBlock`](io::ErrorKind::WouldBlock) and
/// [`Interrupted`](io::ErrorKind::Interrupted) mean [`Control::Keep`]; any other drops the handler
/// and goes to the [error hook](crate::Registry::on_error).
pub trait Outcome {
    /// The answer in its general form.
    ///
    /// # Errors
    ///
    /// What the handler failed with.
    fn into_control(self) -> io::Result<Control>;
}

impl Outcome for () {
    fn into_control(self) -> io::Result<Control> {
        Ok(Control::Keep)
    }
}

impl Outcome for bool {
    fn into_control(self) -> io::Result<Control> {
        Ok(self.into())
    }
}

impl Outcome for Control {
    fn into_control(self) -> io::Result<Control> {
        Ok(self)
    }
}

impl<O: Outcome> Outcome for io::Result<O> {
    fn into_control(self) -> io::Result<Control> {
        match self.map(Outcome::into_control) {
            Ok(control) => control,
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(Control::Keep),
                _ => Err(error),
            },
        }
    }
}

/// What a periodic alarm does when the loop was too busy to ring it in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missed {
    /// Leaves out the rings that were missed and stays on the grid of the schedule.
    #[default]
    Skip,
    /// Starts a new grid from now.
    Delay,
    /// Rings once for every one that was missed, as fast as the loop turns.
    Burst,
}

/// When an alarm rings next.
///
/// An alarm's handler returns this or something that turns into it: `()` for never,
/// `Option<Duration>` as in pyre, or a `Duration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Not again.
    Done,
    /// That long after now.
    After(Duration),
    /// At that instant.
    At(Instant),
    /// That long after it was due, so that it does not drift.
    Period(Duration, Missed),
}

impl From<()> for Next {
    fn from((): ()) -> Self {
        Self::Done
    }
}

impl From<Duration> for Next {
    fn from(period: Duration) -> Self {
        Self::Period(period, Missed::default())
    }
}

/// `Some(interval)` is a [`Next::Period`] with [`Missed::Skip`].
impl From<Option<Duration>> for Next {
    fn from(period: Option<Duration>) -> Self {
        period.map_or(Self::Done, Self::from)
    }
}

impl Next {
    /// The deadline that follows `due`, which was handled at `now`.
    ///
    /// ```
    /// use ipc_dispatch::{Missed, Next};
    /// use std::time::{Duration, Instant};
    ///
    /// let due = Instant::now();
    /// let second = Duration::from_secs(1);
    /// let late = due + 5 * second / 2;
    /// let next = |missed| Next::Period(second, missed).deadline(due, late);
    /// assert_eq!(next(Missed::Skip), Some(due + 3 * second));
    /// assert_eq!(next(Missed::Delay), Some(late + second));
    /// assert_eq!(next(Missed::Burst), Some(due + second));
    /// ```
    pub fn deadline(self, due: Instant, now: Instant) -> Option<Instant> {
        match self {
            Self::Done => None,
            Self::After(delay) => now.checked_add(delay),
            Self::At(instant) => Some(instant),
            Self::Period(period, missed) => {
                let next = due.checked_add(period)?;
                if next > now {
                    return Some(next);
                }
                match missed {
                    Missed::Burst => Some(next),
                    Missed::Delay => now.checked_add(period),
                    Missed::Skip if period.is_zero() => Some(now),
                    Missed::Skip => {
                        let late = now.saturating_duration_since(due).as_nanos();
                        let past = late % period.as_nanos();
                        (now - from_nanos(past)).checked_add(period)
                    }
                }
            }
        }
    }
}

/// `Duration::from_nanos` for what may not fit in 64 bits.
fn from_nanos(nanos: u128) -> Duration {
    let second = 1_000_000_000;
    let seconds = u64::try_from(nanos / second).unwrap_or(u64::MAX);
    // A remainder of a division by 10^9 fits.
    Duration::new(seconds, (nanos % second) as u32)
}
