//! A look at what is left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// What there was when a test began: look again at its end, and nothing more may be there.
///
/// Counts what belongs to the whole process, so tests beside it in the same process disturb it: run it
/// in a process of its own. Where the system does not tell (other than Linux), only the folder is looked
/// at.
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
    mark: Option<String>,
    before: Found,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    descriptors: usize,
    /// Their names.
    threads: BTreeMap<u32, String>,
    mappings: usize,
    /// Children, those that have ended and were not reaped among them, and who bears the mark.
    processes: BTreeSet<u32>,
    files: BTreeSet<PathBuf>,
}

/// What a test has left behind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "left behind: {descriptors} descriptors, threads {threads:?}, {mappings} mappings of shared memory, \
     processes {processes:?}, files {files:?}"
)]
#[non_exhaustive]
pub struct Leaks {
    /// How many descriptors are open that were not.
    pub descriptors: usize,
    /// The names of threads, if there are more than there were.
    pub threads: Vec<String>,
    /// How many regions of shared memory are mapped that were not.
    pub mappings: usize,
    /// Child processes, zombies among them, and those that bear the mark.
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
    /// Notes the open descriptors, the threads, what is mapped of shared memory, and the child processes.
    #[must_use]
    pub fn new() -> Self {
        Self {
            folder: None,
            mark: None,
            before: Found::default(),
        }
        .noted()
    }

    /// Notes what is in this folder, too: where sockets are made, for one.
    ///
    /// ```
    /// use ipc_actors::LeakGuard;
    /// use std::time::Duration;
    ///
    /// let folder = std::env::temp_dir().join(format!("leaks-{}", std::process::id()));
    /// std::fs::create_dir(&folder)?;
    /// let guard = LeakGuard::new().folder(&folder);
    /// std::fs::write(folder.join("left"), "")?;
    /// let leaks = guard.check(Duration::ZERO).unwrap_err();
    /// assert_eq!(leaks.files, [folder.join("left")]);
    /// # std::fs::remove_dir_all(&folder)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self.noted()
    }

    /// Notes the processes that have this variable in their environment, too. Started with it, a program
    /// under test passes it on to all it starts: none of them gets away by losing its parent.
    ///
    /// ```
    /// use ipc_actors::LeakGuard;
    /// use std::process::Command;
    /// use std::time::Duration;
    ///
    /// let guard = LeakGuard::new().mark("TESTED_AS", "round 1");
    /// // The shell ends at once and leaves a child to somebody else.
    /// let shell = ["-c", "sleep 1 & exec true"];
    /// Command::new("sh").args(shell).env("TESTED_AS", "round 1").status()?;
    /// # if cfg!(target_os = "linux") {
    /// assert_eq!(guard.check(Duration::ZERO).unwrap_err().processes.len(), 1);
    /// # }
    /// guard.check(Duration::from_secs(10)).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn mark(mut self, variable: &str, value: &str) -> Self {
        self.mark = Some(format!("{variable}={value}"));
        self.noted()
    }

    fn noted(mut self) -> Self {
        self.before = self.now();
        self
    }

    /// Whether nothing is left behind, or will not be any more within `patience`.
    ///
    /// # Errors
    ///
    /// What is left.
    pub fn check(&self, patience: Duration) -> Result<(), Leaks> {
        let end = Instant::now() + patience;
        loop {
            let now = self.now();
            let before = &self.before;
            let leaks = Leaks {
                descriptors: now.descriptors.saturating_sub(before.descriptors),
                threads: now.threads_beside(before),
                mappings: now.mappings.saturating_sub(before.mappings),
                processes: now
                    .processes
                    .difference(&before.processes)
                    .copied()
                    .collect(),
                files: now.files.difference(&before.files).cloned().collect(),
            };
            if leaks.is_empty() {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(leaks);
            }
            thread::park_timeout(Duration::from_millis(2));
        }
    }

    fn now(&self) -> Found {
        let mut processes = children();
        if let Some(mark) = &self.mark {
            processes.extend(bearers(mark));
        }
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let shared = |line: &&str| line.contains("/memfd:") || line.contains("/dev/shm/");
        Found {
            descriptors: count("/proc/self/fd"),
            threads: threads(),
            mappings: maps.lines().filter(shared).count(),
            processes,
            files: self.folder.as_deref().map(files).unwrap_or_default(),
        }
    }
}

impl Found {
    /// Only if there are more: one that has taken another's place is none too many.
    fn threads_beside(&self, before: &Self) -> Vec<String> {
        if self.threads.len() <= before.threads.len() {
            return Vec::new();
        }
        let new = self.threads.iter();
        new.filter(|(id, _)| !before.threads.contains_key(id))
            .map(|(_, name)| name.clone())
            .collect()
    }
}

impl Leaks {
    fn is_empty(&self) -> bool {
        let left = [self.threads.len(), self.processes.len(), self.files.len()];
        [self.descriptors, self.mappings] == [0; 2] && left == [0; 3]
    }
}

fn count(folder: &str) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn threads() -> BTreeMap<u32, String> {
    let entries = fs::read_dir("/proc/self/task");
    let entries = entries.into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            Some((id, name.trim_end().to_owned()))
        })
        // Made once, when the first process is dropped that has not ended, for all that follow.
        .filter(|(_, name)| name != "ipc-reaper")
        .collect()
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

/// The processes with this in their environment, this one aside.
fn bearers(mark: &str) -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|&pid| pid != std::process::id())
        .filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|&byte| byte == 0)
                .any(|variable| variable == mark.as_bytes())
        })
        .collect()
}
