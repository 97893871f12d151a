//! What runs in worker processes: the tasks of `map`, and those that `smoke` tries.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::Command;

use clap::ValueEnum;
use ipc_actors::host;
use ipc_exchange::{Registry, registry};
use ipc_marshal::Duct;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::demo::Demo;
use crate::execution::command;
use crate::parrot::Parrot;
use crate::words::{Locale, WordCounter};

/// Names of the tasks, as `--task` takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TaskName {
    /// SHA-256 of each file, as sha256sum prints it.
    Sha256,
    /// Lines, words and bytes of each file, as wc prints them.
    Wc,
}

/// Lines, words and bytes of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) lines: u64,
    pub(crate) words: u64,
    pub(crate) bytes: u64,
}

/// How much of a file is held in memory at a time.
const CHUNK: usize = 256 * 1024;

/// The SHA-256 of the file at `path`.
///
/// # Errors
///
/// What the system says when the file cannot be opened or read, as text: the path is the caller's.
pub(crate) fn sha256(path: OsString) -> Result<[u8; 32], String> {
    let mut hasher = Sha256::new();
    read_chunks(Path::new(&path), |chunk| hasher.update(chunk))?;
    Ok(hasher.finalize().into())
}

/// The lines, words and bytes of the file at `path`.
///
/// # Errors
///
/// As for [`sha256`].
pub(crate) fn wc(path: OsString) -> Result<Counts, String> {
    let mut counter = WordCounter::new(Locale::from_environment());
    read_chunks(Path::new(&path), |chunk| counter.update(chunk))?;
    Ok(counter.finish())
}

fn read_chunks(path: &Path, mut take: impl FnMut(&[u8])) -> Result<(), String> {
    let mut read = || -> io::Result<()> {
        let mut file = File::open(path)?;
        let mut buf = vec![0; CHUNK];
        loop {
            match file.read(&mut buf) {
                Ok(0) => return Ok(()),
                Ok(len) => take(&buf[..len]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    };
    read().map_err(|error| error.to_string())
}

/// Everything that a worker process of this command may be asked to run.
pub(crate) fn registry() -> Registry {
    registry![
        sha256,
        wc,
        command,
        square,
        panic,
        die,
        multiplier,
        host::<Parrot>,
        host::<Demo>
    ]
}

/// What `smoke` computes.
pub(crate) fn square(number: u64) -> u64 {
    number * number
}

/// Panics with the message that it is given.
pub(crate) fn panic(message: String) {
    panic!("{message}")
}

/// Ends its worker as `kill -9` does.
pub(crate) fn die((): ()) {
    let pid = std::process::id().to_string();
    let killed = Command::new("kill").args(["-9", &pid]).status();
    unreachable!("still alive after kill -9, which said {killed:?}")
}

/// Multiplies the numbers that it is sent until the other side is gone.
pub(crate) fn multiplier(mut duct: Duct<u64, u64>, factor: u64) {
    while let Ok(number) = duct.recv() {
        if duct.send(number * factor).is_err() {
            break;
        }
    }
}
