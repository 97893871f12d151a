//! Whether the kernel killed a worker because memory ran out.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard};

use crate::outcome::lock;

/// The count of processes that were killed for want of memory, in the control group of the workers.
#[derive(Debug)]
pub(crate) struct Memory {
    folder: Option<PathBuf>,
    /// The file that has the count, if there is one.
    file: Option<PathBuf>,
    /// The count up to which deaths have been explained.
    explained: u64,
}

impl Memory {
    /// That of this process's own group, in which its children are unless they are put elsewhere.
    pub(crate) fn own() -> MutexGuard<'static, Self> {
        static OWN: LazyLock<Mutex<Memory>> = LazyLock::new(|| Mutex::new(Memory::new(None)));
        lock(&OWN)
    }

    /// For workers in the control group `folder`, or in this process's own.
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        let own = || own_folder(&fs::read_to_string("/proc/self/cgroup").ok()?);
        let file = folder.clone().or_else(own).and_then(|folder| {
            // The second and the first version of control groups.
            ["memory.events", "memory.oom_control"]
                .map(|name| folder.join(name))
                .into_iter()
                .find(|file| count(file).is_some())
        });
        Self {
            folder,
            file,
            explained: 0,
        }
    }

    /// Puts a process that was just started where workers belong.
    pub(crate) fn admit(&self, pid: u32) -> io::Result<()> {
        match &self.folder {
            Some(folder) => fs::write(folder.join("cgroup.procs"), pid.to_string()),
            None => Ok(()),
        }
    }

    /// The count now, to be remembered when a worker starts.
    pub(crate) fn kills(&self) -> u64 {
        self.file.as_deref().and_then(count).unwrap_or(0)
    }

    /// Whether a worker that was killed by SIGKILL, and started when the count was `before`, can have
    /// been killed for want of memory. Each kill explains one death.
    pub(crate) fn explains(&mut self, before: u64) -> bool {
        let explained = self.explained.max(before);
        let explains = self.kills() > explained;
        if explains {
            self.explained = explained + 1;
        }
        explains
    }
}

/// The folder of the control group that limits memory, from `/proc/self/cgroup`.
fn own_folder(text: &str) -> Option<PathBuf> {
    let mut unified = None;
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
        if controllers.split(',').any(|name| name == "memory") {
            return Some(Path::new("/sys/fs/cgroup/memory").join(path));
        }
        if controllers.is_empty() {
            unified = Some(Path::new("/sys/fs/cgroup").join(path));
        }
    }
    unified
}

fn count(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let mut lines = text.lines();
    let number = lines.find_map(|line| line.strip_prefix("oom_kill "))?;
    number.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_found_in_both_versions() {
        let check = |text, expect: &str| assert_eq!(own_folder(text).unwrap(), Path::new(expect));
        check("0::/user.slice\n", "/sys/fs/cgroup/user.slice");
        check(
            "4:memory:/a/b\n3:cpu:/\n0::/\n",
            "/sys/fs/cgroup/memory/a/b",
        );
        check("4:cpu,memory:/\n", "/sys/fs/cgroup/memory/");
        assert_eq!(own_folder(""), None);
    }

    #[test]
    fn one_kill_explains_one_death() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("memory.events");
        let set = |kills: u64| fs::write(&file, format!("oom 9\noom_kill {kills}\n")).unwrap();
        set(2);
        let mut memory = Memory::new(Some(folder.path().to_owned()));
        let before = memory.kills();
        assert_eq!(before, 2);
        assert!(!memory.explains(before));
        set(3);
        assert!(memory.explains(before));
        assert!(!memory.explains(before), "two deaths, one kill");
    }
}
