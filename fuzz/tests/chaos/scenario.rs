//! Scenarios: how they are named, where they are at, and what they have done.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::chance::Chance;

/// A scenario by its name.
pub(crate) type Scenario = (&'static str, fn(&mut Chance));

/// Names scenarios by their functions.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        pub(crate) const SCENARIOS: &[$crate::scenario::Scenario] =
            &[$((concat!(module_path!(), "::", stringify!($name)), $name)),*];
    };
}
pub(crate) use scenarios;

/// Says why a scenario is not played here.
#[expect(clippy::print_stdout, reason = "whoever runs it should know")]
pub(crate) fn skip(why: &str) {
    println!("skipped: {why}");
}

static STEP: Mutex<String> = Mutex::new(String::new());

/// Says where the scenario is at: told when it hangs or fails.
pub(crate) fn step(text: impl fmt::Display) {
    if let Ok(mut step) = STEP.lock() {
        *step = text.to_string();
    }
}

/// Where the scenario is at.
pub(crate) fn current_step() -> String {
    STEP.lock().map(|step| step.clone()).unwrap_or_default()
}

/// What the scenario that runs has done: `Relaxed` throughout, since it is read when that has ended.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    killed: AtomicU64,
    accepted: AtomicU64,
    delivered: AtomicU64,
    reported: AtomicU64,
}

static TALLY: Tally = Tally {
    killed: AtomicU64::new(0),
    accepted: AtomicU64::new(0),
    delivered: AtomicU64::new(0),
    reported: AtomicU64::new(0),
};

/// The one tally of this process.
pub(crate) fn tally() -> &'static Tally {
    &TALLY
}

impl Tally {
    pub(crate) fn killed(&self) {
        self.killed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn accepted(&self, count: u64) {
        self.accepted.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn delivered(&self, count: u64) {
        self.delivered.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn reported(&self, count: u64) {
        self.reported.fetch_add(count, Ordering::Relaxed);
    }

    /// What was done since the last time, for the line of a scenario.
    pub(crate) fn take(&self) -> String {
        let [killed, accepted, delivered, reported] = [
            &self.killed,
            &self.accepted,
            &self.delivered,
            &self.reported,
        ]
        .map(|number| number.swap(0, Ordering::Relaxed));
        let mut text = format!("{killed} killed");
        if accepted > 0 {
            text += &format!(", {accepted} accepted = {delivered} delivered + {reported} reported");
        }
        text
    }
}
