//! What counts depend on beside the source.

use std::fmt;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// The tools that made and counted. Counts made with other ones cannot be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toolchain {
    /// As `rustc --version` has it, without the word.
    pub rustc: String,
    /// The target triple.
    pub target: String,
    /// The C library, which has `memcpy` and `malloc`.
    pub libc: String,
    /// The counter, which decides what processor the program sees.
    pub valgrind: String,
}

impl Toolchain {
    /// Asks the tools; what does not answer is `unknown`.
    pub fn here() -> Self {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut verbose = Command::new(&rustc);
        verbose.arg("-vV");
        let verbose = answer(&mut verbose);
        let field = |name: &str| {
            let value = verbose.lines().find_map(|line| line.strip_prefix(name));
            value.unwrap_or("unknown").trim().to_owned()
        };
        Self {
            rustc: verbose
                .lines()
                .next()
                .map_or("unknown", |line| line.trim_start_matches("rustc "))
                .to_owned(),
            target: field("host:"),
            libc: answer(Command::new("getconf").arg("GNU_LIBC_VERSION")),
            valgrind: answer(Command::new("valgrind").arg("--version")),
        }
    }

    /// What differs, `name: theirs, here ours`.
    pub fn differences(&self, here: &Self) -> Vec<String> {
        [
            ("rustc", &self.rustc, &here.rustc),
            ("target", &self.target, &here.target),
            ("libc", &self.libc, &here.libc),
            ("valgrind", &self.valgrind, &here.valgrind),
        ]
        .into_iter()
        .filter(|(_, theirs, ours)| theirs != ours)
        .map(|(name, theirs, ours)| format!("{name}: {theirs}, here {ours}"))
        .collect()
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rustc,
            target,
            libc,
            valgrind,
        } = self;
        write!(f, "rustc {rustc}, {target}, {libc}, {valgrind}")
    }
}

/// What a program prints, or `unknown`.
fn answer(command: &mut Command) -> String {
    command
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}
