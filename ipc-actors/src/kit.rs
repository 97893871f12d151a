//! What tests of programs with actors need: trouble on order, and a look at what is left behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
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

/// What there was when a test began: look again at its end, and nothing more may be there.
///
/// Counts what belongs to the whole process, so tests beside it in the same process disturb it. Where
/// the system does not tell (other than Linux), only the folder is looked at.
///
/// ```
/// use ipc_actors::LeakGuard;
/// use std::time::Duration;
///
/// let guard = LeakGuard::new();
/// // What is tested.
/// guard.check(Duration::from_secs(5)).unwrap();
/// ```
#[derive(Debug)]
pub struct LeakGuard {
    folder: Option<PathBuf>,
    before: Found,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    descriptors: usize,
    /// Children, those that have ended and were not reaped among them.
    children: BTreeSet<u32>,
    files: BTreeSet<PathBuf>,
}

/// What a test has left behind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("left behind: {descriptors} descriptors, processes {processes:?}, files {files:?}")]
pub struct Leaks {
    /// How many descriptors are open that were not.
    pub descriptors: usize,
    /// Child processes, zombies among them.
    pub processes: Vec<u32>,
    /// Files in the folder that is watched.
    pub files: Vec<PathBuf>,
}

impl Default for LeakGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl LeakGuard {
    /// Notes the open descriptors and the child processes.
    #[must_use]
    pub fn new() -> Self {
        Self {
            folder: None,
            before: Found::now(None),
        }
    }

    /// Notes what is in this folder, too: where sockets are made, for one.
    #[must_use]
    pub fn folder(self, folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self {
            before: Found::now(Some(&folder)),
            folder: Some(folder),
        }
    }

    /// Whether nothing is left behind, or will not be any more within `patience`.
    ///
    /// # Errors
    ///
    /// What is left.
    pub fn check(&self, patience: Duration) -> Result<(), Leaks> {
        let end = Instant::now() + patience;
        loop {
            let now = Found::now(self.folder.as_deref());
            let leaks = Leaks {
                descriptors: now.descriptors.saturating_sub(self.before.descriptors),
                processes: now
                    .children
                    .difference(&self.before.children)
                    .copied()
                    .collect(),
                files: now.files.difference(&self.before.files).cloned().collect(),
            };
            let clean =
                leaks.descriptors == 0 && leaks.processes.is_empty() && leaks.files.is_empty();
            if clean {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(leaks);
            }
            thread::park_timeout(Duration::from_millis(2));
        }
    }
}

impl Found {
    fn now(folder: Option<&Path>) -> Self {
        Self {
            descriptors: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            children: children(),
            files: folder.map(files).unwrap_or_default(),
        }
    }
}

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// The children of all threads of this process.
fn children() -> BTreeSet<u32> {
    let mut children = BTreeSet::new();
    for task in fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
    {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.extend(
            text.split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    children
}
