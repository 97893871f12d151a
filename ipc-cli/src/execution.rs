//! The task that runs a command: what it prints goes to files, so that no output is too long.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use ipc_exchange::current;
use serde::{Deserialize, Serialize};

/// What a worker's environment has and a command's has not.
const PRIVATE: &str = "IPC_EXCHANGE_WORKER";

/// Longer outputs stay in their files, and do not travel.
const INLINE_LEN_MAX: u64 = 16 * 1024;

/// A command to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Assignment {
    /// The program and its arguments.
    pub(crate) words: Vec<OsString>,
    /// Where its standard output and error go. A job log knows it without them.
    pub(crate) outputs: Option<[PathBuf; 2]>,
}

/// A command that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// Its exit code, or the signal that ended it.
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) pid: u32,
    pub(crate) micros: u64,
    pub(crate) stdout: Printed,
    pub(crate) stderr: Printed,
}

/// What a command has printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Printed {
    /// All of it.
    Here(Vec<u8>),
    /// It is in the file that was given for it.
    InFile,
}

impl Default for Printed {
    fn default() -> Self {
        Self::Here(Vec::new())
    }
}

/// A command that did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failed {
    /// It could not be run.
    Start(String),
    /// It said so, or was ended by a signal.
    Status(Ended),
}

/// Runs a command: its first word names the program.
///
/// # Errors
///
/// When it cannot be run, or does not end with status 0.
pub(crate) fn command(assignment: Assignment) -> Result<Ended, Failed> {
    let began = Instant::now();
    let ended = run(&assignment).map_err(|error| {
        let program = assignment.words.first().cloned().unwrap_or_default();
        Failed::Start(format!("cannot run '{}': {error}", program.display()))
    })?;
    let micros = began.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
    let ended = Ended { micros, ..ended };
    if ended.code == Some(0) {
        Ok(ended)
    } else {
        Err(Failed::Status(ended))
    }
}

fn run(assignment: &Assignment) -> io::Result<Ended> {
    let task = current().ok_or(io::ErrorKind::Unsupported)?;
    task.starts_processes()?;
    let outputs = assignment.outputs.as_ref();
    let [out, err] = outputs.ok_or(io::ErrorKind::InvalidInput)?;
    let words = assignment.words.split_first();
    let (program, arguments) = words.ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(File::create(out)?)
        .stderr(File::create(err)?)
        .env_remove(PRIVATE);
    // The command is in this worker's process group, which ends with the worker.
    let mut child = command.spawn()?;
    let pid = child.id();
    let status = child.wait()?;
    Ok(Ended {
        code: status.code(),
        signal: status.signal(),
        pid,
        micros: 0,
        stdout: collect(out)?,
        stderr: collect(err)?,
    })
}

/// Takes what is in the file, if that is little.
fn collect(path: &Path) -> io::Result<Printed> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() > INLINE_LEN_MAX {
        return Ok(Printed::InFile);
    }
    let mut bytes = Vec::new();
    // A process that the command has left behind may still write.
    (&mut file).take(INLINE_LEN_MAX).read_to_end(&mut bytes)?;
    Ok(Printed::Here(bytes))
}
