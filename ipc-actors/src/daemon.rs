//! A program that goes on in the background.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::Command;

use ipc_core::{Inherit, inherited, start_session};

/// Set in the process that goes on: the id of the one that started it.
pub(crate) const VARIABLE: &str = "IPC_ACTORS_DAEMON";

/// Where it says how its start went.
const REPORT: i32 = 3;

const READY: &str = "ready\n";

/// The process that goes on, which owes its starter a word.
pub(crate) struct Daemon {
    report: Option<File>,
}

impl Daemon {
    /// Whether this is the process that goes on. If so it has a session of its own from here on.
    pub(crate) fn take() -> io::Result<Option<Self>> {
        if env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let Ok(report) = inherited(REPORT) else {
            // A program that a daemon has started, and that got the variable by its environment.
            return Ok(None);
        };
        start_session()?;
        Ok(Some(Self {
            report: Some(File::from(report)),
        }))
    }

    pub(crate) fn ready(&mut self) {
        self.say(READY);
    }

    pub(crate) fn failed(&mut self, status: i32, error: &str) {
        self.say(&format!("{status} {error}"));
    }

    fn say(&mut self, word: &str) {
        if let Some(mut report) = self.report.take() {
            // A starter that is gone does not want to know.
            drop(report.write_all(word.as_bytes()));
        }
    }
}

/// Starts the program anew in the background, with the same arguments, and waits until it runs. Nothing
/// is forked: the new process is exec'ed, and makes a session of its own. Its standard streams are
/// `/dev/null`; the working directory and the umask are this process's.
///
/// # Errors
///
/// With the exit status, why it does not run.
pub(crate) fn daemonize() -> io::Result<Result<(), (i32, String)>> {
    let null = || OpenOptions::new().read(true).write(true).open("/dev/null");
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    let mut command = Command::new(env::current_exe()?);
    command
        .args(env::args_os().skip(1))
        .env(VARIABLE, std::process::id().to_string());
    let inherit = Inherit::new()
        .give(0, null()?)
        .give(1, null()?)
        .give(2, null()?)
        .give(REPORT, OwnedFd::from(theirs));
    let mut child = inherit.spawn(&command)?;
    let mut word = String::new();
    ours.read_to_string(&mut word)?;
    if word == READY {
        return Ok(Ok(()));
    }
    // It ends, if it has not yet: nothing of it stays behind.
    let ended = child.wait()?;
    Ok(Err(match word.split_once(' ') {
        Some((status, error)) => (status.parse().unwrap_or(1), error.to_owned()),
        None => (1, format!("it ended before it ran: {ended}")),
    }))
}
