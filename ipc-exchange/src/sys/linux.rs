//! Linux: memfds that are sealed, forks that are siblings, and a signal when the parent dies.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl;
use nix::sys::resource::Resource;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Gid, Pid, Uid, getppid, setgid, setgroups, setuid};

const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW);

/// Makes an anonymous file of `len` bytes whose size is fixed.
pub(crate) fn page_file(len: u64) -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let file = File::from(memfd_create(c"ipc-exchange", flags)?);
    file.set_len(len)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS | SealFlag::F_SEAL_SEAL))?;
    Ok(file)
}

/// Refuses a file whose size is not `len` for ever: mapping it could end in SIGBUS.
pub(crate) fn check_page_file(file: &File, len: u64) -> io::Result<()> {
    let seals = SealFlag::from_bits_truncate(fcntl(file, FcntlArg::F_GET_SEALS)?);
    if !seals.contains(SEALS) || file.metadata()?.len() != len {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the control page has the wrong size or is not sealed",
        ));
    }
    Ok(())
}

/// Asks the kernel to kill this process when the thread that started it ends, and ends it now if
/// that has happened already.
pub(crate) fn die_with_parent(parent: u32) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if u32::try_from(getppid().as_raw()) != Ok(parent) {
        std::process::exit(crate::worker::EXIT_ORPHAN);
    }
    Ok(())
}

/// Asks the kernel to let this process go on, if it is stopped, when the thread that started it ends:
/// it can then see that its parent is gone, and to others this signal means nothing.
pub(crate) fn wake_with_parent() -> io::Result<()> {
    Ok(prctl::set_pdeathsig(Signal::SIGCONT)?)
}

/// Takes [`die_with_parent`] back: the lifeline ends this process and its group together.
pub(crate) fn end_with_group() -> io::Result<()> {
    Ok(prctl::set_pdeathsig(None)?)
}

/// Waits until the child has ended, and leaves it to be reaped.
pub(crate) fn await_end(pid: Pid) -> io::Result<()> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    loop {
        match waitid(Id::Pid(pid), flags) {
            Err(Errno::EINTR) => {}
            // The latter: reaped elsewhere.
            Ok(_) | Err(Errno::ECHILD) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Whether the child has ended and was not reaped: its number, and that of its group, are its own.
pub(crate) fn is_unreaped(pid: Pid) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
    waitid(Id::Pid(pid), flags).is_ok_and(|status| status != WaitStatus::StillAlive)
}

/// Whether this process is a child that can still be waited for, ended or not.
pub(crate) fn is_child(pid: Pid) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(pid), flags) != Err(Errno::ECHILD)
}

/// A process, not only its number: that may be another's when it has ended, and this stays its own.
#[derive(Debug)]
pub(crate) struct PidFd(OwnedFd);

impl PidFd {
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: pidfd_open takes two integers and touches no memory of ours.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = RawFd::try_from(Errno::result(fd)?).expect("descriptors are ints");
        // SAFETY: the system has just made this descriptor, and nobody else knows of it. It is
        // close-on-exec from the start.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sends a signal to it and its process group, or to it alone where the kernel cannot do that
    /// (before Linux 6.9). That it has ended is no error.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        const TO_GROUP: libc::c_uint = 1 << 2;
        match self.send(signal, TO_GROUP) {
            Err(Errno::EINVAL) => {}
            done => return ended_is_fine(done),
        }
        self.signal_alone(signal)
    }

    /// Sends a signal to it alone.
    pub(crate) fn signal_alone(&self, signal: i32) -> io::Result<()> {
        ended_is_fine(self.send(signal, 0))
    }

    fn send(&self, signal: i32, flags: libc::c_uint) -> Result<(), Errno> {
        let info = std::ptr::null::<libc::siginfo_t>();
        let fd = self.0.as_raw_fd();
        // SAFETY: pidfd_send_signal takes integers and a pointer that may be null, as this one is. The
        // descriptor is open for the call.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, flags) };
        Errno::result(sent).map(drop)
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn ended_is_fine(sent: Result<(), Errno>) -> io::Result<()> {
    match sent {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Which of the two processes this is after [`fork_sibling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sibling {
    /// The new one.
    New,
    /// The old one, with the process id of the new one.
    Old(u32),
}

/// Forks a process that is not this one's child but its parent's, which can wait for it.
///
/// Refused when this process has more than one thread: only the calling one would exist in the new
/// process, with whatever locks the others held.
pub(crate) fn fork_sibling() -> io::Result<Sibling> {
    if threads() != Some(1) {
        return Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "a process with threads cannot be forked",
        ));
    }
    if cfg!(not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    ))) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let flags = libc::c_long::from(libc::CLONE_PARENT | libc::SIGCHLD);
    let none: libc::c_long = 0;
    // SAFETY: without CLONE_VM and with no new stack this is `fork`: the new process runs on a copy
    // of this stack, and no pointer is passed. The C library's own `fork` would also take its locks
    // and reset thread state; with one thread, checked above, no lock is held by anybody else and
    // none by this thread, which is not inside the library.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
    match u32::try_from(pid) {
        Ok(0) => Ok(Sibling::New),
        Ok(pid) => Ok(Sibling::Old(pid)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// The limit on how many processes the user may have.
pub(crate) fn processes_limit() -> Option<Resource> {
    Some(Resource::RLIMIT_NPROC)
}

/// Becomes this user, with this group and no others. What the kernel does when the parent dies must be asked
/// for anew.
pub(crate) fn become_user(user: Option<Uid>, group: Option<Gid>) -> io::Result<()> {
    let groups: Vec<_> = group.into_iter().collect();
    setgroups(&groups)?;
    if let Some(group) = group {
        setgid(group)?;
    }
    Ok(user.map_or(Ok(()), setuid)?)
}

/// Has nothing that is executed from here on give more rights.
pub(crate) fn no_new_privileges() -> io::Result<()> {
    Ok(prctl::set_no_new_privs()?)
}

/// How many threads this process has.
pub(crate) fn threads() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/task").ok()?.count())
}
