//! Where programs that outlive their parent meet the next one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::{Address, AnyChannel, Channel, Deadline, Port};
use ipc_marshal::{AuthKey, AuthRole, Duct, DuctOptions};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use crate::codec::{decode, encode};
use crate::launch::{build_id, installed};
use crate::outcome::lock;
use crate::sys::PidFd;

/// A private folder where programs that outlive their parent meet the next one.
///
/// A parent that may be killed opens one, [enrols](Self::enrol) the programs that it starts there, and
/// tells them its [`key`](Self::key). When it dies, those that were started with
/// [`ProcessOptions::outlives`](crate::ProcessOptions::outlives) come here ([`meet`](crate::meet)) and
/// wait for another parent, which opens the same folder, sees who there is ([`orphans`](Self::orphans)),
/// and takes them over: [`Process::adopt`](crate::Process::adopt). They are not its children: it
/// learns when they end, and not how.
///
/// The folder belongs to this user alone (mode 0700), as do the files there: a socket, the key, and one
/// file for each program. Who comes must be a process that was enrolled (by number and start time,
/// as the kernel tells it of the socket's peer) and know the key. Dropping the refuge removes the
/// socket, and the key when nobody is enrolled any more. What is left when all were killed, the parent
/// included, the next one to open the folder removes.
#[derive(Debug)]
pub struct Refuge {
    folder: PathBuf,
    key: Vec<u8>,
    door: Arc<Door>,
}

/// Where who comes is let in.
#[derive(Debug)]
struct Door {
    /// Holds the folder for this process, also while nobody is welcome; `None` when the refuge is gone.
    port: Mutex<Option<Port>>,
    /// The refuge waits for the lock: whoever else wants it is to let it go first.
    closes: AtomicBool,
}

/// What is known of a program that was enrolled.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    pid: u32,
    /// When it was started, in the kernel's ticks since the machine was.
    started: u64,
    /// The hash of its registry, and what file its program is: what it says and how.
    program: [u64; 2],
    note: Vec<u8>,
}

/// A program that has outlived its parent.
#[derive(Debug)]
pub struct Orphan {
    pub(crate) pid: u32,
    pub(crate) process: PidFd,
    note: Vec<u8>,
}

/// How long who comes may take to show that it knows the key.
pub(crate) const AUTH_MAX: Duration = Duration::from_secs(2);

/// How often it is looked whether anybody is still welcome.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// For how long an orphan that leaves may hold the folder, so that a parent which comes then tries again.
const LEAVE_MAX: Duration = Duration::from_millis(200);

/// The pause when nobody could be let in for want of something.
const PAUSE: Duration = Duration::from_millis(5);

const SUFFIX: &str = "worker";

/// Of a file that is being written.
const FRESH: &str = "new";

