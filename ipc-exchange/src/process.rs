//! A child process that ends when its owner lets go of it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::{ChildProcess, Deadline};
use ipc_dispatch::{Context, Control as Keep, Descriptor, Registry, SourceId};
use ipc_marshal::RecvError;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::cgroup::Memory;
use crate::group::{CLEAR_MAX, Group, LOOK_AGAIN};
use crate::launch::{Control, Launch};
use crate::outcome::lock;
use crate::sys::{PidFd, await_end, is_child, is_unreaped};
use crate::tail::Tail;
use crate::wire::{FromWorker, Role};
use crate::{Exit, Orphan, ProcessOptions};

/// A process that runs a program.
///
/// Dropping it kills the process, and what it has started, if it has not ended; it never leaves a
/// zombie and never waits. What it leaves behind in its process group when it ends by itself is killed
/// when that is noticed (on Linux; elsewhere only a kill takes it along). When this process dies, however it dies, the child ends within a second.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    /// Its end tells that the process has ended.
    control: Mutex<Option<Control>>,
    refused: Mutex<Option<String>>,
    state: Arc<Mutex<State>>,
    /// The end of what it wrote to standard error, if that is kept.
    tail: Option<Tail>,
    group: Option<Arc<Group>>,
    /// How many were killed for want of memory when it was started, in the group that it shares.
    kills_before: u64,
    /// It was killed from here.
    is_killed: AtomicBool,
    /// Whether it was killed for want of memory, once that was looked at.
    out_of_memory: OnceLock<bool>,
}

#[derive(Debug)]
enum State {
    /// Not reaped: its number, and its group's, are its own. Only what holds the lock reaps it.
    Running(ChildProcess),
    /// No child of this process: nobody here reaps it.
    Adopted(PidFd),
    Exited(Exit),
}

impl Process {
    pub(crate) fn start(options: &ProcessOptions, role: Role, extra: OwnedFd) -> io::Result<Self> {
        let (tail, errors) = match options.output_kept {
            0 => (None, None),
            len => Tail::open(len).map(|(tail, errors)| (Some(tail), Some(errors)))?,
        };
        let group = Group::make(&options.budget)?.map(Arc::new);
        let kills_before = Memory::own().kills();
        let admit = |pid| group.as_ref().map_or(Ok(()), |group| group.admit(pid));
        let launch = Launch {
            variables: options.variables.clone(),
            ..Launch::default()
        };
        let launched = launch.start_program(role, extra, errors, admit)?;
        Ok(Self {
            pid: launched.child.id(),
            control: Mutex::new(Some(launched.control)),
            refused: Mutex::new(None),
            state: Arc::new(Mutex::new(State::Running(launched.child))),
            tail,
            group,
            kills_before,
            is_killed: AtomicBool::new(false),
            out_of_memory: OnceLock::new(),
        })
    }

    /// Takes over a program that has outlived its parent. It is no child of this process: when it ends
    /// that is told, and [`Exit::Unknown`] is told of how; what it writes is not kept, and dropping this
    /// ends it as any other. One that is stopped by a signal is continued.
    pub fn adopt(orphan: Orphan) -> Self {
        // An error means that it has just ended.
        let _ = orphan.process.signal_alone(Signal::SIGCONT as i32);
        Self {
            pid: orphan.pid,
            control: Mutex::new(None),
            refused: Mutex::new(None),
            state: Arc::new(Mutex::new(State::Adopted(orphan.process))),
            tail: None,
            group: None,
            kills_before: 0,
            is_killed: AtomicBool::new(false),
            out_of_memory: OnceLock::new(),
        }
    }

