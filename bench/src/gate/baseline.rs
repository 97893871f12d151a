//! The committed counts.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Counts, Toolchain};

/// Counts of every hot path, and the tools they were made with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// What made and counted.
    pub toolchain: Toolchain,
    /// By crate and operation, `core/ring_push_pop_64`.
    pub paths: BTreeMap<String, Counts>,
}

/// Why there is no baseline.
#[derive(Debug, Error)]
pub enum BaselineError {
    /// The file cannot be read or written.
    #[error("the baseline {path} cannot be read or written")]
    Io {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The file is not a baseline.
    #[error("{path} is not a baseline")]
    Format {
        /// Which file.
        path: String,
        /// Where it is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Baseline {
    /// Reads a baseline.
    ///
    /// # Errors
    ///
    /// See [`BaselineError`].
    pub fn load(path: &Path) -> Result<Self, BaselineError> {
        let text = fs::read_to_string(path).map_err(|source| io_error(path, source))?;
        toml::from_str(&text).map_err(|source| format_error(path, source))
    }

    /// Writes it, places of little weight left out.
    ///
    /// # Errors
    ///
    /// See [`BaselineError`].
    pub fn save(&self, path: &Path) -> Result<(), BaselineError> {
        let mut brief = self.clone();
        for counts in brief.paths.values_mut() {
            *counts = std::mem::take(counts).abridged();
        }
        let body = toml::to_string(&brief).map_err(|source| format_error(path, source))?;
        let times = super::TIMES;
        let text = format!(
            "# Instructions of {times} times each hot path, and where in the source.\n\
             # Written by `cargo run -p bench --bin gate -- --accept`.\n\n{body}"
        );
        fs::write(path, text).map_err(|source| io_error(path, source))
    }
}

fn io_error(path: &Path, source: io::Error) -> BaselineError {
    BaselineError::Io {
        path: path.display().to_string(),
        source,
    }
}

fn format_error(
    path: &Path,
    source: impl std::error::Error + Send + Sync + 'static,
) -> BaselineError {
    BaselineError::Format {
        path: path.display().to_string(),
        source: Box::new(source),
    }
}
