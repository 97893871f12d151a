//! How the process of a program is to be.

use std::ffi::OsStr;
use std::time::Duration;

use crate::Budget;

/// How the process of a program is to be: [`Program::start_with`](crate::Program::start_with).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessOptions {
    pub(crate) output_kept: usize,
    pub(crate) budget: Budget,
    pub(crate) outlives: Duration,
    pub(crate) variables: Variables,
}

/// Which variables of this process's environment a process is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variables {
    /// All, if there is no list.
    kept: Option<Vec<String>>,
    hidden: Vec<String>,
}

impl Variables {
    /// Whether it is given all.
    pub(crate) fn are_all(&self) -> bool {
        self.kept.is_none() && self.hidden.is_empty()
    }

    /// Whether it is given this one.
    pub(crate) fn pass(&self, name: &OsStr) -> bool {
        let is_named = |names: &[String]| names.iter().any(|known| name == known.as_str());
        self.kept.as_deref().is_none_or(is_named) && !is_named(&self.hidden)
    }
}

/// Long enough for anybody to notice, and ends all the same.
const OUTLIVES_MAX: Duration = Duration::from_secs(7 * 86_400);

impl ProcessOptions {
    /// As the process that starts it: no limits of its own, and what it writes goes where this
    /// process's own output goes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keep the last so many bytes of what it writes to standard error, to be told after its end:
    /// [`Process::output`](crate::Process::output). What it writes is passed on to this process's
    /// standard error by a thread; a write there fails once this process has ended. Zero keeps nothing
    /// and has it write to this process's standard error itself.
    #[must_use]
    pub fn keep_output(mut self, bytes: usize) -> Self {
        self.output_kept = bytes;
        self
    }

    /// Let it live for so long when this process has died, for another parent to take it over: see
    /// [`Refuge`](crate::Refuge). Without this it ends at once, whatever it does. For a week at most.
    #[must_use]
    pub fn outlives(mut self, time: Duration) -> Self {
        self.outlives = time.min(OUTLIVES_MAX);
        self
    }

    /// Of this process's environment give it only these variables.
    #[must_use]
    pub fn keep_variables<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.variables.kept = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Of this process's environment do not give it these variables: they may be secret.
    #[must_use]
    pub fn hide_variables<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.variables
            .hidden
            .extend(names.into_iter().map(Into::into));
        self
    }

    /// What it may use.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }
}
