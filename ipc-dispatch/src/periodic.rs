//! Things that happen again and again, until they are through.

use std::time::{Duration, Instant};

use crate::{
    AlarmId, Completer, Context, Control, Deferred, Failure, Missed, Next, Outcome, Registry,
};

impl<S: 'static> Registry<S> {
    /// Runs `handler` every `period`, the first time after one period, on a schedule that does not
    /// drift; when the loop is late, the runs that were missed are left out. It ends when the handler
    /// says so ([`Control::Drop`] or `false`) and by [`cancel`](Self::cancel). An error is told to the
    /// error hook and it goes on.
    pub fn every<O, F>(&mut self, period: Duration, mut handler: F) -> AlarmId
    where
        O: Outcome,
        F: FnMut(&mut Context<'_, S>) -> O + 'static,
    {
        self.alarm(period, move |ctx: &mut Context<'_, S>| {
            let control = handler(ctx).into_control().unwrap_or_else(|error| {
                ctx.report(None, error);
                Control::Keep
            });
            match control {
                Control::Drop | Control::Close => return Next::Done,
                Control::Stop => ctx.stop(),
                _ => {}
            }
            Next::Period(period, Missed::Skip)
        })
    }

    /// Lets the loop end although this alarm is armed, or not. Answers whether it is armed.
    pub fn set_background_alarm(&mut self, id: AlarmId, background: bool) -> bool {
        let Some(alarm) = self.alarms.value_mut(id) else {
            return false;
        };
        if alarm.background != background {
            alarm.background = background;
            if background {
                self.background_alarms += 1;
            } else {
                self.background_alarms -= 1;
            }
        }
        true
    }

    /// Tries `attempt` now and, while it fails, again after ever longer pauses, without blocking the
    /// loop. The attempt is told its number, counted from 1.
    ///
    /// The result is the first success, or the last failure when `backoff` gives up.
    pub fn retry<T, E, F>(&mut self, backoff: Backoff, attempt: F) -> Deferred<T>
    where
        T: 'static,
        E: Into<Failure>,
        F: FnMut(u32, &mut Context<'_, S>) -> Result<T, E> + 'static,
    {
        let (completer, deferred) = Deferred::pair();
        let began = self.now();
        let mut trial = Trial {
            backoff,
            began,
            count: 0,
            attempt,
            completer: Some(completer),
        };
        self.alarm(Duration::ZERO, move |ctx: &mut Context<'_, S>| {
            trial.count += 1;
            let failure = match (trial.attempt)(trial.count, ctx) {
                Ok(value) => {
                    trial.finish(Ok(value));
                    return Next::Done;
                }
                Err(error) => error.into(),
            };
            let now = ctx.now();
            match trial.backoff.pause(trial.count, trial.began, now) {
                Some(pause) => Next::After(pause),
                None => {
                    trial.finish(Err(failure));
                    Next::Done
                }
            }
        });
        deferred
    }
}

struct Trial<T: 'static, F> {
    backoff: Backoff,
    began: Instant,
    count: u32,
    attempt: F,
    completer: Option<Completer<T>>,
}

impl<T: 'static, F> Trial<T, F> {
    fn finish(&mut self, result: Result<T, Failure>) {
        if let Some(completer) = self.completer.take() {
            completer.settle(result);
        }
    }
}

/// How long to pause between attempts, and when to give up. The defaults are those of pulsar and
/// kombu: 2 s, 2 s more each time, at most 30 s, for ever.
///
/// ```
/// use ipc_dispatch::Backoff;
/// use std::time::{Duration, Instant};
///
/// let backoff = Backoff::new().attempts(3);
/// let now = Instant::now();
/// assert_eq!(backoff.pause(1, now, now), Some(Duration::from_secs(2)));
/// assert_eq!(backoff.pause(2, now, now), Some(Duration::from_secs(4)));
/// assert_eq!(backoff.pause(3, now, now), None);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    step: Duration,
    longest: Duration,
    attempts: Option<u32>,
    limit: Option<Duration>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(2),
            step: Duration::from_secs(2),
            longest: Duration::from_secs(30),
            attempts: None,
            limit: None,
        }
    }
}

impl Backoff {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The pause after the first attempt.
    #[must_use]
    pub fn first(mut self, pause: Duration) -> Self {
        self.first = pause;
        self
    }

    /// How much longer every pause is than the one before.
    #[must_use]
    pub fn step(mut self, longer: Duration) -> Self {
        self.step = longer;
        self
    }

    /// The longest pause.
    #[must_use]
    pub fn longest(mut self, pause: Duration) -> Self {
        self.longest = pause;
        self
    }

    /// Gives up after that many attempts, at least one.
    #[must_use]
    pub fn attempts(mut self, count: u32) -> Self {
        self.attempts = Some(count);
        self
    }

    /// Gives up when the next attempt would come later than that after the first.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// How long to pause after `count` attempts, of which the first was at `began`. `None` to give up.
    pub fn pause(&self, count: u32, began: Instant, now: Instant) -> Option<Duration> {
        if self.attempts.is_some_and(|attempts| count >= attempts) {
            return None;
        }
        let longer = self.step.saturating_mul(count.saturating_sub(1));
        let pause = self.first.saturating_add(longer).min(self.longest);
        let elapsed = now.saturating_duration_since(began).saturating_add(pause);
        if self.limit.is_some_and(|limit| elapsed > limit) {
            return None;
        }
        Some(pause)
    }
}