    /// Its process id; after its end it may be another process's.
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// Asks it to end, by SIGTERM to it and what it has started.
    ///
    /// # Errors
    ///
    /// What the system says. A process that has ended is no error.
    pub fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::SIGTERM)
    }

    /// Ends it and what it has started, by SIGKILL.
    ///
    /// # Errors
    ///
    /// What the system says. A process that has ended is no error.
    pub fn kill(&self) -> io::Result<()> {
        // Relaxed: whoever asks how it ended has learned of the end in another way.
        self.is_killed.store(true, Ordering::Relaxed);
        self.signal(Signal::SIGKILL)
    }

    /// Ends it, and not what it has started, by SIGABRT: with a core file, if its limits allow one. A
    /// process that is stopped takes no notice.
    ///
    /// # Errors
    ///
    /// What the system says. A process that has ended is no error.
    pub fn abort(&self) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.look(self.pid);
        match &*state {
            State::Exited(_) => Ok(()),
            State::Adopted(process) => process.signal_alone(Signal::SIGABRT as i32),
            // Not reaped, and the lock keeps it so: the number is its own.
            State::Running(_) => fine(kill(group(self.pid), Signal::SIGABRT)),
        }
    }

    /// The end of what it wrote to standard error until now, at most as much as
    /// [`ProcessOptions::keep_output`] says, with what is not UTF-8 replaced. Empty if nothing is kept.
    pub fn output(&self) -> String {
        self.tail.as_ref().map_or_else(String::new, Tail::text)
    }

    /// Whether the kernel killed it because memory ran out, once its end was told: as its own control
    /// group says if it has one ([`Budget::memory`](crate::Budget::memory)), else as that of this
    /// process says, where each kill explains one death by SIGKILL that did not come from here.
    pub fn out_of_memory(&self) -> bool {
        let killed = Some(Signal::SIGKILL as i32);
        let exit = lock(&self.state).exit();
        if exit.and_then(Exit::signal) != killed || self.is_killed.load(Ordering::Relaxed) {
            return false;
        }
        *self.out_of_memory.get_or_init(|| {
            let own = self.group.as_ref().map(|group| group.ran_out_of_memory());
            own == Some(true) || Memory::own().explains(self.kills_before)
        })
    }

    /// How it ended, or `None` while it runs.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn try_wait(&self) -> io::Result<Option<Exit>> {
        lock(&self.state).try_reap()
    }

    /// Waits until it has ended. Its end, and nothing else, wakes the caller.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn wait(&self) -> io::Result<Exit> {
        let waited = self.wait_by(Deadline::Never)?;
        Ok(waited.unwrap_or(Exit::Unknown))
    }

    /// Waits until it has ended, for no longer than `timeout`: `None` if it still runs.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn wait_timeout(&self, timeout: Duration) -> io::Result<Option<Exit>> {
        self.wait_by(Deadline::after(timeout))
    }

    /// [`wait_timeout`](Self::wait_timeout) until `deadline`.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn wait_deadline(&self, deadline: Instant) -> io::Result<Option<Exit>> {
        self.wait_by(Deadline::At(deadline))
    }

    /// Runs `handler` once on a selector's thread when the process has ended, whoever reaps it. With a
    /// control group of its own that is when nothing it has started is left there either, or ten
    /// seconds later; so with the waits.
    ///
    /// # Errors
    ///
    /// As [`Registry::on_child`]; [`NotFound`](io::ErrorKind::NotFound) when the end was told already,
    /// by one of the waits.
    pub fn on_exit<S, F>(&self, registry: &mut Registry<S>, handler: F) -> io::Result<SourceId>
    where
        S: 'static,
        F: FnOnce(Exit, &mut Context<'_, S>) + 'static,
    {
        let shared = Arc::clone(&self.state);
        let state = lock(&self.state);
        if let State::Adopted(process) = &*state {
            let watched = process.as_fd().try_clone_to_owned()?;
            drop(state);
            return on_end_of(registry, watched, shared, handler);
        }
        if let Some(exit) = state.exit() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("process {} has ended: {exit}", self.pid),
            ));
        }
        // Held meanwhile: it must not be reaped before the selector has hold of it.
        let group = self.group.clone();
        let id = registry.on_child_reaped_by(
            self.pid,
            move || lock(&shared).try_reap(),
            |exit, ctx| {
                let exit = exit.unwrap_or(Exit::Unknown);
                match group {
                    Some(group) if !group.clear() => {
                        let until = ctx.now() + CLEAR_MAX;
                        tell_when_clear(ctx, group, until, move |ctx| handler(exit, ctx));
                    }
                    _ => handler(exit, ctx),
                }
            },
        )?;
        drop(state);
        Ok(id)
    }

    /// Why the process refused to work, if it told: another registry or version, or an argument that
    /// it could not read. Known once it has ended and was waited for.
    pub fn refused(&self) -> Option<String> {
        self.read_control(Deadline::Now);
        lock(&self.refused).clone()
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.look(self.pid);
        match &*state {
            State::Exited(_) => Ok(()),
            State::Adopted(process) => process.signal(signal as i32),
            // Not reaped, and the lock keeps it so: the number is its own.
            State::Running(_) => fine(killpg(group(self.pid), signal)),
        }
    }

    fn wait_by(&self, deadline: Deadline) -> io::Result<Option<Exit>> {
        if let Some(exit) = lock(&self.state).exit() {
            return Ok(Some(exit));
        }
        let adopted = match &*lock(&self.state) {
            State::Adopted(process) => Some(process.as_fd().try_clone_to_owned()?),
            _ => None,
        };
        if let Some(watched) = adopted {
            return self.wait_adopted(&watched, deadline);
        }
        if !self.read_control(deadline) {
            return self.try_wait();
        }
        // Its descriptors are closed: it is ending, and this wait is short. It does not reap, so that
        // the lock is not held meanwhile.
        await_end(group(self.pid))?;
        let exit = lock(&self.state).reap();
        if let Some(group) = &self.group {
            group.wait_clear();
        }
        Ok(Some(exit))
    }

    fn wait_adopted(&self, watched: &OwnedFd, deadline: Deadline) -> io::Result<Option<Exit>> {
        loop {
            let left = deadline.remaining().map(PollTimeout::try_from);
            let left = left.map_or(PollTimeout::NONE, |left| left.unwrap_or(PollTimeout::MAX));
            let mut fds = [PollFd::new(watched.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, left) {
                Ok(0) if deadline.is_expired() => return Ok(None),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return lock(&self.state).try_reap(),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Reads the control channel to its end; answers whether the end came before `deadline`.
    fn read_control(&self, deadline: Deadline) -> bool {
        let mut guard = lock(&self.control);
        let Some(control) = guard.as_mut() else {
            return true;
        };
        loop {
            let message = match deadline {
                Deadline::Never => control.recv(),
                Deadline::At(instant) => control.recv_deadline(instant),
                Deadline::Now => control.recv_timeout(Duration::ZERO),
            };
            match message {
                Ok(FromWorker::Refused(reason)) => *lock(&self.refused) = Some(reason),
                Ok(_) => {}
                Err(RecvError::Timeout) => return false,
                Err(_) => return true,
            }
        }
    }
}

impl State {
    fn exit(&self) -> Option<Exit> {
        match self {
            Self::Exited(exit) => Some(*exit),
            Self::Running(_) | Self::Adopted(_) => None,
        }
    }

    /// Reaps it if it has ended. Reaping and knowing about it are one step for whoever has the lock.
    fn try_reap(&mut self) -> io::Result<Option<Exit>> {
        if let Self::Adopted(process) = self
            && process.has_ended()
        {
            *self = Self::Exited(Exit::Unknown);
        }
        let Self::Running(child) = self else {
            return Ok(self.exit());
        };
        end_rest(child);
        let exit = match child.try_wait() {
            Ok(status) => status.map(Exit::from),
            // The system has reaped it: this program ignores SIGCHLD.
            Err(error) if error.raw_os_error() == Some(Errno::ECHILD as i32) => Some(Exit::Unknown),
            Err(error) => return Err(error),
        };
        if let Some(exit) = exit {
            *self = Self::Exited(exit);
        }
        Ok(exit)
    }

    /// Notices that the system has reaped it, as it does in a program that ignores SIGCHLD: its number
    /// may be another's by now.
    fn look(&mut self, pid: u32) {
        if let Self::Running(_) = self
            && !is_child(group(pid))
        {
            *self = Self::Exited(Exit::Unknown);
        }
    }

    /// Waits for it and reaps it.
    fn reap(&mut self) -> Exit {
        match self {
            Self::Exited(exit) => *exit,
            // Somebody else reaps it.
            Self::Adopted(_) => Exit::Unknown,
            Self::Running(child) => {
                end_rest(child);
                let exit = child.wait().map_or(Exit::Unknown, Exit::from);
                *self = Self::Exited(exit);
                exit
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has just ended.
        let _ = self.signal(Signal::SIGKILL);
        // Also when a selector watches it, which may be gone before it reaps.
        if matches!(&*lock(&self.state), State::Running(_)) {
            reap((self.pid, Arc::clone(&self.state), self.group.take()));
        }
    }
}

/// Runs `handler` when a process that is no child has ended.
fn on_end_of<S, F>(
    registry: &mut Registry<S>,
    watched: OwnedFd,
    state: Arc<Mutex<State>>,
    handler: F,
) -> io::Result<SourceId>
where
    S: 'static,
    F: FnOnce(Exit, &mut Context<'_, S>) + 'static,
{
    let key = registry.add(Descriptor(watched));
    let mut handler = Some(handler);
    let watched = registry.on_readable(key, move |_: &mut Descriptor<OwnedFd>, ctx| {
        if !matches!(lock(&state).try_reap(), Ok(Some(_))) {
            return Keep::Keep;
        }
        if let Some(handler) = handler.take() {
            handler(Exit::Unknown, ctx);
        }
        Keep::Close
    });
    if let Err(error) = watched {
        registry.close(key);
        return Err(error);
    }
    Ok(key.id())
}

/// That a process has ended is no error.
fn fine(signalled: nix::Result<()>) -> io::Result<()> {
    match signalled {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Ends what a child that has ended has left in its group.
fn end_rest(child: &ChildProcess) {
    let pid = group(child.id());
    if is_unreaped(pid) {
        // An error means that nothing is left.
        let _ = killpg(pid, Signal::SIGKILL);
    }
}

/// Runs `handler` when nothing of a process's group is left, or it is `until`.
fn tell_when_clear<S: 'static>(
    ctx: &mut Context<'_, S>,
    group: Arc<Group>,
    until: Instant,
    handler: impl FnOnce(&mut Context<'_, S>) + 'static,
) {
    let mut handler = Some(handler);
    ctx.alarm(LOOK_AGAIN, move |ctx| {
        if !group.clear() && ctx.now() < until {
            return Some(LOOK_AGAIN);
        }
        if let Some(handler) = handler.take() {
            handler(ctx);
        }
        None
    });
}

/// A killed child, and the control group that is removed after its end.
type Killed = (u32, Arc<Mutex<State>>, Option<Arc<Group>>);

/// Has a thread wait for a killed child, so that whoever dropped it need not.
fn reap(killed: Killed) {
    static REAPER: OnceLock<Option<mpsc::Sender<Killed>>> = OnceLock::new();
    let reaper = REAPER.get_or_init(|| {
        let (sender, waiting) = mpsc::channel::<Killed>();
        let thread = thread::Builder::new().name("ipc-reaper".into());
        let spawned = thread.spawn(move || {
            for (pid, state, own) in waiting {
                // Without the lock, which others want meanwhile. An error means that it was reaped.
                let _ = await_end(group(pid));
                lock(&state).reap();
                if let Some(own) = own {
                    own.wait_clear();
                }
            }
        });
        spawned.ok().map(|_| sender)
    });
    if let Some(reaper) = reaper {
        // The receiver lives as long as the process.
        let _ = reaper.send(killed);
    }
}

fn group(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("the system's process ids fit"))
}