impl Refuge {
    /// Opens the folder, which is made if it is not there. Where another process has it this takes a
    /// fifth of a second.
    ///
    /// # Errors
    ///
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied) if others than this user can get into the
    /// folder; [`AddrInUse`](io::ErrorKind::AddrInUse) if another living process has it;
    /// [`Unsupported`](io::ErrorKind::Unsupported) where processes that are no children cannot be
    /// watched; else what the system says.
    pub fn open(folder: impl Into<PathBuf>) -> io::Result<Self> {
        // It is told to processes that may be elsewhere by then.
        let folder = std::path::absolute(folder.into())?;
        // Whether it can be done at all, before anything is made.
        PidFd::open(std::process::id())?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let found = fs::symlink_metadata(&folder)?;
        if !found.is_dir() || found.uid() != geteuid().as_raw() || found.mode() & 0o077 != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("{} is not a folder of this user alone", folder.display()),
            ));
        }
        let port = bind(&folder)?;
        let key = key(&folder.join("key"))?;
        let door = Arc::new(Door {
            port: Mutex::new(Some(port)),
            closes: AtomicBool::new(false),
        });
        Ok(Self { folder, key, door })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What who comes must know: a secret, to be told to programs over their own channel.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Writes down that a process was started from here, with a note for the next parent.
    ///
    /// # Errors
    ///
    /// What the system says; the process may have ended.
    pub fn enrol(&self, pid: u32, note: &[u8]) -> io::Result<()> {
        let record = Record {
            pid,
            started: started(pid)?,
            program: program()?,
            note: note.to_vec(),
        };
        let bytes = encode(&record).map_err(io::Error::other)?;
        let (fresh, path) = (self.folder.join(format!("{pid}.{FRESH}")), self.record(pid));
        // What is left of a process of this number is of no use any more.
        let _ = fs::remove_file(&fresh);
        private(&fresh)?.write_all(bytes.bytes())?;
        fs::rename(fresh, path)
    }

    /// Takes it back, when the process has ended.
    pub fn strike(&self, pid: u32) {
        // One that is not there was struck before.
        let _ = fs::remove_file(self.record(pid));
    }

    /// Those that were enrolled by the parent before this one and live. Those that are of another
    /// program, by its file and registry, could not be talked to: they are killed.
    ///
    /// # Errors
    ///
    /// When [`init`](crate::init) was not called.
    pub fn orphans(&self) -> io::Result<Vec<Orphan>> {
        let own = program()?;
        drop_fresh(&self.folder);
        let mut found = Vec::new();
        for (path, record) in records(&self.folder) {
            match record.and_then(Record::process) {
                Some((record, process)) if record.program == own => found.push(Orphan {
                    pid: record.pid,
                    process,
                    note: record.note,
                }),
                Some((_, process)) => {
                    // An error means that it has just ended.
                    let _ = process.signal(nix::libc::SIGKILL);
                    let _ = fs::remove_file(path);
                }
                None => drop(fs::remove_file(path)),
            }
        }
        Ok(found)
    }

    /// Lets those with these process ids in, in a thread of its own, until all have come or it is
    /// `until`; what they say is read by whoever `met` gives the duct to.
    ///
    /// # Errors
    ///
    /// What the system says when it gives no thread.
    pub fn welcome<Tx, Rx>(
        &self,
        mut expected: Vec<u32>,
        until: Instant,
        mut met: impl FnMut(u32, Duct<Tx, Rx>) + Send + 'static,
    ) -> io::Result<()>
    where
        Tx: 'static,
        Rx: 'static,
    {
        let door = Arc::clone(&self.door);
        let key = AuthKey::new(&self.key);
        let thread = thread::Builder::new().name("ipc-refuge".into());
        thread.spawn(move || {
            while !expected.is_empty()
                && Instant::now() < until
                && let Some(come) = door.let_in()
            {
                let Ok(channel) = come else { continue };
                let peer = channel.peer_credentials().ok().flatten();
                let pid = peer.filter(|peer| peer.uid == geteuid().as_raw());
                let pid = pid.and_then(|peer| peer.pid).unwrap_or(0);
                if !expected.contains(&pid) {
                    continue;
                }
                let mut duct: Duct<Tx, Rx> = options().from_channel(channel);
                let deadline = Deadline::after(AUTH_MAX);
                let role = AuthRole::Listener;
                if duct.authenticate(&key, role, deadline).is_ok() {
                    expected.retain(|&one| one != pid);
                    met(pid, duct);
                }
            }
        })?;
        Ok(())
    }

    fn record(&self, pid: u32) -> PathBuf {
        self.folder.join(format!("{pid}.{SUFFIX}"))
    }
}

impl Door {
    /// Waits a while for somebody to come; `None` when the refuge is gone.
    fn let_in(&self) -> Option<io::Result<AnyChannel>> {
        if self.closes.load(Ordering::SeqCst) {
            return None;
        }
        let mut port = lock(&self.port);
        let come = port.as_mut()?.accept_timeout(LOOK_AGAIN);
        drop(port);
        let nobody = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
        if come.as_ref().is_err_and(|error| !nobody(error)) {
            // Such as a want of descriptors, which is told at once.
            thread::park_timeout(PAUSE);
        }
        Some(come)
    }
}

