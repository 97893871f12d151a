//! One instance, and where to find it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ipc_core::{Address, Port};

/// A file that holds this process's id for as long as it runs.
///
/// That there is one instance is not read from the file, which a crash leaves behind, but shown by a
/// socket beside it that only a living process can hold: a stale file is replaced, and the number of
/// an unrelated process that happens to be the same keeps nobody out.
#[derive(Debug)]
pub struct Pidfile {
    path: PathBuf,
    pid: u32,
    /// Held, never accepted on. Dropped after the file is removed.
    _held: Port,
}

/// Why there is no pid file.
#[derive(Debug, thiserror::Error)]
pub enum PidfileError {
    /// Another instance runs.
    #[error("{} belongs to process {pid}, which runs", path.display())]
    Running {
        /// The file.
        path: PathBuf,
        /// What it holds; zero if it cannot be read.
        pid: u32,
    },
    /// The file or the socket beside it cannot be made.
    #[error("cannot write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Pidfile {
    /// Writes this process's id to `path`, all at once.
    ///
    /// # Errors
    ///
    /// [`PidfileError`].
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, PidfileError> {
        let path = path.into();
        let wrong = |source| PidfileError::Io {
            path: path.clone(),
            source,
        };
        // A port would make the folder; that of a pid file is a slip of the pen if it is not there.
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        folder
            .map_or(Ok(()), |folder| fs::metadata(folder).map(drop))
            .map_err(wrong)?;
        let mut socket = path.clone().into_os_string();
        socket.push(".lock");
        let address = Address::unix(&socket).map_err(|error| wrong(error.into()))?;
        let held = match Port::bind(&address) {
            Ok(held) => held,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let text = fs::read_to_string(&path).unwrap_or_default();
                let pid = text.trim().parse().unwrap_or(0);
                return Err(PidfileError::Running { path, pid });
            }
            Err(source) => return Err(wrong(source)),
        };
        let pid = std::process::id();
        let mut fresh = path.clone().into_os_string();
        fresh.push(".new");
        fs::write(&fresh, format!("{pid}\n")).map_err(wrong)?;
        fs::rename(&fresh, &path).map_err(wrong)?;
        Ok(Self {
            path,
            pid,
            _held: held,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Pidfile {
    /// Removes the file if it is still this process's own.
    fn drop(&mut self) {
        let own =
            fs::read_to_string(&self.path).is_ok_and(|text| text.trim() == self.pid.to_string());
        if own && self.pid == std::process::id() {
            // One that cannot be removed is stale, which the next instance sees.
            drop(fs::remove_file(&self.path));
        }
    }
}
