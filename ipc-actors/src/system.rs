//! What the system says about a process.

use serde::{Deserialize, Serialize};

/// What the system says about a process: on Linux, from `/proc`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemInfo {
    /// Bytes of memory resident.
    pub memory: u64,
    /// Bytes of address space.
    pub memory_virtual: u64,
    /// Milliseconds of processor time used since it was started.
    pub cpu_ms: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors; zero where they may not be counted.
    pub descriptors: u64,
}

/// The size of a page where Linux counts in pages.
const PAGE_LEN: u64 = 4096;

/// The kernel tells processor time in hundredths of a second, whatever its own clock.
const TICK_MS: u64 = 10;

impl SystemInfo {
    /// What the system says about this process now; `None` if there is no such process, or the system
    /// does not tell.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        if !cfg!(all(target_os = "linux", not(ipc_portable))) || pid == 0 {
            return None;
        }
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before may hold anything, blanks and brackets among it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        // Counted from the state, which is the third of proc(5).
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"));
        Some(Self {
            memory: resident.map_or_else(|| field(24).unwrap_or(0) * PAGE_LEN, |kb| kb * 1024),
            memory_virtual: field(23)?,
            cpu_ms: (field(14)? + field(15)?) * TICK_MS,
            threads: field(20)?,
            descriptors: descriptors.map_or(0, |entries| entries.count() as u64),
        })
    }
}
