//! Descriptors handed to a child process.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawnp};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::fstat;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::sys;

/// The variable that tells a child which descriptors were meant for it.
const VARIABLE: &str = "IPC_INHERIT";

/// Descriptors to hand to a child process, each at a number of the caller's choice.
///
/// Everything this crate opens is close-on-exec, so a child gets what is given here and nothing else.
/// The child is started by `posix_spawn`: no code runs between fork and exec, the cost does not grow
/// with this process's memory, and another thread that starts a child at the same time cannot leak
/// anything into it. The child takes its descriptors with [`inherited`].
///
/// # Examples
///
/// ```
/// use ipc_core::{Inherit, Socket};
/// use std::io::Read;
/// use std::process::Command;
///
/// let (mut ours, theirs) = Socket::pair()?;
/// let mut command = Command::new("sh");
/// command.args(["-c", "printf hello >&5"]);
/// let mut child = Inherit::new().give(5, theirs).spawn(&command)?;
/// let mut text = String::new();
/// ours.read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// assert!(child.wait()?.success());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Inherit {
    given: BTreeMap<RawFd, OwnedFd>,
    own_group: bool,
}

impl Inherit {
    /// Nothing to hand over yet: the child gets the standard streams of this process.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives `fd` to the child as `number`; 0, 1 and 2 are its standard streams. This process's own
    /// is closed when the [`Inherit`] is dropped, so that the peer's end of file depends on the child
    /// alone.
    ///
    /// # Panics
    ///
    /// When `number` is negative.
    #[must_use]
    pub fn give(mut self, number: RawFd, fd: impl Into<OwnedFd>) -> Self {
        assert!(number >= 0, "a descriptor's number is not negative");
        self.given.insert(number, fd.into());
        self
    }

    /// Makes the child the leader of a process group of its own, so that it and whatever it starts
    /// can be signalled together, and so that a key pressed at the terminal does not reach it.
    #[must_use]
    pub fn own_group(mut self) -> Self {
        self.own_group = true;
        self
    }

    /// Starts `command`'s program with its arguments and its changes to the environment.
    ///
    /// The command's other settings cannot be read back and have no effect: standard streams are set
    /// with [`give`](Self::give), and `env_clear` is ignored.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) when `command` has a working directory of its own;
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) when a word of it contains a NUL; else what the
    /// system says, notably `NotFound`.
    pub fn spawn(self, command: &Command) -> io::Result<ChildProcess> {
        if command.get_current_dir().is_some() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a child with inherited descriptors starts in this process's working directory",
            ));
        }
        let program = word(command.get_program())?;
        let mut arguments = vec![program.clone()];
        for argument in command.get_args() {
            arguments.push(word(argument)?);
        }
        let environment = environment(command, &self.marks()?)?;
        let mut actions = PosixSpawnFileActions::init()?;
        // The sources move above all targets first, so that no target overwrites a source.
        let floor = self.given.keys().next_back().map_or(3, |last| last + 1);
        let mut sources = Vec::with_capacity(self.given.len());
        for (&number, fd) in &self.given {
            let source = sys::duplicate_above(fd, floor)?;
            actions.add_dup2(source.as_raw_fd(), number)?;
            sources.push(source);
        }
        let mut attributes = PosixSpawnAttr::init()?;
        if self.own_group {
            attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETPGROUP)?;
            attributes.set_pgroup(Pid::from_raw(0))?;
        }
        let pid = posix_spawnp(&program, &actions, &attributes, &arguments, &environment)?;
        Ok(ChildProcess { pid, status: None })
    }

    /// What the variable says: each number with the identity of what is behind it.
    fn marks(&self) -> io::Result<String> {
        let mut marks = Vec::with_capacity(self.given.len());
        for (number, fd) in &self.given {
            marks.push(mark(*number, fd)?);
        }
        Ok(marks.join(","))
    }
}

/// Takes the descriptor that this process's parent gave it as `number` with [`Inherit`].
///
/// It can be taken once; then it is close-on-exec and belongs to the caller.
///
/// # Errors
///
/// [`NotFound`](io::ErrorKind::NotFound) when the parent gave nothing at this number, or it was taken.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    let missing = || {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("no descriptor was inherited as {number}"),
        )
    };
    let marks = env::var(VARIABLE).map_err(|_| missing())?;
    let prefix = format!("{number}=");
    let expected = marks
        .split(',')
        .find(|mark| mark.starts_with(&prefix))
        .ok_or_else(missing)?;
    let fd = sys::take_inherited(number)?.ok_or_else(missing)?;
    if mark(number, &fd)? == expected {
        Ok(fd)
    } else {
        Err(missing())
    }
}

/// Makes this process the leader of a session of its own, without a terminal: what a daemon does that
/// was started by [`Inherit`] with nothing but `/dev/null` for its standard streams.
///
/// # Errors
///
/// [`PermissionDenied`](io::ErrorKind::PermissionDenied) when it leads a process group already.
pub fn start_session() -> io::Result<()> {
    nix::unistd::setsid()?;
    Ok(())
}

fn mark(number: RawFd, fd: &OwnedFd) -> io::Result<String> {
    let found = fstat(fd)?;
    Ok(format!("{number}={}.{}", found.st_dev, found.st_ino))
}

fn word(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| {
        let text = format!("{text:?} contains a NUL");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })
}

fn environment(command: &Command, marks: &str) -> io::Result<Vec<CString>> {
    let mut variables: BTreeMap<OsString, OsString> = env::vars_os().collect();
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => variables.insert(name.to_owned(), value.to_owned()),
            None => variables.remove(name),
        };
    }
    variables.insert(VARIABLE.into(), marks.into());
    let entry = |(name, value): (OsString, OsString)| {
        let mut entry = name.into_vec();
        entry.push(b'=');
        entry.extend_from_slice(value.as_bytes());
        word(&OsString::from_vec(entry))
    };
    variables.into_iter().map(entry).collect()
}

/// A child process that was started with [`Inherit::spawn`].
///
/// Dropping it neither ends nor reaps the child, as with [`std::process::Child`]: call
/// [`wait`](Self::wait).
#[derive(Debug)]
pub struct ChildProcess {
    pid: Pid,
    status: Option<ExitStatus>,
}

impl ChildProcess {
    /// A child of this process that was started in another way, by `fork` for example.
    ///
    /// Nothing else may wait for it: after that its number may be another process's.
    ///
    /// # Panics
    ///
    /// When no process can have that number.
    pub fn from_id(pid: u32) -> Self {
        let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0);
        Self {
            pid: Pid::from_raw(pid.expect("process ids are positive and fit")),
            status: None,
        }
    }

    /// Its process id, which names this child until it was waited for.
    pub fn id(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Waits until it has ended, and reaps it. Later calls answer the same.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            match self.reap(WaitPidFlag::empty()) {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reaps it if it has ended; `None` while it runs.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.reap(WaitPidFlag::WNOHANG)
    }

    /// Ends it with `SIGKILL`. One that has been waited for is left alone.
    pub fn kill(&mut self) -> io::Result<()> {
        if self.status.is_none() {
            match kill(self.pid, Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn reap(&mut self, flags: WaitPidFlag) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = match waitpid(self.pid, Some(flags))? {
                WaitStatus::Exited(_, code) => Some(ExitStatus::from_raw(code << 8)),
                WaitStatus::Signaled(_, signal, dumped) => Some(ExitStatus::from_raw(
                    signal as i32 | if dumped { 0x80 } else { 0 },
                )),
                _ => None,
            };
        }
        Ok(self.status)
    }
}
