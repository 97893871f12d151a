//! How long nothing was heard of a process.

use std::time::{Duration, Instant};

/// The least time that a process has to show that it lives after its time-out: to be given a processor
/// takes some of it on a machine that is busy.
const DOUBT_MIN: Duration = Duration::from_millis(100);

/// For how long nothing was heard of a process, as far as this loop was there to hear it.
pub(super) struct Silence {
    /// When it was last looked, or something was heard.
    looked: Instant,
    counted: Duration,
}

impl Silence {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            looked: now,
            counted: Duration::ZERO,
        }
    }

    /// How often it is to be looked: often enough that little is forgiven wrongly.
    pub(super) fn step(timeout: Duration) -> Duration {
        (timeout / 5).max(Duration::from_millis(5))
    }

    /// Looks, and answers when to look again; `None` when it was silent for the time-out and a tenth more.
    ///
    /// A loop that comes late may have stood still with the whole machine, or was itself stopped: what was
    /// said meanwhile is still to be read, and nothing can be held against those that could not run
    /// either. So no more than two steps count between two looks.
    pub(super) fn look(&mut self, now: Instant, timeout: Duration) -> Option<Instant> {
        let step = Self::step(timeout);
        let limit = timeout.saturating_add((timeout / 10).max(DOUBT_MIN));
        let since_last = now.saturating_duration_since(std::mem::replace(&mut self.looked, now));
        self.counted += since_last.min(step * 2);
        let left = limit.saturating_sub(self.counted);
        (!left.is_zero()).then(|| now + left.min(step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    /// When it is found silent, by a loop that looks when it is told to, or so much later.
    fn found(late: impl Fn(u32) -> Duration) -> Duration {
        let begun = Instant::now();
        let mut silence = Silence::new(begun);
        let mut now = begun + Silence::step(TIMEOUT);
        for look in 0.. {
            now += late(look);
            match silence.look(now, TIMEOUT) {
                Some(at) => now = at,
                None => break,
            }
        }
        now - begun
    }

    #[test]
    fn silence_is_found_a_tenth_after_the_time_out() {
        assert_eq!(found(|_| Duration::ZERO), TIMEOUT * 11 / 10);
    }

    #[test]
    fn a_loop_that_was_stopped_itself_holds_little_of_that_against_others() {
        let hour = Duration::from_secs(3600);
        let late = |look| if look == 2 { hour } else { Duration::ZERO };
        let forgiven = hour - Silence::step(TIMEOUT);
        assert_eq!(found(late), TIMEOUT * 11 / 10 + forgiven);
    }

    #[test]
    fn a_loop_that_is_always_late_finds_it_too() {
        let late = found(|_| Duration::from_secs(1));
        assert!(late <= TIMEOUT * 12 / 10, "{late:?}");
    }
}
