//! What must come out even: what was accepted and what became of it, what there was before and after.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use crate::scenario::tally;
use crate::session::{SOON, bearers, children, within};

/// The variable that every process of a run has in its environment: the folder of the run, which is
/// where all of them make their temporary files.
pub(crate) const HOME: &str = "IPC_CHAOS_HOME";

/// Each accepted id is delivered or reported exactly once. Whatever is wrong is told by
/// [`check`](Self::check), all of it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    ends: BTreeMap<u64, Ends>,
    wrong: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    delivered: u32,
    reported: u32,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn accepted(&mut self, id: u64) {
        tally().accepted(1);
        if self.ends.insert(id, Ends::default()).is_some() {
            self.wrong.push(format!("{id} was accepted twice"));
        }
    }

    pub(crate) fn delivered(&mut self, id: u64) {
        tally().delivered(1);
        match self.ends.get_mut(&id) {
            Some(ends) => ends.delivered += 1,
            None => self
                .wrong
                .push(format!("{id} was delivered and never accepted")),
        }
    }

    pub(crate) fn reported(&mut self, id: u64) {
        tally().reported(1);
        match self.ends.get_mut(&id) {
            Some(ends) => ends.reported += 1,
            None => self
                .wrong
                .push(format!("{id} was reported and never accepted")),
        }
    }

    /// Asserts that everything ended exactly once.
    #[track_caller]
    pub(crate) fn check(&self) {
        let mut wrong = self.wrong.clone();
        for (id, ends) in &self.ends {
            match (ends.delivered, ends.reported) {
                (1, 0) | (0, 1) => {}
                (0, 0) => wrong.push(format!("{id} is lost")),
                (0, times) => wrong.push(format!("{id} was reported {times} times")),
                (times, 0) => wrong.push(format!("{id} was delivered {times} times")),
                (..) => wrong.push(format!("{id} was delivered and reported")),
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join(", "));
    }
}

/// What there was when a scenario began.
#[derive(Debug)]
pub(crate) struct Books {
    descriptors: Vec<String>,
    mappings: Vec<String>,
    processes: BTreeSet<u32>,
    sockets: Vec<String>,
    files: BTreeSet<PathBuf>,
}

impl Books {
    pub(crate) fn open() -> Self {
        Self {
            descriptors: descriptors(),
            mappings: mappings(),
            processes: processes(),
            sockets: sockets(),
            files: files(),
        }
    }

    /// Says what is there and was not before; what was let go of without waiting takes a moment.
    pub(crate) fn balance(&self) -> Result<(), String> {
        let mut left = String::new();
        let is_even = || {
            left = self.left();
            left.is_empty()
        };
        if within(SOON, is_even) {
            return Ok(());
        }
        Err(left)
    }

    fn left(&self) -> String {
        let mut left = more(&self.descriptors, descriptors());
        left.extend(more(&self.mappings, mappings()));
        left.extend(more(&self.sockets, sockets()));
        let named = |pid: &u32| format!("process {pid} ({})", command(*pid));
        left.extend(processes().difference(&self.processes).map(named));
        let files = files();
        let named = |path: &PathBuf| path.display().to_string();
        left.extend(files.difference(&self.files).map(named));
        left.join(", ")
    }
}

/// What is new, if there is more than before: what was there may have been replaced by its like.
fn more(before: &[String], now: Vec<String>) -> Vec<String> {
    let excess = now.len().saturating_sub(before.len());
    let mut new: Vec<_> = now
        .into_iter()
        .filter(|name| !before.contains(name))
        .collect();
    if excess == 0 {
        new.clear();
    }
    new
}

fn descriptors() -> Vec<String> {
    let found = ipc_core::descriptors().expect("descriptors can be listed");
    let text = |fd: &ipc_core::Descriptor| format!("descriptor {} {:?}", fd.number, fd.target);
    found.iter().map(text).collect()
}

/// Memory that is or was shared with other processes.
fn mappings() -> Vec<String> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let is_shared = |line: &&str| {
        let flags = line.split(' ').nth(1).unwrap_or_default();
        flags.ends_with('s') || line.contains("/memfd:") || line.contains("/dev/shm/")
    };
    let shared = maps.lines().filter(is_shared);
    shared.map(|line| format!("mapping {line}")).collect()
}

/// The children of this process, zombies among them, and everybody else who belongs to this run,
/// whoever its parent is by now.
fn processes() -> BTreeSet<u32> {
    let mut pids: BTreeSet<_> = children().into_iter().collect();
    if let Some(home) = home() {
        pids.extend(bearers(HOME, &home));
    }
    pids.remove(&process::id());
    pids
}

fn command(pid: u32) -> String {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let state = read("stat");
    let state = state.rsplit(") ").next().unwrap_or_default();
    let words = read("cmdline").replace('\0', " ");
    let state = state.chars().next().unwrap_or('?');
    format!("{state} {}", words.trim_end())
}

/// Unix sockets with a name of ours, abstract or in the folder of the run.
fn sockets() -> Vec<String> {
    let Some(home) = home() else {
        return Vec::new();
    };
    let ours = [home.display().to_string(), abstract_prefix()];
    let all = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let is_ours = |line: &&str| ours.iter().any(|own| line.contains(own));
    let lines = all.lines().filter(is_ours);
    lines.map(|line| format!("socket {line}")).collect()
}

/// How the abstract names of a run begin.
pub(crate) fn abstract_prefix() -> String {
    let home = home().unwrap_or_default();
    let name = home.file_name().unwrap_or_default();
    format!("ipc-chaos-{}-", name.display())
}

/// Everything in the folder of the run, and what has our names in shared memory.
fn files() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let shared = entries(Path::new("/dev/shm"));
    let is_ours = |path: &PathBuf| path.display().to_string().contains("ipc-");
    found.extend(shared.into_iter().filter(is_ours));
    let mut folders: Vec<_> = home().into_iter().collect();
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            if path.is_dir() && !path.is_symlink() {
                folders.push(path.clone());
            }
            found.insert(path);
        }
    }
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// The folder of the run.
pub(crate) fn home() -> Option<PathBuf> {
    std::env::var_os(HOME).map(PathBuf::from)
}
