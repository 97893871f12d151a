//! Runs the bench that counts and reads what came of it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs, io};

use serde::Deserialize;
use thiserror::Error;

use super::{Baseline, Counts, Toolchain};

/// What runs the bench's programs under callgrind; of the same version as the library.
const RUNNER: &str = "gungraun-runner";
const RUNNER_VERSION: &str = "0.20.0";

/// Why nothing was measured.
#[derive(Debug, Error)]
pub enum MeasureError {
    /// A tool is not there.
    #[error("{tool} is not installed: {remedy}")]
    Missing {
        /// Which.
        tool: &'static str,
        /// What installs it.
        remedy: String,
    },
    /// A program could not be started or read.
    #[error("{what} failed")]
    Io {
        /// What was attempted.
        what: String,
        /// Why it did not work.
        source: io::Error,
    },
    /// The bench ended with an error, which it has printed.
    #[error("the bench failed: {status}")]
    Bench {
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// What it printed is not what this version prints.
    #[error("the bench printed what is not a summary: {line}")]
    Format {
        /// The line.
        line: String,
    },
}

/// What is of interest of a line of the runner's JSON.
#[derive(Deserialize)]
struct Summary {
    /// The crate, by our naming.
    function_name: String,
    /// The operation.
    id: String,
    /// Where the profile is.
    output_dir: String,
}

/// Counts every hot path of the workspace at `root`, whose bench is built first.
///
/// # Errors
///
/// See [`MeasureError`].
pub fn measure(root: &Path) -> Result<Baseline, MeasureError> {
    check_tools()?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let output = Command::new(cargo)
        .args(["bench", "--quiet", "-p", "bench", "--features", "gate"])
        .args(["--bench", "gate", "--", "--output-format=json"])
        .current_dir(root)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| io_error("cargo bench", source))?;
    if !output.status.success() {
        return Err(MeasureError::Bench {
            status: output.status,
        });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut paths = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let bad = || MeasureError::Format {
            line: line.chars().take(200).collect(),
        };
        let summary: Summary = serde_json::from_str(line).map_err(|_| bad())?;
        let name = format!("{}/{}", summary.function_name, summary.id);
        let profile = profile(Path::new(&summary.output_dir))?;
        let counts = Counts::parse(&profile, &root.to_string_lossy()).ok_or_else(bad)?;
        paths.insert(name, counts);
    }
    if paths.is_empty() {
        return Err(MeasureError::Format {
            line: "nothing".to_owned(),
        });
    }
    Ok(Baseline {
        toolchain: Toolchain::here(),
        paths,
    })
}

fn check_tools() -> Result<(), MeasureError> {
    if version("valgrind").is_none() {
        return Err(MeasureError::Missing {
            tool: "valgrind",
            remedy: "apt-get install valgrind, or your system's package".to_owned(),
        });
    }
    if !version(RUNNER).is_some_and(|version| version.contains(RUNNER_VERSION)) {
        return Err(MeasureError::Missing {
            tool: RUNNER,
            remedy: format!("cargo install --locked {RUNNER} --version {RUNNER_VERSION}"),
        });
    }
    Ok(())
}

fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    String::from_utf8(output.stdout).ok()
}

/// The profile in the folder of one hot path.
fn profile(folder: &Path) -> Result<String, MeasureError> {
    let at = |source| io_error(&format!("reading {}", folder.display()), source);
    let mut found = None;
    for entry in fs::read_dir(folder).map_err(at)? {
        let path = entry.map_err(at)?.path();
        if path.extension().is_some_and(|extension| extension == "out") {
            found = Some(path);
        }
    }
    let path = found.ok_or_else(|| at(io::ErrorKind::NotFound.into()))?;
    fs::read_to_string(path).map_err(at)
}

fn io_error(what: &str, source: io::Error) -> MeasureError {
    MeasureError::Io {
        what: what.to_owned(),
        source,
    }
}
