//! Other Unix: an unlinked temporary file; no zygote; only the lifeline
//! tells of the parent's death.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::resource::Resource;
use nix::unistd::{Gid, Pid, Uid, setgid, setuid};

/// Makes a file of `len` bytes that has no name any more.
pub(crate) fn page_file(len: u64) -> io::Result<File> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Relaxed: only distinctness matters, and `create_new` refuses a name that is taken.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("ipc-exchange-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(&path)?;
    std::fs::remove_file(&path)?;
    file.set_len(len)?;
    Ok(file)
}

/// Refuses a file of another size.
pub(crate) fn check_page_file(file: &File, len: u64) -> io::Result<()> {
    if file.metadata()?.len() != len {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the control page has the wrong size",
        ));
    }
    Ok(())
}

/// Does nothing: the lifeline is the only line here.
pub(crate) fn die_with_parent(parent: u32) -> io::Result<()> {
    let _ = parent;
    Ok(())
}

/// Does nothing: a stopped process stays.
pub(crate) fn wake_with_parent() -> io::Result<()> {
    Ok(())
}

/// Does nothing: there is nothing to take back.
pub(crate) fn end_with_group() -> io::Result<()> {
    Ok(())
}

/// Does nothing: the caller's own wait, which reaps, is the only one here.
pub(crate) fn await_end(pid: Pid) -> io::Result<()> {
    let _ = pid;
    Ok(())
}

/// Not known.
pub(crate) fn is_unreaped(pid: Pid) -> bool {
    let _ = pid;
    false
}

/// Not known.
pub(crate) fn is_child(pid: Pid) -> bool {
    let _ = pid;
    true
}

/// There is no such thing here.
#[derive(Debug)]
pub(crate) enum PidFd {}

impl PidFd {
    /// Always `Unsupported`.
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let _ = pid;
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn signal(&self, _: i32) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn signal_alone(&self, _: i32) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn has_ended(&self) -> bool {
        match *self {}
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match *self {}
    }
}

/// Which of the two processes this is after [`fork_sibling`]; there is no such thing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(dead_code, reason = "the contract of the platforms, never made here")]
pub(crate) enum Sibling {
    /// The new one.
    New,
    /// The old one, with the process id of the new one.
    Old(u32),
}

/// Always `Unsupported`.
pub(crate) fn fork_sibling() -> io::Result<Sibling> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Not known.
pub(crate) fn threads() -> Option<usize> {
    None
}

/// The library that the limits are set with does not have it everywhere.
pub(crate) fn processes_limit() -> Option<Resource> {
    None
}

/// Becomes this user, with this group. Which other groups it has cannot be changed everywhere.
pub(crate) fn become_user(user: Option<Uid>, group: Option<Gid>) -> io::Result<()> {
    if let Some(group) = group {
        setgid(group)?;
    }
    Ok(user.map_or(Ok(()), setuid)?)
}

/// Always `Unsupported`.
pub(crate) fn no_new_privileges() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
