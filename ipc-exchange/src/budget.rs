//! What a program's process may use, and who it is.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Group, Uid, User};
use serde::{Deserialize, Serialize};

use crate::sys::{become_user, no_new_privileges, processes_limit};

/// What a program's process may use; nothing is limited unless said.
///
/// Two kinds of limits hold it. Those of the process itself (`address_space`, `open_files`, `cpu_time`,
/// `core`, `processes`) are set by the new process, before anything of the program runs there: that
/// works on every Unix but for `processes`, and one that is above what this process may have is
/// lowered to that. Those of a control group (`memory`, `cpu_percent`, `tasks`) hold the process together with all that it
/// starts. They need a [`group`](Self::group) in which this process may make others; it makes one for
/// each process and removes it when nothing is left there, and only then tells of the process's end.
///
/// ```
/// use ipc_exchange::Budget;
/// use std::time::Duration;
///
/// let budget = Budget::new()
///     .open_files(256)
///     .cpu_time(Duration::from_secs(3600))
///     .core(0)
///     .group("/sys/fs/cgroup/system.slice/demo.service/workers")
///     .memory(512 << 20)
///     .tasks(64);
/// # let _ = budget;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Budget {
    pub(crate) limits: Limits,
    pub(crate) memory: Option<u64>,
    pub(crate) cpu_percent: Option<u32>,
    pub(crate) tasks: Option<u64>,
    pub(crate) groups: Vec<PathBuf>,
    pub(crate) or_without: bool,
}

/// The limits of the process itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Limits {
    address_space: Option<u64>,
    open_files: Option<u64>,
    cpu_seconds: Option<u64>,
    core: Option<u64>,
    processes: Option<u64>,
    user: Option<String>,
    user_group: Option<String>,
    no_new_privileges: bool,
}

impl Budget {
    /// Limits nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// At most so many bytes of addresses: what is beyond cannot be allocated, which ends most programs.
    /// Counts what is mapped, not what is used; a process of this stack maps some 100 MiB.
    #[must_use]
    pub fn address_space(mut self, bytes: u64) -> Self {
        self.limits.address_space = Some(bytes);
        self
    }

    /// At most so many open descriptors: numbers below this one.
    #[must_use]
    pub fn open_files(mut self, count: u64) -> Self {
        self.limits.open_files = Some(count);
        self
    }

    /// At most so much time on processors in all its life, in whole seconds, at least one: SIGXCPU ends
    /// it then, and SIGKILL a second later if it heeds that and goes on.
    #[must_use]
    pub fn cpu_time(mut self, time: Duration) -> Self {
        let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        self.limits.cpu_seconds = Some(seconds.max(1));
        self
    }

    /// A core file of at most so many bytes; with zero none is written. Without this it is as for this
    /// process. A core file holds the secrets of its process.
    #[must_use]
    pub fn core(mut self, bytes: u64) -> Self {
        self.limits.core = Some(bytes);
        self
    }

    /// At most so many processes and threads of its user, counted over the whole machine, can there be
    /// when it starts another. Users with rights over resources, root for one, are not held by this:
    /// see [`tasks`](Self::tasks). Linux only: elsewhere a process with this limit does not start.
    #[must_use]
    pub fn processes(mut self, count: u64) -> Self {
        self.limits.processes = Some(count);
        self
    }

    /// At most so many bytes of memory: when no more can be reclaimed the kernel kills it, which its
    /// end tells as [`out_of_memory`](crate::Process::out_of_memory). It may not swap, where the
    /// kernel can be told so.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// So many hundredths of one processor's time, at least one: 150 is one and a half processors.
    /// What is beyond waits.
    #[must_use]
    pub fn cpu_percent(mut self, percent: u32) -> Self {
        self.cpu_percent = Some(percent.max(1));
        self
    }

    /// At most so many processes and threads, itself and its two or three threads included: others
    /// cannot be started.
    #[must_use]
    pub fn tasks(mut self, count: u64) -> Self {
        self.tasks = Some(count);
        self
    }

