//! Looking at this process's open descriptors.

use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// An open descriptor of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its number.
    pub number: RawFd,
    /// What it is open on, as the system names it (`socket:[4711]`, `/memfd:ring`, a path), where the
    /// system tells.
    pub target: Option<PathBuf>,
}

/// Lists this process's open descriptors by number, without the one that the listing itself needs.
///
/// For tests and diagnostics: other threads may open and close descriptors meanwhile.
///
/// # Errors
///
/// When neither `/proc/self/fd` nor `/dev/fd` can be read.
pub fn descriptors() -> io::Result<Vec<Descriptor>> {
    let folder = if cfg!(target_os = "linux") {
        "/proc/self/fd"
    } else {
        "/dev/fd"
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Some(number) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        found.push(Descriptor {
            number,
            target: fs::read_link(entry.path()).ok(),
        });
    }
    // The listing's own descriptor is closed by now.
    let is_open = |number: RawFd| fs::symlink_metadata(format!("{folder}/{number}")).is_ok();
    found.retain(|descriptor| is_open(descriptor.number));
    found.sort_by_key(|descriptor| descriptor.number);
    Ok(found)
}
