//! Processes without descriptors or memory to spare: errors that say so, and nothing lost or left.

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ipc_core::{Address, AnyChannel, Deadline, Inherit, Pipe, Port, Ring, RingOptions, Socket};
use ipc_dispatch::Selector;
use ipc_marshal::{Duct, DuctOptions, Raw, RecvError};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::calls::addresses;
use crate::chance::Chance;
use crate::scenario::scenarios;
use crate::session::{SOON, Session};

scenarios![
    a_process_runs_out_of_descriptors,
    a_process_runs_out_of_memory
];

pub(crate) const POOR: &str = "poor";

/// The role: tries everything with less than it needs. It has a process of its own because limits are
/// those of a process.
pub(crate) fn poor(words: &[String]) -> ExitCode {
    match words {
        [what, folder] if what == "descriptors" => {
            without_descriptors(folder.as_ref());
            keeps_callers_waiting(folder.as_ref());
        }
        [what] if what == "memory" => without_memory(),
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

fn a_process_runs_out_of_descriptors(_: &mut Chance) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut session = Session::start(POOR, &["descriptors", &folder.path().display().to_string()]);
    let (status, told) = session.wait();
    assert!(status.success(), "{status}: {told}");
    print!("{told}");
    let left = std::fs::read_dir(&folder).expect("the folder").count();
    assert_eq!(left, 0, "files are left");
    session.assert_gone("without descriptors");
}

fn a_process_runs_out_of_memory(_: &mut Chance) {
    let mut session = Session::start(POOR, &["memory"]);
    let (status, told) = session.wait();
    assert!(status.success(), "{status}: {told}");
    session.assert_gone("without memory");
}

/// One thing that needs descriptors.
type Attempt = (&'static str, fn(&Path) -> io::Result<()>);

const ATTEMPTS: [Attempt; 9] = [
    ("a pipe", |_| Pipe::pair().map(drop)),
    ("a pair of sockets", |_| Socket::pair().map(drop)),
    ("a ring", |_| Ring::pair().map(drop)),
    ("a pair of ducts", |_| Duct::<u64, u64>::pair().map(drop)),
    ("a selector", |_| Selector::<()>::new().map(drop)),
    ("a child", |_| {
        let (_, theirs) = Ring::offer()?;
        let command = Command::new("true");
        Inherit::new()
            .give(10, theirs)
            .spawn(&command)?
            .wait()
            .map(drop)
    }),
    ("calls by unix", |folder| call(&addresses(folder)[0])),
    ("calls by ring", |folder| call(&addresses(folder)[2])),
    ("calls by tcp", |folder| call(&addresses(folder)[3])),
];

/// Binds, connects and accepts.
fn call(address: &Address) -> io::Result<()> {
    let mut port = Port::bind(address)?;
    let address = port.address().clone();
    // It may block in its hand-shake until the port has accepted it.
    let caller = thread::spawn(move || AnyChannel::connect(&address).map(drop));
    // Enough for one that comes; one without descriptors does not.
    let accepted = port.accept_timeout(Duration::from_millis(500));
    // Without the port nobody waits for it.
    drop(port);
    let called = caller.join().expect("it does not panic");
    match (&accepted, called) {
        (Err(error), Err(reason)) if error.kind() == ErrorKind::TimedOut => Err(reason),
        (_, called) => accepted.and(called),
    }
}

/// Whether an error says what is missing.
fn says_so(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EMFILE as i32) || error.to_string().contains("descriptor")
}

/// Allows this process so many open files.
pub(crate) fn allow(files: u64) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, files, hard).expect("less is allowed");
}

/// How many it may open.
pub(crate) fn plenty() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).expect("a limit").0
}

pub(crate) fn open_files() -> u64 {
    ipc_core::descriptors().expect("they can be listed").len() as u64
}

fn without_descriptors(folder: &Path) {
    let plenty = plenty();
    for (what, attempt) in ATTEMPTS {
        // What the first time opens for good, it opens here.
        attempt(folder).unwrap_or_else(|error| panic!("{what}: {error}"));
        let before = open_files();
        let mut refused = 0;
        for limit in 3..40 {
            allow(limit);
            let result = attempt(folder);
            allow(plenty);
            assert_eq!(open_files(), before, "{what} with {limit} leaks");
            match result {
                Ok(()) => break,
                Err(error) => assert!(says_so(&error), "{what} with {limit}: {error:?}"),
            }
            refused += 1;
        }
        println!("{what}: refused with up to {} descriptors", refused + 2);
        assert!((1..37).contains(&refused), "{what}: {refused}");
    }
}

/// A port that has no descriptor for a caller keeps it, and everything it has sent.
fn keeps_callers_waiting(folder: &Path) {
    let plenty = plenty();
    for address in [&addresses(folder)[0], &addresses(folder)[3]] {
        let mut port = Port::bind(address).expect("it is free");
        let mut caller = Socket::connect(port.address()).expect("the port lives");
        caller
            .write_all(b"said before it was accepted")
            .expect("the port lives");
        drop(caller);
        allow(3);
        for _ in 0..3 {
            let error = port
                .accept_timeout(SOON)
                .expect_err("there is no descriptor");
            assert!(says_so(&error), "{address}: {error:?}");
        }
        allow(plenty);
        let mut accepted = port.accept_timeout(SOON).expect("it has waited");
        let mut text = String::new();
        io::Read::read_to_string(&mut accepted, &mut text).expect("what it has sent");
        assert_eq!(text, "said before it was accepted");
    }
}

/// How much memory this process has mapped, in bytes.
fn mapped() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("statistics");
    let pages = text
        .split(' ')
        .next()
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("a number") * 4096
}

/// A message within the limits, and longer than what an allocator keeps for its threads, that there is
/// no memory for is an error and is received once there is; a ring is refused.
fn without_memory() {
    let (ours, theirs) = Socket::pair().expect("a pair");
    let options = DuctOptions::new().codec(Raw).payload_len_max(96 << 20);
    let mut duct = options.clone().from_channel::<Vec<u8>, Vec<u8>, _>(ours);
    let mut other = options.from_channel::<Vec<u8>, Vec<u8>, _>(theirs);
    let (body, expected) = (vec![7; 96 << 20], vec![7; 96 << 20]);
    let (go, told) = mpsc::channel();
    let (run, runs) = mpsc::channel();
    let sender = thread::spawn(move || {
        run.send(()).expect("it is waited for");
        told.recv().expect("it is told");
        other.send_bytes(&body, Deadline::Never).is_ok()
    });
    runs.recv().expect("it runs");
    let (_, hard) = getrlimit(Resource::RLIMIT_AS).expect("a limit");
    setrlimit(Resource::RLIMIT_AS, mapped() + (16 << 20), hard).expect("less is allowed");
    go.send(()).expect("it listens");
    for _ in 0..2 {
        match duct.recv_with(Deadline::after(SOON), |message| message.bytes().len()) {
            Err(RecvError::Io(error)) => assert_eq!(error.kind(), ErrorKind::OutOfMemory),
            other => panic!("not out of memory: {other:?}"),
        }
    }
    let ring = RingOptions::new().capacity(64 << 20).pair();
    let error = ring.expect_err("there is no memory");
    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error:?}");
    setrlimit(Resource::RLIMIT_AS, hard, hard).expect("it was allowed before");
    let received = duct.recv_with(Deadline::after(SOON), |message| message.bytes() == expected);
    assert!(received.expect("it was kept"), "it is damaged");
    assert!(sender.join().expect("it does not panic"), "it was not sent");
}
