//! Where what a command prints is kept until it is shown.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

/// Where a process finds the descriptors of another one of its user, and opens them anew.
const DESCRIPTORS: &str = "/proc/self/fd";

/// Two files, for standard output and error, that are gone when nobody has them open any more:
/// however a run ends, nothing of it is left.
///
/// They have no name where a worker can open them by this process's descriptors; elsewhere they have
/// one as long as this exists.
#[derive(Debug)]
pub(super) struct Spool {
    files: [File; 2],
    paths: [PathBuf; 2],
    _names: Option<[TempPath; 2]>,
}

impl Spool {
    /// Makes two empty files in the folder for temporary ones.
    pub(super) fn new() -> io::Result<Self> {
        if Path::new(DESCRIPTORS).exists() {
            let files = [tempfile::tempfile()?, tempfile::tempfile()?];
            let path = |file: &File| {
                let process = std::process::id();
                format!("/proc/{process}/fd/{}", file.as_raw_fd()).into()
            };
            let paths = [path(&files[0]), path(&files[1])];
            return Ok(Self {
                files,
                paths,
                _names: None,
            });
        }
        let [out, err] = [NamedTempFile::new()?, NamedTempFile::new()?];
        let ((out, out_path), (err, err_path)) = (out.into_parts(), err.into_parts());
        Ok(Self {
            files: [out, err],
            paths: [out_path.to_path_buf(), err_path.to_path_buf()],
            _names: Some([out_path, err_path]),
        })
    }

    /// Where a worker opens them, as long as this exists.
    pub(super) fn paths(&self) -> &[PathBuf; 2] {
        &self.paths
    }

    /// What was printed to standard output and to standard error.
    pub(super) fn into_files(self) -> [File; 2] {
        self.files
    }
}
