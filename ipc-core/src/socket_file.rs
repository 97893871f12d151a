//! The file of a unix socket: who may take a path, and who removes it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
#[expect(
    deprecated,
    reason = "its successor unlocks when it is dropped, also for a process that shares the lock"
)]
use nix::fcntl::flock;
use nix::fcntl::{FlockArg, OFlag};
use nix::sys::socket::{AddressFamily, connect};

use crate::sys::{self, SocketName};
use crate::{Deadline, UnixName};

/// The claim on a socket's path, held by a lock on `PATH.lock` for as long as the port lives.
///
/// The kernel drops the lock when its holder dies, however it dies; whoever gets it next may remove
/// what is left. While it is held nobody else's bind succeeds, so a live socket is never stolen.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    lock_path: PathBuf,
    /// Device and inode of the socket, once bound.
    identity: Option<(u64, u64)>,
    /// `None` only while it is dropped.
    lock: Option<File>,
    /// Another process may have the port too: the last one removes the files.
    shared: AtomicBool,
}

impl SocketFile {
    /// Claims `path`: makes missing folders (0700), takes the lock and removes a dead owner's socket.
    ///
    /// # Errors
    ///
    /// `AddrInUse` when a live port has the path; `AlreadyExists` when something other than a socket
    /// is there.
    pub(crate) fn claim(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let lock_path = lock_path(path);
        let lock = lock(path, &lock_path)?;
        let claim = Self {
            path: path.to_owned(),
            lock_path,
            identity: None,
            lock: Some(lock),
            shared: AtomicBool::new(false),
        };
        remove_stale(path)?;
        Ok(claim)
    }

    /// Takes part in the claim of another process, whose lock this is.
    pub(crate) fn adopt(path: &Path, lock: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            lock_path: lock_path(path),
            identity: Some(identity(path)?),
            lock: Some(File::from(lock)),
            shared: AtomicBool::new(true),
        })
    }

    /// Lets another process take part.
    pub(crate) fn share(&self) -> io::Result<OwnedFd> {
        let lock = self.lock.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let copy = lock.try_clone()?;
        // Relaxed: looked at when nobody else has this any more.
        self.shared.store(true, Ordering::Relaxed);
        Ok(copy.into())
    }

    /// Notes which file was bound, so that only that one is removed.
    pub(crate) fn bound(&mut self) -> io::Result<()> {
        self.identity = Some(identity(&self.path)?);
        Ok(())
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.shared.load(Ordering::Relaxed) {
            // Without this hold the lock is free if no other process has the port.
            drop(self.lock.take());
            match lock(&self.path, &self.lock_path) {
                Ok(lock) => self.lock = Some(lock),
                Err(_) => return,
            }
        }
        // A failure leaves a stale file, which the next port at this path replaces.
        if self.identity.is_some() && identity(&self.path).ok() == self.identity {
            let _ = fs::remove_file(&self.path);
        }
        // Removed while locked: a claimant that opened it meanwhile notices that its lock is on a
        // file without a name, and tries again.
        let _ = fs::remove_file(&self.lock_path);
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    PathBuf::from(lock_path)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn in_use(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::AddrInUse,
        format!("a live port has the path {}", path.display()),
    )
}

/// Locks `lock_path` on behalf of `path`, which is what a refusal names.
fn lock(path: &Path, lock_path: &Path) -> io::Result<File> {
    // Each turn means that another port was dropped in between.
    for _ in 0..64 {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags((OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW).bits())
            .open(lock_path)?;
        #[expect(
            deprecated,
            reason = "its successor unlocks when it is dropped, for all that share the lock"
        )]
        match flock(file.as_raw_fd(), FlockArg::LockExclusiveNonblock) {
            Ok(()) => {}
            Err(Errno::EWOULDBLOCK) => return Err(in_use(path)),
            Err(errno) => return Err(errno.into()),
        }
        let held = file.metadata()?;
        if identity(lock_path).ok() == Some((held.dev(), held.ino())) {
            return Ok(file);
        }
    }
    Err(in_use(path))
}

/// Removes a socket that nobody listens on. The caller holds the lock, so no port of this library is
/// between its bind and its listen.
fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{} is there and is not a socket", path.display()),
        ));
    }
    let name = UnixName::path(path)?;
    // A listener of another library holds no lock: see whether it answers.
    let name = SocketName::unix(&name)?;
    // Refused means that nobody listens; the other kind of socket says so by `EPROTOTYPE`.
    let refused = |open| probe(&name, open) == Err(Errno::ECONNREFUSED);
    if refused(sys::stream_socket) || refused(sys::packet_socket) {
        fs::remove_file(path)
    } else {
        Err(in_use(path))
    }
}

fn probe(name: &SocketName, open: fn(AddressFamily) -> io::Result<OwnedFd>) -> Result<(), Errno> {
    let errno = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
    let fd = open(AddressFamily::Unix).map_err(errno)?;
    sys::set_connect_timeout(fd.as_fd(), Deadline::Now.remaining()).map_err(errno)?;
    connect(fd.as_raw_fd(), name.as_dyn())
}
