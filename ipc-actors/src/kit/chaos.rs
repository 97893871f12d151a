//! Trouble on order.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What goes wrong when [`Chaos`] strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trouble {
    /// The handler panics.
    Panic,
    /// The process aborts, as a crash in foreign code would have it.
    Abort,
    /// The process exits with this status.
    Exit(i32),
    /// The handler never returns.
    Hang,
    /// This message and all after it take so much longer.
    Slow(Duration),
    /// The process with all its threads is stopped for so long, as by a debugger or an operator's
    /// SIGSTOP, and then goes on: for actors in a process of their own. One that is killed meanwhile does
    /// not go on.
    Stop(Duration),
}

/// Trouble at the n-th message, for actors under test: part of what the actor is made from, and told of
/// each message by its handlers. Each incarnation counts anew.
///
/// ```
/// use ipc_actors::{Chaos, Trouble};
///
/// let mut chaos = Chaos::at(3, Trouble::Panic);
/// chaos.message();
/// chaos.message();
/// assert!(std::panic::catch_unwind(move || chaos.message()).is_err());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chaos {
    plan: Option<(u64, Trouble)>,
    messages: u64,
}

impl Chaos {
    /// No trouble.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Trouble at the n-th message, counted from one.
    #[must_use]
    pub fn at(message: u64, trouble: Trouble) -> Self {
        Self {
            plan: Some((message, trouble)),
            messages: 0,
        }
    }

    /// A message is being handled: strikes if it is the one.
    ///
    /// # Panics
    ///
    /// If that is the trouble.
    pub fn message(&mut self) {
        self.messages += 1;
        match self.plan {
            Some((at, Trouble::Slow(time))) if self.messages >= at => wait(Some(time)),
            Some((at, trouble)) if self.messages == at => match trouble {
                Trouble::Panic => panic!("trouble on order"),
                Trouble::Abort => std::process::abort(),
                Trouble::Exit(status) => std::process::exit(status),
                Trouble::Hang => wait(None),
                Trouble::Stop(time) => stop(time),
                Trouble::Slow(_) => {}
            },
            _ => {}
        }
    }
}

fn wait(time: Option<Duration>) {
    let end = time.map(|time| Instant::now() + time);
    loop {
        match end.map(|end| end.saturating_duration_since(Instant::now())) {
            None => thread::park(),
            Some(Duration::ZERO) => return,
            Some(left) => thread::park_timeout(left),
        }
    }
}

/// Has a child, which dies with this process's group, stop this process and let it go on.
fn stop(time: Duration) {
    let pause = time.as_secs_f64();
    let script = format!("kill -STOP $PPID; sleep {pause}; kill -CONT $PPID");
    // Without a shell there is no trouble.
    drop(Command::new("sh").args(["-c", &script]).status());
}
