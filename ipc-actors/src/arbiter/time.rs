//! Whose time it is: the system's, or a test's.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipc_dispatch::{SelectorOptions, Simulation};

use super::root::{ArbiterLoop, ArbiterOptions};

/// An arbiter's time, for those who are not on its loop and for the actors there.
#[derive(Debug)]
pub(crate) struct Clock {
    begun: Instant,
    /// How many nanoseconds have passed since then, where only a test lets time pass.
    passed: Option<AtomicU64>,
}

impl Clock {
    pub(super) fn system() -> Self {
        Self {
            begun: Instant::now(),
            passed: None,
        }
    }

    fn simulated(begun: Instant) -> Self {
        Self {
            begun,
            passed: Some(AtomicU64::new(0)),
        }
    }

    pub(crate) fn is_simulated(&self) -> bool {
        self.passed.is_some()
    }

    pub(crate) fn now(&self) -> Instant {
        match &self.passed {
            // Relaxed: whoever moves it is on the same thread as the actors that look.
            Some(passed) => self.begun + Duration::from_nanos(passed.load(Ordering::Relaxed)),
            None => Instant::now(),
        }
    }

    /// When the arbiter was made.
    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    /// Takes over the time of the loop, where that is not the system's.
    pub(super) fn set(&self, now: Instant) {
        if let Some(passed) = &self.passed {
            let nanos = now.saturating_duration_since(self.begun).as_nanos();
            passed.store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

impl ArbiterLoop {
    /// An arbiter for tests, whose time passes only when the test says so ([`advance`](Self::advance)),
    /// or when nothing is left to do but to [`wait`](Self::wait). Backoff, the windows in which restarts
    /// are counted, time-outs of starts and stops and the alarms of actors all go by that time, so hours
    /// of them take no time. To wait for what cannot come is an error
    /// ([`Deadlock`](io::ErrorKind::Deadlock)).
    ///
    /// Every actor is placed on the loop, whatever its [`Spec`](crate::Spec) says: a process or thread
    /// would live in the system's time. What only processes have, their budgets and signs of life, is not
    /// simulated.
    ///
    /// ```
    /// use ipc_actors::{
    ///     Actor, ArbiterLoop, ArbiterOptions, Commands, Context, Failure, Handler, Message, Spec,
    /// };
    /// use serde::{Deserialize, Serialize};
    /// use std::time::Duration;
    ///
    /// /// Forgets what it knows after a day.
    /// struct Memory(Option<String>);
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Recall;
    ///
    /// impl Message for Recall {
    ///     type Reply = Option<String>;
    ///     const NAME: &'static str = "recall";
    /// }
    ///
    /// impl Actor for Memory {
    ///     type Params = String;
    ///     const NAME: &'static str = "memory";
    ///
    ///     fn commands(commands: &mut Commands<Self>) {
    ///         commands.on::<Recall>();
    ///     }
    ///
    ///     fn init(known: String, ctx: &mut Context<'_, Self>) -> Result<Self, Failure> {
    ///         ctx.alarm(Duration::from_secs(86_400), |memory, _| memory.0 = None);
    ///         Ok(Self(Some(known)))
    ///     }
    /// }
    ///
    /// impl Handler<Recall> for Memory {
    ///     fn handle(&mut self, _: Recall, _: &mut Context<'_, Self>) -> Option<String> {
    ///         self.0.clone()
    ///     }
    /// }
    ///
    /// let mut root = ArbiterLoop::simulated(ArbiterOptions::default());
    /// let spec = Spec::<Memory>::new("a name".to_owned());
    /// let spawning = root.arbiter().spawn(spec).into_deferred();
    /// let memory = root.wait(spawning)??;
    /// root.advance(Duration::from_secs(86_399))?;
    /// assert_eq!(root.wait(memory.ask(Recall))??.as_deref(), Some("a name"));
    /// root.advance(Duration::from_secs(1))?;
    /// assert_eq!(root.wait(memory.ask(Recall))??, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn simulated(options: ArbiterOptions) -> Self {
        // Of sources that are ready at once the seed decides the order; there are none.
        let simulation = Simulation::new(0);
        let selector = simulation.selector_with(Self::selector_options(SelectorOptions::new()));
        let clock = Clock::simulated(simulation.now());
        // Nothing lives in a process that could outlive it.
        Self::of(selector, options, clock, None)
    }

    /// The time on the loop.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.arbiter().shared.clock.now()
    }

    /// Lets so much time pass: whatever is due in it happens in its order, and everything that follows
    /// from it at once. Of a [simulated](Self::simulated) arbiter this takes no time, of another it takes
    /// that long.
    ///
    /// # Errors
    ///
    /// As [`run`](ArbiterLoop::run).
    pub fn advance(&mut self, time: Duration) -> io::Result<()> {
        let end = self.now() + time;
        while self.exit_reason().is_none() {
            let left = end.saturating_duration_since(self.now());
            self.turn(Some(left))?;
            let shared = Arc::clone(&self.arbiter().shared);
            if left.is_zero() && shared.home.is_empty() && shared.poster.is_empty() {
                break;
            }
        }
        Ok(())
    }
}
