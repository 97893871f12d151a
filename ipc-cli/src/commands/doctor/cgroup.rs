//! The control groups that this process is in: the smallest limit from its own to the root.

use std::fs;
use std::path::{Path, PathBuf};

/// Where control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// Limits that version 1 states as "none" are this large or larger.
const NONE_V1: u64 = 1 << 62;

/// The limits of this process's control groups; `None` where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) memory_bytes: Option<u64>,
    pub(super) processes: Option<u64>,
    /// Thousandths of one CPU.
    pub(super) cpu_millis: Option<u64>,
}

/// What the system says; `None` without control groups.
pub(super) fn limits() -> Option<Limits> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    Some(read(&groups, Path::new(ROOT)))
}

fn read(groups: &str, root: &Path) -> Limits {
    let mut limits = Limits::default();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if controllers.is_empty() {
            let folders = || upwards(root, path);
            limits.memory_bytes = least(limits.memory_bytes, folders(), "memory.max", whole);
            limits.processes = least(limits.processes, folders(), "pids.max", whole);
            limits.cpu_millis = least(limits.cpu_millis, folders(), "cpu.max", share);
            continue;
        }
        for controller in controllers.split(',') {
            let folders = || upwards(&root.join(controller), path);
            match controller {
                "memory" => {
                    let file = "memory.limit_in_bytes";
                    limits.memory_bytes = least(limits.memory_bytes, folders(), file, whole);
                }
                "pids" => {
                    limits.processes = least(limits.processes, folders(), "pids.max", whole);
                }
                "cpu" => {
                    for folder in folders() {
                        let text = |file| fs::read_to_string(folder.join(file)).unwrap_or_default();
                        let (quota, period) = (text("cpu.cfs_quota_us"), text("cpu.cfs_period_us"));
                        let found = share(&format!("{} {}", quota.trim(), period.trim()));
                        limits.cpu_millis = smaller(limits.cpu_millis, found);
                    }
                }
                _ => {}
            }
        }
    }
    limits
}

/// The folder of a group and those above it, up to `root`. Within a container the path is often one
/// of the host's, which is not there: the root then stands for it.
fn upwards(root: &Path, path: &str) -> Vec<PathBuf> {
    let path = Path::new(path.trim_start_matches('/'));
    path.ancestors().map(|part| root.join(part)).collect()
}

fn least(
    known: Option<u64>,
    folders: Vec<PathBuf>,
    file: &str,
    parse: fn(&str) -> Option<u64>,
) -> Option<u64> {
    folders
        .iter()
        .filter_map(|folder| parse(&fs::read_to_string(folder.join(file)).ok()?))
        .fold(known, |known, found| smaller(known, Some(found)))
}

fn smaller(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// A number, or nothing for `max`.
fn whole(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|&limit| limit < NONE_V1)
}

/// `QUOTA PERIOD` as thousandths of a CPU, or nothing for `max` and -1.
fn share(text: &str) -> Option<u64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    quota.checked_mul(1000)?.checked_div(period)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, file: &str, text: &str) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(file), text).unwrap();
    }

    #[test]
    fn the_smallest_limit_above_counts() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(&root.join("a"), "memory.max", "1000000\n");
        write(&root.join("a/b"), "memory.max", "max\n");
        write(&root.join("a/b"), "cpu.max", "150000 100000\n");
        write(&root.join("a/b"), "pids.max", "64\n");
        let found = read("0::/a/b\n", root);
        let expected = Limits {
            memory_bytes: Some(1_000_000),
            processes: Some(64),
            cpu_millis: Some(1500),
        };
        assert_eq!(found, expected);
        assert_eq!(read("0::/elsewhere\n", root), Limits::default());
    }

    #[test]
    fn version_1_has_a_tree_for_each_controller() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let none = "9223372036854771712\n";
        write(&root.join("memory"), "memory.limit_in_bytes", none);
        write(&root.join("memory/x"), "memory.limit_in_bytes", "4096\n");
        write(&root.join("cpu/y"), "cpu.cfs_quota_us", "-1\n");
        write(&root.join("cpu/y"), "cpu.cfs_period_us", "100000\n");
        let found = read("4:memory:/x\n1:cpu,cpuacct:/y\n0::/\nnonsense\n", root);
        assert_eq!(found.memory_bytes, Some(4096));
        assert_eq!((found.processes, found.cpu_millis), (None, None));
    }
}