impl Drop for Refuge {
    fn drop(&mut self) {
        self.door.closes.store(true, Ordering::SeqCst);
        // Held until the end, so that the next parent comes after this.
        let _port = lock(&self.door.port).take();
        if records(&self.folder).is_empty() {
            let _ = fs::remove_file(self.folder.join("key"));
        }
    }
}

impl Orphan {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// What its parent noted.
    pub fn note(&self) -> &[u8] {
        &self.note
    }
}

impl Record {
    /// The process, if it is the one that was enrolled and lives.
    fn process(self) -> Option<(Self, PidFd)> {
        let process = PidFd::open(self.pid).ok()?;
        // Looked at after it is held: it is of this process, or that has ended.
        let is_it = started(self.pid).is_ok_and(|started| started == self.started);
        (is_it && !process.has_ended()).then_some((self, process))
    }
}

/// Takes this process out of a folder, and removes everything there unless there is a parent or another
/// program. Of several that do this at once the last finds itself alone.
pub(crate) fn leave(folder: &Path) {
    let own = folder.join(format!("{}.{SUFFIX}", std::process::id()));
    let _ = fs::remove_file(own);
    let mut is_alone = true;
    for (path, record) in records(folder) {
        match record.and_then(Record::process) {
            Some(_) => is_alone = false,
            None => drop(fs::remove_file(path)),
        }
    }
    // Held until the end, so that no parent comes meanwhile. Dropping it removes the socket.
    if is_alone && let Ok(_port) = place(folder).and_then(|place| Port::bind(&place)) {
        drop_fresh(folder);
        let _ = fs::remove_file(folder.join("key"));
    }
}

/// How those who meet speak to each other: they are of one program, which is checked otherwise.
pub(crate) fn options() -> DuctOptions {
    DuctOptions::new().handshake(false)
}

/// Where they meet.
pub(crate) fn place(folder: &Path) -> io::Result<Address> {
    Ok(Address::unix(folder.join("meet"))?)
}

/// Takes the folder for this process.
fn bind(folder: &Path) -> io::Result<Port> {
    let (place, until) = (place(folder)?, Instant::now() + LEAVE_MAX);
    loop {
        match Port::bind(&place) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                thread::park_timeout(PAUSE);
            }
            bound => return bound,
        }
    }
}

/// What program this process runs.
fn program() -> io::Result<[u64; 2]> {
    Ok([installed()?.hash(), build_id()])
}

/// Removes what a parent did not come to finish. Only who has the folder may do that.
fn drop_fresh(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|suffix| suffix == FRESH) {
            let _ = fs::remove_file(path);
        }
    }
}

fn records(folder: &Path) -> Vec<(PathBuf, Option<Record>)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let paths = paths.filter(|path| path.extension().is_some_and(|suffix| suffix == SUFFIX));
    paths
        .map(|path| {
            let record = fs::read(&path).ok().and_then(|bytes| decode(&bytes).ok());
            (path, record)
        })
        .collect()
}

/// The key in the folder; a new one if there is none.
fn key(path: &Path) -> io::Result<Vec<u8>> {
    let mut key = vec![0; 32];
    match File::open(path) {
        Ok(mut file) => {
            let found = file.metadata()?;
            let is_own = found.uid() == geteuid().as_raw() && found.mode() & 0o077 == 0;
            // One that is shorter was not finished, and nobody was told of it.
            if is_own && found.len() == key.len() as u64 {
                file.read_exact(&mut key)?;
                return Ok(key);
            }
            fs::remove_file(path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    private(path)?.write_all(&key)?;
    Ok(key)
}

/// A new file that only this user can read.
fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}

/// When a process was started.
fn started(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = stat.rsplit(") ").next().unwrap_or_default();
    let field = after.split(' ').nth(19);
    field
        .and_then(|ticks| ticks.parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}
