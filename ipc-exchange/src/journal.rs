//! A record of finished tasks, by which a program that was killed goes on where it was.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{decode, encode};
use crate::outcome::{About, Outcome, lock};
use crate::payload::Payload;
use crate::task::fnv;
use crate::{Cause, IntoTask, SubmitReason, TaskError, TaskId};

/// A file with one line per task that has ended, for [`Map::journal`](crate::Map::journal).
///
/// A task is known by its function, its argument and how often the same pair came before. Opened
/// again, the journal gives the results of tasks that succeeded, so that only the others run. A line
/// is written by one system call as soon as the exchange knows the result (with others, if the task
/// is in a chunk: of a long one the exchange knows every ten milliseconds what has come): a killed
/// program loses nothing that was written, and a line that was torn is dropped when the journal is
/// opened.
///
/// The lines are text, fields separated by tabs: key, status, task, job, attempt, process id,
/// microseconds waited and run, the result in hexadecimal, and a checksum of the line.
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    file: File,
    path: PathBuf,
    /// How long the file is up to its last whole line; `None` when more may be there and could not be
    /// taken back, so that nothing can be appended.
    len: Option<u64>,
    finished: HashMap<Key, Payload>,
    /// How often a function and argument came in this run.
    seen: HashMap<Key, u64>,
    /// Why the last line could not be written.
    error: Option<io::Error>,
}

/// A task's place in a [`Journal`], made by [`Journal::claim`].
#[derive(Debug)]
pub struct Claim {
    key: Key,
    name: &'static str,
    id: TaskId,
}

impl Claim {
    fn about(&self) -> About {
        About {
            task: self.name,
            task_id: self.id,
            job: 0,
            attempt: 0,
            pid: None,
            queued: Duration::ZERO,
            ran: Duration::ZERO,
            output: String::new(),
        }
    }
}

/// Two independent hashes: a collision would give one task the other's result.
type Key = (u64, u64);

impl Journal {
    /// Opens the journal at `path`, making it if there is none, and drops a torn last line.
    ///
    /// # Errors
    ///
    /// What the system says; [`InvalidInput`](io::ErrorKind::InvalidInput) when it is no regular file;
    /// [`InvalidData`](io::ErrorKind::InvalidData) when a line other than the last is damaged: that is
    /// no journal, or somebody has edited it. The text names the file.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        Self::open_file(path).map_err(|error| of(path, &error))
    }

    fn open_file(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is no regular file",
            ));
        }
        let (finished, good) = read(BufReader::new(&file))?;
        file.set_len(good)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self {
            shared: Arc::new(Mutex::new(State {
                file,
                path: path.to_owned(),
                len: Some(good),
                finished,
                seen: HashMap::new(),
                error: None,
            })),
        })
    }

    /// Tasks whose results the journal has.
    pub fn len(&self) -> usize {
        lock(&self.shared).finished.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes what was written survive a failure of the machine, too; and tells whether a line could
    /// not be written. The task of such a line has its result all the same; another run will run it
    /// again.
    ///
    /// # Errors
    ///
    /// What the system said, the first time that writing failed, or says now. The text names the
    /// file.
    pub fn sync(&self) -> io::Result<()> {
        let mut state = lock(&self.shared);
        let synced = match state.error.take() {
            Some(error) => Err(error),
            None => state.file.sync_data(),
        };
        synced.map_err(|error| of(&state.path, &error))
    }

    /// The place of the next task, for a program that submits by itself, and the task's result if an
    /// earlier run has written that it succeeded. Equal pairs of task and argument are told apart by
    /// how often they were claimed.
    ///
    /// # Errors
    ///
    /// [`SubmitReason::BadArgument`] when the argument cannot be encoded.
    pub fn claim<A: Serialize, R: DeserializeOwned>(
        &self,
        task: impl IntoTask<A, R>,
        argument: &A,
    ) -> Result<(Claim, Option<R>), SubmitReason> {
        let task = task.into_task();
        let argument = encode(argument).map_err(|reason| SubmitReason::BadArgument { reason })?;
        let (key, result) = self.begin(task.id(), &argument);
        // One that cannot be read any more is computed again.
        let result = result.and_then(|payload| decode(payload.bytes()).ok());
        let (name, id) = (task.name(), task.id());
        Ok((Claim { key, name, id }, result))
    }

    /// Writes that a claimed task has ended with `value`, in process `pid` after it `ran` so long.
    pub fn record<T: Serialize, E: Serialize>(
        &self,
        claim: &Claim,
        value: &Result<T, E>,
        pid: u32,
        ran: Duration,
    ) {
        let result = encode(value).map_err(|reason| Cause::BadResult { reason });
        let about = About {
            attempt: 1,
            pid: Some(pid),
            ran,
            ..claim.about()
        };
        let outcome = Outcome {
            about,
            failed: value.is_err(),
            result,
        };
        self.end([(claim.key, &outcome)]);
    }

    /// Writes that a claimed task has no result.
    pub fn record_error(&self, claim: &Claim, error: &TaskError) {
        let report = error.report();
        let about = About {
            job: report.job,
            attempt: report.attempt,
            pid: report.pid,
            queued: report.queued,
            ran: report.ran,
            ..claim.about()
        };
        let outcome = Outcome {
            about,
            failed: false,
            result: Err(report.cause.clone()),
        };
        self.end([(claim.key, &outcome)]);
    }

    /// The key of the next task, and its result if it has one.
    pub(crate) fn begin(&self, task: TaskId, argument: &Payload) -> (Key, Option<Payload>) {
        let mut state = lock(&self.shared);
        let pair = key(task, argument, 0);
        let times = state.seen.entry(pair).or_default();
        let this = key(task, argument, *times);
        *times += 1;
        (this, state.finished.get(&this).cloned())
    }

    /// Writes down what came of tasks.
    pub(crate) fn end<'a>(&self, ends: impl IntoIterator<Item = (Key, &'a Outcome)>) {
        let mut lines = String::new();
        for (key, outcome) in ends {
            add_line(&mut lines, key, outcome);
        }
        if lines.is_empty() {
            return;
        }
        let mut state = lock(&self.shared);
        let Some(len) = state.len else {
            return;
        };
        if let Err(error) = state.file.write_all(lines.as_bytes()) {
            // A full disk takes a part, and may have room again for the next.
            state.len = state.file.set_len(len).is_ok().then_some(len);
            state.error.get_or_insert(error);
        } else {
            state.len = Some(len + lines.len() as u64);
        }
    }
}

