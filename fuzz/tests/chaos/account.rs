//! What must come out even: what was accepted and what became of it, what there was before and after.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use crate::session::{children, within};

/// Each accepted id is delivered or reported exactly once.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    ends: BTreeMap<u64, u32>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn accepted(&mut self, id: u64) {
        assert!(self.ends.insert(id, 0).is_none(), "{id} was accepted twice");
    }

    pub(crate) fn delivered(&mut self, id: u64) {
        self.ended(id, "delivered");
    }

    pub(crate) fn reported(&mut self, id: u64) {
        self.ended(id, "reported");
    }

    fn ended(&mut self, id: u64, how: &str) {
        let ends = self.ends.get_mut(&id);
        let ends = ends.unwrap_or_else(|| panic!("{id} was {how} and never accepted"));
        *ends += 1;
        assert_eq!(*ends, 1, "{id} was {how} and had ended before");
    }

    /// Asserts that nothing is missing.
    #[track_caller]
    pub(crate) fn check(&self) {
        let lost: Vec<_> = self.ends.iter().filter(|(_, ends)| **ends == 0).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
    }
}

/// What there was when a scenario began.
#[derive(Debug)]
pub(crate) struct Books {
    descriptors: BTreeSet<String>,
    mappings: usize,
    children: BTreeSet<u32>,
    files: BTreeSet<String>,
}

impl Books {
    pub(crate) fn open() -> Self {
        Self {
            descriptors: descriptors(),
            mappings: mappings(),
            children: children().into_iter().collect(),
            files: files(),
        }
    }

    /// Says what is there and was not before; what was let go of without waiting takes a moment.
    pub(crate) fn balance(&self) -> Result<(), String> {
        let mut left = String::new();
        let patience = Duration::from_secs(10);
        if within(patience, || {
            left = self.left();
            left.is_empty()
        }) {
            return Ok(());
        }
        Err(left)
    }

    fn left(&self) -> String {
        let mut left = Vec::new();
        let now = descriptors();
        if now.len() > self.descriptors.len() {
            left.extend(now.difference(&self.descriptors).cloned());
        }
        let more = mappings().saturating_sub(self.mappings);
        if more > 0 {
            left.push(format!("{more} mappings"));
        }
        let now: BTreeSet<_> = children().into_iter().collect();
        left.extend(
            now.difference(&self.children)
                .map(|pid| format!("process {pid}")),
        );
        left.extend(files().difference(&self.files).cloned());
        left.join(", ")
    }
}

fn descriptors() -> BTreeSet<String> {
    let found = ipc_core::descriptors().expect("descriptors can be listed");
    let text = |fd: &ipc_core::Descriptor| format!("{} {:?}", fd.number, fd.target);
    found.iter().map(text).collect()
}

fn mappings() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines().filter(|line| line.contains("/memfd:")).count()
}

fn files() -> BTreeSet<String> {
    let folders = [std::env::temp_dir(), "/dev/shm".into()];
    let entries = folders.iter().flat_map(fs::read_dir).flatten().flatten();
    let names = entries.map(|entry| entry.path().display().to_string());
    let ours = ["ipc-exchange", "ipc-core", "ipc-actors"];
    names
        .filter(|name| ours.iter().any(|own| name.contains(own)))
        .collect()
}
