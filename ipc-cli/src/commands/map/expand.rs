//! Which files paths mean.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A path that is a file to work on, or why it cannot be.
type Found = Result<PathBuf, (PathBuf, io::Error)>;

/// The files that `paths` mean, in order. A directory means every regular file below it, sorted by
/// the bytes of their paths; links below it are not followed. What cannot be read stands in its
/// place as an error, after the files of its directory.
pub(super) fn expand(paths: impl IntoIterator<Item = PathBuf>) -> Vec<Found> {
    let mut inputs = Vec::new();
    for path in paths {
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                let (mut files, mut errors) = (Vec::new(), Vec::new());
                walk(&path, &mut files, &mut errors);
                files.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
                inputs.extend(files.into_iter().map(Ok));
                inputs.extend(errors.into_iter().map(Err));
            }
            Ok(_) => inputs.push(Ok(path)),
            Err(error) => inputs.push(Err((path, error))),
        }
    }
    inputs
}

fn walk(top: &Path, files: &mut Vec<PathBuf>, errors: &mut Vec<(PathBuf, io::Error)>) {
    let mut waiting = vec![top.to_owned()];
    while let Some(folder) = waiting.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                errors.push((folder, error));
                continue;
            }
        };
        for entry in entries {
            let kind = entry.and_then(|entry| Ok((entry.file_type()?, entry.path())));
            match kind {
                Ok((kind, path)) if kind.is_dir() => waiting.push(path),
                Ok((kind, path)) if kind.is_file() => files.push(path),
                Ok(_) => {}
                Err(error) => errors.push((folder.clone(), error)),
            }
        }
    }
}