/// The error, with the name of the file.
fn of(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Reads whole lines: the results of the tasks that succeeded, and how many bytes the lines have.
fn read(mut reader: impl BufRead) -> io::Result<(HashMap<Key, Payload>, u64)> {
    let mut finished = HashMap::new();
    let mut line = Vec::new();
    let (mut good, mut number) = (0, 0_u64);
    loop {
        line.clear();
        let len = reader.read_until(b'\n', &mut line)?;
        number += 1;
        match std::str::from_utf8(&line).ok().and_then(parse) {
            Some((key, Some(payload))) => {
                finished.insert(key, payload);
            }
            Some((_, None)) => {}
            // The end, or a torn last line.
            None if len == 0 || reader.fill_buf()?.is_empty() => return Ok((finished, good)),
            None => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("line {number} is damaged"),
                ));
            }
        }
        good += len as u64;
    }
}

fn key(task: TaskId, argument: &Payload, times: u64) -> Key {
    let hash = |basis: u64| {
        let hash = fnv(fnv(basis, &task.to_u64().to_le_bytes()), argument.bytes());
        fnv(hash, &times.to_le_bytes())
    };
    (hash(0xcbf2_9ce4_8422_2325), hash(0x6c62_272e_07bb_0142))
}

fn add_line(lines: &mut String, key: Key, outcome: &Outcome) {
    let status = match &outcome.result {
        Ok(_) if outcome.failed => "err".to_owned(),
        Ok(_) => "ok".to_owned(),
        // The first word of the variant: the rest may hold tabs.
        Err(cause) => format!("{cause:?}")
            .split(|c: char| !c.is_alphanumeric())
            .next()
            .unwrap_or_default()
            .to_lowercase(),
    };
    let (start, about) = (lines.len(), &outcome.about);
    let _ = write!(
        lines,
        "{:016x}{:016x}\t{status}\t{}\t{}\t{}\t{}\t{}\t{}\t",
        key.0,
        key.1,
        about.task,
        about.job,
        about.attempt,
        about.pid.unwrap_or(0),
        about.queued.as_micros(),
        about.ran.as_micros(),
    );
    if let Ok(payload) = &outcome.result {
        for byte in payload.bytes() {
            let _ = write!(lines, "{byte:02x}");
        }
    }
    let checksum = fnv(0, &lines.as_bytes()[start..]);
    let _ = writeln!(lines, "\t{checksum:016x}");
}

/// Reads a line: the task's key, and its result if it succeeded.
fn parse(line: &str) -> Option<(Key, Option<Payload>)> {
    let line = line.strip_suffix('\n')?;
    let (body, checksum) = line.rsplit_once('\t')?;
    if u64::from_str_radix(checksum, 16).ok()? != fnv(0, body.as_bytes()) {
        return None;
    }
    let mut fields = body.split('\t');
    let (key, status) = (fields.next()?, fields.next()?);
    let half = |range| u64::from_str_radix(key.get(range)?, 16).ok();
    let key = (half(0..16)?, half(16..32)?);
    if status != "ok" {
        return Some((key, None));
    }
    let hex = fields.next_back()?.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes = hex.chunks(2).map(|pair| match *pair {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    });
    Some((
        key,
        Some(Payload::from(bytes.collect::<Option<Vec<u8>>>()?)),
    ))
}
