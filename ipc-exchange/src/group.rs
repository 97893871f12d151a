//! A control group for one process and what it starts.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Budget;
use crate::cgroup::Memory;
use crate::outcome::lock;

/// A control group for one process and what it starts: one folder in each hierarchy that was named.
/// Dropping it removes what is empty.
#[derive(Debug)]
pub(crate) struct Group {
    folders: Vec<PathBuf>,
    memory: Mutex<Memory>,
}

/// How long the end of a process is kept back for what it has started and left behind.
pub(crate) const CLEAR_MAX: Duration = Duration::from_secs(10);

/// How often it is looked whether anything is left.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// What the folders' names begin with.
const PREFIX: &str = "ipc-exchange-";

/// The period of a quota of processor time, in microseconds: what the kernel itself begins with.
const PERIOD_US: u64 = 100_000;

impl Group {
    /// Makes the group that the budget asks for, if it asks for one.
    pub(crate) fn make(budget: &Budget) -> io::Result<Option<Self>> {
        let wanted = [
            ("memory", budget.memory.is_some()),
            ("processor time", budget.cpu_percent.is_some()),
            ("tasks", budget.tasks.is_some()),
        ];
        if wanted.iter().all(|(_, wanted)| !wanted) {
            return Ok(None);
        }
        let mut group = Self {
            folders: Vec::new(),
            memory: Mutex::new(Memory::new(None)),
        };
        let mut held = [false; 3];
        for parent in &budget.groups {
            match group.add(parent, budget, &mut held) {
                Ok(()) => {}
                Err(_) if budget.or_without => {}
                Err(error) => {
                    let text = format!("no control group in {}: {error}", parent.display());
                    return Err(io::Error::new(error.kind(), text));
                }
            }
        }
        for ((what, wanted), held) in wanted.into_iter().zip(held) {
            if wanted && !held && !budget.or_without {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("no control group that was named limits {what}"),
                ));
            }
        }
        Ok((!group.folders.is_empty()).then_some(group))
    }

    /// Makes a folder in `parent` and sets there what can be set.
    fn add(&mut self, parent: &Path, budget: &Budget, held: &mut [bool; 3]) -> io::Result<()> {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        remove_abandoned(parent);
        for controller in ["+memory", "+cpu", "+pids"] {
            // Version 2 only, and what is not there or is set already is no error here.
            let _ = put(&parent.join("cgroup.subtree_control"), controller);
        }
        // Relaxed: only the number matters.
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir(&folder)?;
        self.folders.push(folder.clone());
        let set = |file: &str, value: String| put(&folder.join(file), &value);
        if let Some(bytes) = budget.memory {
            if set("memory.max", bytes.to_string())? {
                // Without swap where there is any; and all of it goes together.
                let _ = set("memory.swap.max", "0".into());
                let _ = set("memory.oom.group", "1".into());
                held[0] = true;
            } else if set("memory.limit_in_bytes", bytes.to_string())? {
                let _ = set("memory.memsw.limit_in_bytes", bytes.to_string());
                held[0] = true;
            }
            if held[0] {
                *lock(&self.memory) = Memory::new(Some(folder.clone()));
            }
        }
        if let Some(percent) = budget.cpu_percent {
            let quota = u64::from(percent) * PERIOD_US / 100;
            held[1] |= set("cpu.max", format!("{quota} {PERIOD_US}"))?
                || (set("cpu.cfs_period_us", PERIOD_US.to_string())?
                    && set("cpu.cfs_quota_us", quota.to_string())?);
        }
        if let Some(count) = budget.tasks {
            held[2] |= set("pids.max", count.to_string())?;
        }
        Ok(())
    }

    /// Puts a process there that was just started.
    pub(crate) fn admit(&self, pid: u32) -> io::Result<()> {
        let mut folders = self.folders.iter();
        folders.try_for_each(|folder| put(&folder.join("cgroup.procs"), &pid.to_string()).map(drop))
    }

    /// Whether the kernel has killed anything there for want of memory.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        lock(&self.memory).explains(0)
    }

    /// Kills what is left, where the kernel does that in one step (version 2). Answers whether nothing
    /// is left.
    pub(crate) fn clear(&self) -> bool {
        let is_empty = |folder: &PathBuf| {
            let is_left = match fs::read_to_string(folder.join("cgroup.events")) {
                Ok(events) => events.contains("populated 1"),
                Err(_) => fs::read(folder.join("cgroup.procs")).is_ok_and(|pids| !pids.is_empty()),
            };
            if is_left {
                let _ = put(&folder.join("cgroup.kill"), "1");
            }
            !is_left
        };
        // All of them: each kills what is its own.
        self.folders
            .iter()
            .map(is_empty)
            .fold(true, |all, empty| all & empty)
    }

    /// Waits until nothing is left, for as long as that is waited for.
    #[expect(
        clippy::disallowed_methods,
        reason = "no event tells that a group of version 1 is empty"
    )]
    pub(crate) fn wait_clear(&self) {
        let until = Instant::now() + CLEAR_MAX;
        while !self.clear() && Instant::now() < until {
            thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for folder in &self.folders {
            // One that is not empty stays until somebody starts processes here again.
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Writes to a file of the kernel's; answers whether there is such a file.
fn put(file: &Path, value: &str) -> io::Result<bool> {
    match fs::OpenOptions::new().write(true).open(file) {
        Ok(mut file) => file.write_all(value.as_bytes()).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the folders of programs that were killed before they could.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| {
            let (pid, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
            pid.parse::<u32>().ok()
        });
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            // Only an empty one can be removed.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_without_a_group_is_refused_or_taken_as_it_is() {
        let budget = Budget::new().memory(1 << 30);
        let refused = Group::make(&budget).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
        assert!(refused.to_string().contains("memory"), "{refused}");
        assert!(Group::make(&budget.or_without_group()).unwrap().is_none());
        assert!(Group::make(&Budget::new().open_files(9)).unwrap().is_none());
        let nowhere = Budget::new().tasks(3).group("/nowhere");
        assert!(Group::make(&nowhere).is_err());
    }
}
