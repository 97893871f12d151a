//! What one hot path cost, and in which source files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Instructions of one hot path, done [`TIMES`](super::TIMES) times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All of them.
    pub total: u64,
    /// Those of each place, inlined code where it was written: a file of the workspace; `std` or
    /// another crate `in` the file of the workspace that it was inlined into; a function of the C
    /// library `called in` one.
    pub places: BTreeMap<String, u64>,
}

impl Counts {
    /// Reads what callgrind wrote with names in full and lines as positions; `root` is the folder
    /// of the workspace. `None` when it is not that.
    pub fn parse(text: &str, root: &str) -> Option<Self> {
        let mut reading = Reading::default();
        for line in text.lines() {
            reading.line(line, root)?;
        }
        let counts = reading.counts;
        (counts.total > 0).then_some(counts)
    }

    /// The same without the places that hold less than one instruction in a hundred.
    pub fn abridged(mut self) -> Self {
        let total = self.total;
        self.places.retain(|_, count| *count >= total / 100);
        self
    }
}

/// Where in the profile a reader is.
#[derive(Default)]
struct Reading {
    counts: Counts,
    /// In code of a shared library, which counts where it was called.
    library: bool,
    /// The workspace's file that was last seen in this function.
    ours: Option<String>,
    /// What the next costs are counted for.
    place: String,
    /// The two above as they are at the beginning of a function.
    home: (Option<String>, String),
    /// The function that the next costs were spent in, when that is one of a shared library.
    callee: Option<String>,
    callee_library: Option<bool>,
    callee_name: String,
    /// The next cost is that of a call, with all that was called from there.
    call: bool,
}

impl Reading {
    fn line(&mut self, line: &str, root: &str) -> Option<()> {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        match key {
            "ob" => self.library = is_library(value),
            "fl" => {
                self.ours = None;
                self.enter(value, root);
                self.home = (self.ours.clone(), self.place.clone());
            }
            // A file that is the same as of the function before is not repeated.
            "fn" => (self.ours, self.place) = self.home.clone(),
            "fi" | "fe" => self.enter(value, root),
            "cob" => self.callee_library = Some(is_library(value)),
            "cfn" => value.clone_into(&mut self.callee_name),
            "calls" => {
                self.call = true;
                let library = self.callee_library.take().unwrap_or(self.library);
                let name = self.callee_name.split('@').next().unwrap_or("");
                // It calls `main`, and so everything.
                let start = name == "__libc_start_main";
                self.callee = (library && !self.library && !start).then(|| {
                    let caller = self.ours.as_deref().unwrap_or(&self.place);
                    format!("{name} called in {caller}")
                });
            }
            _ => {
                if let Some(total) = line.strip_prefix("summary: ") {
                    self.counts.total = total.trim().parse().ok()?;
                } else if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
                    let cost = line.split(' ').nth(1).unwrap_or("0");
                    self.cost(cost.parse().ok()?);
                }
            }
        }
        Some(())
    }

    fn enter(&mut self, path: &str, root: &str) {
        self.place = match (place(path, root), &self.ours) {
            (Place::Ours(file), _) => {
                self.ours = Some(file.clone());
                file
            }
            (Place::Other(name), Some(ours)) => format!("{name} in {ours}"),
            (Place::Other(name), None) => name,
        };
    }

    fn cost(&mut self, cost: u64) {
        let place = if std::mem::take(&mut self.call) {
            // What is called of our own is counted there.
            self.callee.take()
        } else {
            (!self.library).then(|| self.place.clone())
        };
        if let Some(place) = place {
            *self.counts.places.entry(place).or_default() += cost;
        }
    }
}

fn is_library(object: &str) -> bool {
    object
        .rsplit('/')
        .next()
        .is_some_and(|name| name.contains(".so"))
}

enum Place {
    Ours(String),
    Other(String),
}

/// Where a file is, the same on every machine.
fn place(path: &str, root: &str) -> Place {
    if let Some(inside) = path.strip_prefix(root) {
        // A file that is included from another crate is named by where it lies.
        return Place::Ours(match inside.rfind("../") {
            Some(at) => inside[at + 3..].to_owned(),
            None => inside.trim_start_matches('/').to_owned(),
        });
    }
    let name = if path.starts_with("/rustc/") || path.contains("/lib/rustlib/") {
        "std"
    } else if let Some((_, inside)) = path.split_once("/registry/src/") {
        inside.split('/').nth(1).unwrap_or("another crate")
    } else {
        "unknown"
    };
    Place::Other(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::Counts;

    const PROFILE: &str = "\
# callgrind format
positions: line
events: Ir
summary: 1110

ob=/usr/lib/libc.so.6
fl=./csu/../csu/libc-start.c
fn=__libc_start_main@@GLIBC_2.34
cob=/somewhere/target/gate
cfn=main
calls=1 29
360 1110

ob=/somewhere/target/gate
fl=/home/me/ipc/ipc-core/src/ring/writer.rs
fn=bench::round
108 10
fi=/rustc/5980/library/core/src/cmp.rs
1506 60
cob=/usr/lib/libc.so.6
cfi=???
cfn=memcpy@GLIBC_2.2.5
calls=3 0
1506 1000
fe=/home/me/ipc/bench/src/hot/../../../ipc-exchange/src/plan/place.rs
20 5
fi=/home/me/.cargo/registry/src/index/nix-0.31.3/src/lib.rs
+1 35
cfn=bench::other
calls=1 0
* 500

ob=/usr/lib/libc.so.6
fl=./string/memmove.S
fn=memcpy@GLIBC_2.2.5
0 1000
";

    #[test]
    fn every_instruction_is_counted_in_one_place() {
        let counts = Counts::parse(PROFILE, "/home/me/ipc").expect("it is a profile");
        assert_eq!(counts.total, 1110);
        assert_eq!(counts.places.values().sum::<u64>(), counts.total);
        let places: Vec<(&str, u64)> = counts.places.iter().map(|(k, v)| (&**k, *v)).collect();
        assert_eq!(
            places,
            [
                ("ipc-core/src/ring/writer.rs", 10),
                ("ipc-exchange/src/plan/place.rs", 5),
                ("memcpy called in ipc-core/src/ring/writer.rs", 1000),
                ("nix-0.31.3 in ipc-exchange/src/plan/place.rs", 35),
                ("std in ipc-core/src/ring/writer.rs", 60),
            ]
        );
        assert_eq!(
            counts.abridged().places.len(),
            3,
            "under eleven is left out"
        );
        assert_eq!(Counts::parse("nonsense", ""), None);
    }
}
