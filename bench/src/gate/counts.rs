//! What one hot path cost, and in which source files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Instructions of one hot path, done [`TIMES`](super::TIMES) times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All of them.
    pub total: u64,
    /// Those of each source file, inlined code where it was written: a path from the root of the
    /// workspace, `std`, the name of another crate, or `libc`.
    pub files: BTreeMap<String, u64>,
}

impl Counts {
    /// Reads what callgrind wrote with names in full and lines as positions; `root` is the folder
    /// of the workspace. `None` when it is not that.
    pub fn parse(text: &str, root: &str) -> Option<Self> {
        let mut counts = Self::default();
        let mut file = String::new();
        let mut inclusive = false;
        let mut body = false;
        for line in text.lines() {
            if let Some(name) = ["fl=", "fi=", "fe="]
                .iter()
                .find_map(|key| line.strip_prefix(key))
            {
                file = place(name, root);
                body = true;
            } else if line.starts_with("calls=") {
                // The next line has the cost of what is called, which is counted there.
                inclusive = true;
            } else if let Some(total) = line.strip_prefix("summary: ") {
                counts.total = total.trim().parse().ok()?;
            } else if body && line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
                if std::mem::take(&mut inclusive) {
                    continue;
                }
                let cost = line.split(' ').nth(1).unwrap_or("0");
                *counts.files.entry(file.clone()).or_default() += cost.parse::<u64>().ok()?;
            }
        }
        (counts.total > 0).then_some(counts)
    }

    /// The same without the files that hold less than one instruction in a hundred.
    pub fn abridged(mut self) -> Self {
        let total = self.total;
        self.files.retain(|_, count| *count >= total / 100);
        self
    }
}

/// Where a file is, the same on every machine.
fn place(path: &str, root: &str) -> String {
    if let Some(inside) = path.strip_prefix(root) {
        // A file that is included from another crate is named by where it lies.
        return match inside.rfind("../") {
            Some(at) => inside[at + 3..].to_owned(),
            None => inside.trim_start_matches('/').to_owned(),
        };
    }
    if path.starts_with("/rustc/") || path.contains("/lib/rustlib/") {
        return "std".to_owned();
    }
    if let Some((_, inside)) = path.split_once("/registry/src/") {
        let mut parts = inside.split('/').skip(1);
        return parts.next().unwrap_or("another crate").to_owned();
    }
    if path == "???" {
        return "unknown".to_owned();
    }
    "libc".to_owned()
}
