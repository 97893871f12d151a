//! A child process that ends when its owner lets go of it.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::{ChildProcess, Deadline};
use ipc_dispatch::{Context, Registry, SourceId};
use ipc_marshal::RecvError;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::Exit;
use crate::launch::{Control, Launched};
use crate::outcome::lock;
use crate::sys::await_end;
use crate::wire::FromWorker;

/// A process that runs a program.
///
/// Dropping it kills the process, and what it has started, if it has not ended; it never leaves a
/// zombie and never waits. When this process dies, however it dies, the child ends within a second.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    /// Its end tells that the process has ended.
    control: Mutex<Option<Control>>,
    refused: Mutex<Option<String>>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
enum State {
    /// Not reaped: its number, and its group's, are its own. Only what holds the lock reaps it.
    Running(ChildProcess),
    Exited(Exit),
}

impl Process {
    pub(crate) fn new(launched: Launched) -> Self {
        Self {
            pid: launched.child.id(),
            control: Mutex::new(Some(launched.control)),
            refused: Mutex::new(None),
            state: Arc::new(Mutex::new(State::Running(launched.child))),
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
        self.signal(Signal::SIGKILL)
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

    /// Runs `handler` once on a selector's thread when the process has ended, whoever reaps it.
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
        if let Some(exit) = state.exit() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("process {} has ended: {exit}", self.pid),
            ));
        }
        // Held meanwhile: it must not be reaped before the selector has hold of it.
        let id = registry.on_child_reaped_by(
            self.pid,
            move || lock(&shared).try_reap(),
            |exit, ctx| handler(exit.unwrap_or(Exit::Unknown), ctx),
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
        let state = lock(&self.state);
        if state.exit().is_some() {
            return Ok(());
        }
        // Not reaped, and the lock keeps it so: the number is its own.
        match killpg(group(self.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn wait_by(&self, deadline: Deadline) -> io::Result<Option<Exit>> {
        if let Some(exit) = lock(&self.state).exit() {
            return Ok(Some(exit));
        }
        if !self.read_control(deadline) {
            return self.try_wait();
        }
        // Its descriptors are closed: it is ending, and this wait is short. It does not reap, so that
        // the lock is not held meanwhile.
        await_end(group(self.pid))?;
        Ok(Some(lock(&self.state).reap()))
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
            Self::Running(_) => None,
        }
    }

    /// Reaps it if it has ended. Reaping and knowing about it are one step for whoever has the lock.
    fn try_reap(&mut self) -> io::Result<Option<Exit>> {
        let Self::Running(child) = self else {
            return Ok(self.exit());
        };
        let exit = child.try_wait()?.map(Exit::from);
        if let Some(exit) = exit {
            *self = Self::Exited(exit);
        }
        Ok(exit)
    }

    /// Waits for it and reaps it.
    fn reap(&mut self) -> Exit {
        match self {
            Self::Exited(exit) => *exit,
            Self::Running(child) => {
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
        if lock(&self.state).exit().is_none() {
            reap(self.pid, Arc::clone(&self.state));
        }
    }
}

type Killed = (u32, Arc<Mutex<State>>);

/// Has a thread wait for a killed child, so that whoever dropped it need not.
fn reap(pid: u32, state: Arc<Mutex<State>>) {
    static REAPER: OnceLock<Option<mpsc::Sender<Killed>>> = OnceLock::new();
    let reaper = REAPER.get_or_init(|| {
        let (killed, waiting) = mpsc::channel::<Killed>();
        let thread = thread::Builder::new().name("ipc-reaper".into());
        let spawned = thread.spawn(move || {
            for (pid, state) in waiting {
                // Without the lock, which others want meanwhile. An error means that it was reaped.
                let _ = await_end(group(pid));
                lock(&state).reap();
            }
        });
        spawned.ok().map(|_| killed)
    });
    if let Some(reaper) = reaper {
        // The receiver lives as long as the process.
        let _ = reaper.send((pid, state));
    }
}

fn group(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("the system's process ids fit"))
}
