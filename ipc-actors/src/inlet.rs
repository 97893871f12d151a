//! The ports of an application, which may outlive its process.

use std::env;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use ipc_core::{
    Address, AnyChannel, ChildProcess, Deadline, Inherit, Port, PortParts, activated, inherited,
};

/// Names the ports that this process takes over from another, one per line.
const PORTS: &str = "IPC_ACTORS_PORTS";

/// The process that this one takes over from.
const OLD: &str = "IPC_ACTORS_OLD";

/// Where the first handed over descriptor is.
const FROM: i32 = 3;

/// How often an accepting thread looks whether it shall end.
const LOOK: Duration = Duration::from_millis(50);

/// A port as the settings name it.
struct Kept {
    wanted: String,
    port: Weak<Mutex<Port>>,
}

/// What all ports of an application share.
pub(crate) struct Inlets {
    /// What the process before this one, or systemd, has opened; the latter has no name.
    offered: Mutex<Vec<(Option<String>, PortParts)>>,
    kept: Mutex<Vec<Kept>>,
    closing: AtomicBool,
    /// Those who accept shall let go of their ports for a moment.
    handing: AtomicBool,
    guests: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inlets {
    /// Takes what was handed to this process.
    pub(crate) fn new() -> io::Result<Self> {
        let mut offered = Vec::new();
        let names = env::var(PORTS).unwrap_or_default();
        for (index, name) in names.lines().enumerate() {
            let number = FROM + 2 * i32::try_from(index).unwrap_or(0);
            // A program that has the variable from its environment alone has no such descriptor.
            let Ok(listener) = inherited(number) else {
                break;
            };
            let lock = inherited(number + 1).ok();
            offered.push((Some(name.to_owned()), PortParts { listener, lock }));
        }
        offered.extend(activated()?.into_iter().map(|parts| (None, parts)));
        Ok(Self {
            offered: Mutex::new(offered),
            kept: Mutex::default(),
            closing: AtomicBool::new(false),
            handing: AtomicBool::new(false),
            guests: AtomicUsize::new(0),
        })
    }

    /// The port for this address: one that was handed over, or a new one.
    pub(crate) fn open(self: &Arc<Self>, address: &Address) -> io::Result<Inlet> {
        let wanted = address.to_string();
        let mut offered = lock(&self.offered);
        let named = |name: &Option<String>| name.as_ref().is_none_or(|name| *name == wanted);
        let found = offered.iter().position(|(name, _)| named(name));
        let port = match found {
            Some(index) => offered.remove(index).1.into_port()?,
            None => Port::bind(address)?,
        };
        let port = Arc::new(Mutex::new(port));
        let address = lock(&port).address().clone();
        lock(&self.kept).push(Kept {
            wanted,
            port: Arc::downgrade(&port),
        });
        Ok(Inlet {
            address,
            port,
            inlets: Arc::clone(self),
        })
    }

    /// No more guests are taken in.
    pub(crate) fn close(&self) {
        // Relaxed, as the counter: nothing else is ordered by them.
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Waits a little until the ports are closed, so that no socket's file stays behind.
    pub(crate) fn finish(&self) {
        self.close();
        let deadline = Deadline::after(4 * LOOK);
        let open = || {
            lock(&self.kept)
                .iter()
                .any(|kept| kept.port.strong_count() > 0)
        };
        while open() && !deadline.is_expired() {
            thread::park_timeout(Duration::from_millis(2));
        }
    }

    pub(crate) fn guests(&self) -> usize {
        self.guests.load(Ordering::Relaxed)
    }

    /// Starts the program anew, with the ports that this process has.
    pub(crate) fn hand_over(&self, program: &PathBuf) -> io::Result<ChildProcess> {
        let mut command = Command::new(program);
        command
            .args(env::args_os().skip(1))
            .env(OLD, std::process::id().to_string())
            .env_remove(crate::daemon::VARIABLE)
            .env_remove("LISTEN_PID");
        let (mut inherit, mut names) = (Inherit::new(), Vec::new());
        self.handing.store(true, Ordering::Relaxed);
        let mut parts = Vec::new();
        for kept in lock(&self.kept).iter() {
            if let Some(port) = kept.port.upgrade() {
                parts.push(lock(&port).parts());
                names.push(kept.wanted.clone());
            }
        }
        self.handing.store(false, Ordering::Relaxed);
        for (index, parts) in parts.into_iter().enumerate() {
            let (number, parts) = (FROM + 2 * i32::try_from(index).unwrap_or(0), parts?);
            inherit = inherit.give(number, parts.listener);
            if let Some(lock) = parts.lock {
                inherit = inherit.give(number + 1, lock);
            }
        }
        inherit.spawn(command.env(PORTS, names.join("\n")))
    }
}

/// The process that this one takes over from, while that runs.
pub(crate) fn old_process() -> Option<u32> {
    let pid = env::var(OLD).ok()?.parse().ok()?;
    (std::os::unix::process::parent_id() == pid).then_some(pid)
}

/// Where an application takes in connections, made by [`Running::open`](crate::Running::open).
///
/// When the program is asked to stop gracefully, nobody is taken in any more, and the workers stop only
/// when all guests are gone or `graceful_timeout` is over. When it is started anew by USR2, the new
/// process has this port as well.
pub struct Inlet {
    address: Address,
    /// Shared with a hand-over, for as long as that takes.
    port: Arc<Mutex<Port>>,
    inlets: Arc<Inlets>,
}

impl Inlet {
    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Waits for a connection; `None` when the program stops.
    ///
    /// # Errors
    ///
    /// As [`Port::accept`].
    pub fn accept(&mut self) -> io::Result<Option<(AnyChannel, Guest)>> {
        while !self.inlets.closing.load(Ordering::Relaxed) {
            // Counted before it is accepted: the program does not end in between.
            let guest = Guest::of(&self.inlets);
            while self.inlets.handing.load(Ordering::Relaxed) {
                thread::park_timeout(Duration::from_millis(1));
            }
            let accepted = lock(&self.port).accept_timeout(LOOK);
            match accepted {
                Ok(channel) => return Ok(Some((channel, guest))),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

impl fmt::Debug for Inlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inlet")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// One who was taken in: a graceful stop waits until this is dropped.
pub struct Guest {
    inlets: Arc<Inlets>,
}

impl Guest {
    fn of(inlets: &Arc<Inlets>) -> Self {
        inlets.guests.fetch_add(1, Ordering::Relaxed);
        Self {
            inlets: Arc::clone(inlets),
        }
    }

    /// Whether the program stops: one who has nothing under way shall be sent away.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.inlets.closing.load(Ordering::Relaxed)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.inlets.guests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest")
            .field("is_closing", &self.is_closing())
            .finish()
    }
}