    /// Run as this user, a name or a number, and its group, with no other groups. Only root may become
    /// another; for anybody else, and if there is no such user, the process does not start. What it was given
    /// to work with it keeps: its channel to this process, above all.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.limits.user = Some(user.into());
        self
    }

    /// Whether it says what user to run as: such a process cannot come to a [`Refuge`](crate::Refuge).
    pub fn has_user(&self) -> bool {
        self.limits.user.is_some()
    }

    /// Run with this group, a name or a number, and no others. As [`user`](Self::user).
    #[must_use]
    pub fn user_group(mut self, group: impl Into<String>) -> Self {
        self.limits.user_group = Some(group.into());
        self
    }

    /// What it executes gives it no more rights than it has, whatever bits the file has: it can become
    /// nobody else. Linux only: elsewhere a process that shall be so does not start.
    #[must_use]
    pub fn no_new_privileges(mut self) -> Self {
        self.limits.no_new_privileges = true;
        self
    }

    /// The folder of a control group that was delegated to this program: it may make groups there, and
    /// no process is in it (a rule of version 2). With version 1, where each controller has a
    /// hierarchy of its own, call it once for each.
    #[must_use]
    pub fn group(mut self, folder: impl Into<PathBuf>) -> Self {
        self.groups.push(folder.into());
        self
    }

    /// Start the process also when there is no control group for all the limits that want one, with
    /// those that can be had. Otherwise its start fails then.
    #[must_use]
    pub fn or_without_group(mut self) -> Self {
        self.or_without = true;
        self
    }
}

impl Limits {
    /// Sets them for this process, and what it starts.
    pub(crate) fn apply(&self) -> io::Result<()> {
        if self.no_new_privileges {
            no_new_privileges()?;
        }
        // Before the limits: to look a name up takes descriptors and memory.
        self.become_user()?;
        lower(Resource::RLIMIT_CORE, self.core, 0)?;
        lower(Resource::RLIMIT_CPU, self.cpu_seconds, 1)?;
        lower(Resource::RLIMIT_NOFILE, self.open_files, 0)?;
        match (processes_limit(), self.processes) {
            (Some(resource), to) => lower(resource, to, 0)?,
            (None, None) => {}
            (None, Some(_)) => return Err(io::ErrorKind::Unsupported.into()),
        }
        // The last: nothing may fail for want of it before.
        lower(Resource::RLIMIT_AS, self.address_space, 0)
    }
}

impl Limits {
    fn become_user(&self) -> io::Result<()> {
        let user = self.user.as_deref().map(user_of).transpose()?;
        let group = self.user_group.as_deref().map(group_of).transpose()?;
        let (own, primary) = user.map_or((None, None), |(user, group)| (Some(user), group));
        match (own, group.or(primary)) {
            (None, None) => Ok(()),
            (user, group) => become_user(user, group),
        }
    }
}

fn unknown(what: &str, name: &str) -> io::Error {
    let text = format!("there is no {what} {name}");
    io::Error::new(io::ErrorKind::NotFound, text)
}

/// A user and its group; of a bare number that nobody has the group stays what it is.
fn user_of(name: &str) -> io::Result<(Uid, Option<Gid>)> {
    let number = name.parse().ok().map(Uid::from_raw);
    let user = match number {
        Some(uid) => User::from_uid(uid)?,
        None => User::from_name(name)?,
    };
    match (user, number) {
        (Some(user), _) => Ok((user.uid, Some(user.gid))),
        (None, Some(uid)) => Ok((uid, None)),
        (None, None) => Err(unknown("user", name)),
    }
}

fn group_of(name: &str) -> io::Result<Gid> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    let group = Group::from_name(name)?;
    group
        .map(|group| group.gid)
        .ok_or_else(|| unknown("group", name))
}

/// Lowers a limit, the one that cannot be raised again to `beyond` more.
fn lower(resource: Resource, to: Option<u64>, beyond: u64) -> io::Result<()> {
    let Some(to) = to else { return Ok(()) };
    let (_, hard) = getrlimit(resource)?;
    setrlimit(resource, to.min(hard), to.saturating_add(beyond).min(hard))?;
    Ok(())
}
