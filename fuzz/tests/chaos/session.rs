//! A program that a scenario starts, and everything that belongs to it.
//!
//! It is this test's own binary in one of its roles. Whatever it starts inherits a mark in its
//! environment, by which what is left of a session is found whoever its parent is by then.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::scenario::tally;

/// The variable that marks what belongs to a session.
const MARK: &str = "IPC_CHAOS_SESSION";

/// How long what must end may take to do so: a loaded machine is slow, and a hang is longer.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A program, what it has started, and its folder.
pub(crate) struct Session {
    child: Child,
    stdout: BufReader<ChildStdout>,
    folder: TempDir,
}

impl Session {
    /// Starts a role with these words for it. It ends when the scenario does, however that ends.
    pub(crate) fn start(role: &str, words: &[&str]) -> Self {
        Self::start_under(&[], role, words)
    }

    /// The same, started by a program that prepares something and then becomes it.
    pub(crate) fn start_under(wrapper: &[&str], role: &str, words: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("tmp")).expect("a folder in it");
        let own = std::env::current_exe().expect("this program has a path");
        let mut line: Vec<OsString> = wrapper.iter().map(OsString::from).collect();
        line.push(own.into());
        line.extend(["--role", role].iter().chain(words).map(OsString::from));
        let mut child = Command::new(&line[0])
            .args(&line[1..])
            .env(MARK, folder.path())
            .env("TMPDIR", folder.path().join("tmp"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started");
        let stdout = child.stdout.take().expect("it is piped");
        Self {
            child,
            stdout: BufReader::new(stdout),
            folder,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where the role keeps what a scenario looks at. Nothing else may be left in `tmp` beside it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The next line that it says; empty when it says no more.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("it can be read");
        line.trim_end().to_owned()
    }

    pub(crate) fn signal(&self, number: Signal) {
        signal(self.id(), number);
    }

    /// Waits for its own end, and answers how it was and what it said last.
    pub(crate) fn wait(&mut self) -> (ExitStatus, String) {
        let mut text = String::new();
        self.stdout
            .read_to_string(&mut text)
            .expect("it can be read");
        (self.child.wait().expect("its end"), text)
    }

    /// Kills it, and nothing that it has started.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        let status = self.child.wait().expect("its end");
        let signal = status.signal();
        assert!(
            signal == Some(9) || status.success(),
            "it ended by itself: {status}"
        );
    }

    /// The processes that belong to it, except zombies.
    pub(crate) fn members(&self) -> Vec<u32> {
        bearers(MARK, self.folder.path())
    }

    /// Asserts that nothing of it lives on and no file is left of it. It must have ended.
    #[track_caller]
    pub(crate) fn assert_gone(self, case: &str) {
        let gone = within(SOON, || self.members().is_empty());
        assert!(gone, "{case}: alive {:?}", described(&self.members()));
        let left: Vec<_> = fs::read_dir(self.path("tmp"))
            .expect("its folder")
            .flatten()
            .map(|entry| entry.path())
            .collect();
        assert!(left.is_empty(), "{case}: left {left:?}");
    }
}

impl Drop for Session {
    /// Ends what a failed scenario would leave.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // An error means that it has just ended.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            for pid in self.members() {
                signal(pid, Signal::SIGKILL);
            }
        }
    }
}

/// The processes that have this in their environment, except zombies.
pub(crate) fn bearers(variable: &str, folder: &Path) -> Vec<u32> {
    let mark = format!("{variable}={}", folder.display());
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc").expect("a process table").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        // A zombie has no environment any more.
        let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environ
            .split(|byte| *byte == 0)
            .any(|entry| entry == mark.as_bytes())
        {
            pids.push(pid);
        }
    }
    pids
}

fn described(pids: &[u32]) -> Vec<String> {
    let state = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let wchan = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
        let fields: Vec<_> = stat.split(' ').take(5).collect();
        format!("{} in {wchan}", fields.join(" "))
    };
    pids.iter().map(state).collect()
}

/// Looks until something is so, for no longer than `limit`: what other processes do can only be asked
/// for.
pub(crate) fn within(limit: Duration, mut so: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + limit;
    loop {
        if so() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// Asserts that something comes about.
#[track_caller]
pub(crate) fn eventually(what: &str, so: impl FnMut() -> bool) {
    assert!(within(SOON, so), "it does not come about: {what}");
}

/// Signals a process that the scenario has started, which may just have ended.
pub(crate) fn signal(pid: u32, number: Signal) {
    if number == Signal::SIGKILL {
        tally().killed();
    }
    let pid = Pid::from_raw(i32::try_from(pid).expect("process ids fit"));
    match kill(pid, number) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => panic!("cannot signal {pid}: {errno}"),
    }
}

/// Whether a process exists and is no zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

/// This process's children, zombies included.
pub(crate) fn children() -> Vec<u32> {
    let mut pids = Vec::new();
    for task in fs::read_dir("/proc/self/task")
        .expect("a process table")
        .flatten()
    {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        pids.extend(
            text.split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    pids
}

/// In a role: ends this process when the scenario that has started it is gone. Returns when the thread that
/// sees to it runs: some roles soon have no memory for a thread's start.
pub(crate) fn end_with_the_scenario() {
    let (run, runs) = mpsc::channel();
    thread::spawn(move || {
        let mut nothing = [0];
        run.send(()).expect("it is waited for");
        loop {
            match std::io::stdin().read(&mut nothing) {
                Ok(len) if len > 0 => {}
                // A signal, which some roles have by the thousand.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        std::process::exit(0);
    });
    runs.recv().expect("it runs");
}
