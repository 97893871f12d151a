//! The kinds of work, and what their results look like.

use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use ipc_exchange::{Cause, Task, TaskError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::listing::{CountTable, digest_line};
use super::report::{Content, Shown};
use super::spool::Spool;
use crate::execution::{self, Assignment, Ended, Failed, Printed};
use crate::tasks::{self, Counts};

/// What is done with every input.
pub(super) trait Work {
    type Argument: Serialize;
    type Value: Serialize + DeserializeOwned + Clone;
    type Error: Serialize + DeserializeOwned + Clone;

    /// The registered function.
    fn task(&self) -> Task<Self::Argument, Result<Self::Value, Self::Error>>;

    /// What it is given for an input.
    fn argument(&self, input: &OsStr) -> Self::Argument;

    /// Files for what it prints, if it prints, of which the argument then tells.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn spool(&self, argument: &mut Self::Argument) -> io::Result<Option<Spool>> {
        let _ = argument;
        Ok(None)
    }

    /// How many submissions make the workers busy, if there are so many workers.
    fn ahead(&self, workers: usize) -> usize;

    /// Whether an input whose work has failed may be tried again.
    fn may_repeat(&self) -> bool {
        false
    }

    /// Whether a part of the result is in the files for what was printed.
    fn is_spooled(&self, result: &Result<Self::Value, Self::Error>) -> bool {
        let _ = result;
        false
    }

    /// What came of an input.
    fn show(
        &mut self,
        input: &OsStr,
        spool: Option<Spool>,
        result: &Result<Self::Value, Self::Error>,
    ) -> Shown;

    /// What is left of an input that has no result.
    fn show_error(
        &mut self,
        spool: Option<Spool>,
        error: &TaskError,
        timeout: Option<Duration>,
    ) -> Shown {
        drop(spool);
        Shown::problem(reason(error, timeout))
    }

    /// The line after all results.
    fn total(&self) -> Option<Vec<u8>> {
        None
    }

    /// The process and the time that the job log names.
    fn measured(&self, result: &Result<Self::Value, Self::Error>) -> (u32, Duration) {
        let _ = result;
        (0, Duration::ZERO)
    }

    /// What of a result is written to the job log.
    fn logged(
        &self,
        result: &Result<Self::Value, Self::Error>,
    ) -> Result<Self::Value, Self::Error> {
        result.clone()
    }
}

fn reason(error: &TaskError, timeout: Option<Duration>) -> String {
    match (error.cause(), timeout) {
        (Cause::TimedOut { .. }, Some(timeout)) => format!("took longer than {timeout:?}"),
        _ => error.report().to_string(),
    }
}

/// How many submissions of short tasks are under way.
const SHORT_AHEAD: usize = 256;

/// SHA-256 of files.
#[derive(Debug)]
pub(super) struct Digests;

impl Work for Digests {
    type Argument = OsString;
    type Value = [u8; 32];
    type Error = String;

    fn task(&self) -> Task<OsString, Result<[u8; 32], String>> {
        Task::of(tasks::sha256)
    }

    fn argument(&self, input: &OsStr) -> OsString {
        input.to_owned()
    }

    fn ahead(&self, workers: usize) -> usize {
        workers.max(SHORT_AHEAD)
    }

    fn show(
        &mut self,
        input: &OsStr,
        _: Option<Spool>,
        result: &Result<[u8; 32], String>,
    ) -> Shown {
        match result {
            Ok(digest) => {
                let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                Shown::line(digest_line(digest, input), json!({ "sha256": hex }))
            }
            Err(reason) => Shown::problem(reason.clone()),
        }
    }
}

/// Lines, words and bytes of files.
#[derive(Debug)]
pub(super) struct Counting {
    table: CountTable,
    several: bool,
}

impl Counting {
    /// Columns as `wc` chooses them, from the sizes that the files have before any is read.
    pub(super) fn new(inputs: Option<&[super::source::Input]>) -> Self {
        let Some(inputs) = inputs else {
            let table = CountTable::new(0, false);
            return Self {
                table,
                several: true,
            };
        };
        let (mut total, mut all_regular) = (0, true);
        // When the first file cannot be looked at, `wc` does not look at the others either.
        let known = inputs.iter().take_while(|_| inputs[0].is_ok());
        for path in known.flatten() {
            if let Ok(metadata) = fs::metadata(path) {
                all_regular &= metadata.is_file();
                total += if metadata.is_file() {
                    metadata.len()
                } else {
                    0
                };
            }
        }
        Self {
            table: CountTable::new(total, all_regular),
            several: inputs.len() > 1,
        }
    }
}

impl Work for Counting {
    type Argument = OsString;
    type Value = Counts;
    type Error = String;

    fn task(&self) -> Task<OsString, Result<Counts, String>> {
        Task::of(tasks::wc)
    }

    fn argument(&self, input: &OsStr) -> OsString {
        input.to_owned()
    }

    fn ahead(&self, workers: usize) -> usize {
        workers.max(SHORT_AHEAD)
    }

    fn show(&mut self, input: &OsStr, _: Option<Spool>, result: &Result<Counts, String>) -> Shown {
        match result {
            Ok(counts) => {
                let Counts {
                    lines,
                    words,
                    bytes,
                } = counts;
                let value = json!({ "lines": lines, "words": words, "bytes": bytes });
                Shown::line(self.table.line(*counts, input), value)
            }
            Err(reason) => Shown::problem(reason.clone()),
        }
    }

    fn total(&self) -> Option<Vec<u8>> {
        self.several.then(|| self.table.total())
    }
}

/// A command of the user's.
#[derive(Debug)]
pub(super) struct Commands {
    words: Vec<OsString>,
}

/// Stands for the input.
const PLACE: &[u8] = b"{}";

impl Commands {
    pub(super) fn new(words: &[OsString]) -> Self {
        let mut words = words.to_vec();
        let has_place = |word: &OsString| word.as_bytes().windows(2).any(|pair| pair == PLACE);
        if !words.iter().any(has_place) {
            words.push(OsString::from_vec(PLACE.to_vec()));
        }
        Self { words }
    }

    fn ended(spool: Option<Spool>, ended: &Ended) -> Shown {
        let [out, err] = contents(spool);
        let pick = |printed: &Printed, file| match printed {
            Printed::Here(bytes) => Content::Bytes(bytes.clone()),
            Printed::InFile => file,
        };
        let problem = match (ended.code, ended.signal) {
            (Some(0), _) => None,
            (Some(code), _) => Some(format!("exit code {code}")),
            (None, Some(signal)) => Some(format!("ended by signal {signal}")),
            (None, None) => Some("ended in an unknown way".to_owned()),
        };
        let mut fields = Map::new();
        fields.insert("code".to_owned(), json!(ended.code));
        fields.insert("signal".to_owned(), json!(ended.signal));
        fields.insert("micros".to_owned(), json!(ended.micros));
        Shown {
            stdout: pick(&ended.stdout, out),
            stderr: pick(&ended.stderr, err),
            prints: true,
            fields: Value::Object(fields),
            problem,
        }
    }
}

/// What is in the files.
fn contents(spool: Option<Spool>) -> [Content; 2] {
    match spool {
        Some(spool) => spool.into_files().map(Content::File),
        None => [Content::Bytes(Vec::new()), Content::Bytes(Vec::new())],
    }
}

impl Work for Commands {
    type Argument = Assignment;
    type Value = Ended;
    type Error = Failed;

    fn task(&self) -> Task<Assignment, Result<Ended, Failed>> {
        Task::of(execution::command)
    }

    fn argument(&self, input: &OsStr) -> Assignment {
        let words = self.words.iter();
        let words = words.map(|word| replace(word.as_bytes(), input.as_bytes()));
        Assignment {
            words: words.collect(),
            outputs: None,
        }
    }

    fn spool(&self, argument: &mut Assignment) -> io::Result<Option<Spool>> {
        let spool = Spool::new()?;
        argument.outputs = Some(spool.paths().clone());
        Ok(Some(spool))
    }

    fn is_spooled(&self, result: &Result<Ended, Failed>) -> bool {
        match result {
            Ok(ended) | Err(Failed::Status(ended)) => {
                [&ended.stdout, &ended.stderr].contains(&&Printed::InFile)
            }
            Err(Failed::Start(_)) => false,
        }
    }

    fn ahead(&self, workers: usize) -> usize {
        workers
    }

    fn may_repeat(&self) -> bool {
        true
    }

    fn show(&mut self, _: &OsStr, spool: Option<Spool>, result: &Result<Ended, Failed>) -> Shown {
        match result {
            Ok(ended) | Err(Failed::Status(ended)) => Self::ended(spool, ended),
            Err(Failed::Start(reason)) => Shown::problem(reason.clone()),
        }
    }

    /// What it had printed when it was killed comes out all the same.
    fn show_error(
        &mut self,
        spool: Option<Spool>,
        error: &TaskError,
        timeout: Option<Duration>,
    ) -> Shown {
        let [stdout, stderr] = contents(spool);
        Shown {
            stdout,
            stderr,
            prints: true,
            ..Shown::problem(reason(error, timeout))
        }
    }

    fn measured(&self, result: &Result<Ended, Failed>) -> (u32, Duration) {
        match result {
            Ok(ended) | Err(Failed::Status(ended)) => {
                (ended.pid, Duration::from_micros(ended.micros))
            }
            Err(Failed::Start(_)) => (0, Duration::ZERO),
        }
    }

    /// Outputs are not kept.
    fn logged(&self, result: &Result<Ended, Failed>) -> Result<Ended, Failed> {
        let strip = |ended: &Ended| Ended {
            stdout: Printed::default(),
            stderr: Printed::default(),
            ..ended.clone()
        };
        match result {
            Ok(ended) => Ok(strip(ended)),
            Err(Failed::Status(ended)) => Err(Failed::Status(strip(ended))),
            Err(error) => Err(error.clone()),
        }
    }
}

/// A word with the input in the place of every `{}`.
fn replace(word: &[u8], input: &[u8]) -> OsString {
    let mut replaced = Vec::with_capacity(word.len() + input.len());
    let mut rest = word;
    while let Some(at) = rest.windows(PLACE.len()).position(|pair| pair == PLACE) {
        replaced.extend(&rest[..at]);
        replaced.extend(input);
        rest = &rest[at + PLACE.len()..];
    }
    replaced.extend(rest);
    OsString::from_vec(replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_takes_its_places() {
        let check = |words: &[&str], input: &str, expected: &[&str]| {
            let words: Vec<OsString> = words.iter().map(Into::into).collect();
            let commands = Commands::new(&words);
            assert_eq!(commands.argument(OsStr::new(input)).words, expected);
        };
        check(&["echo"], "a b", &["echo", "a b"]);
        check(&["cp", "{}", "/to/{}.{}"], "{}", &["cp", "{}", "/to/{}.{}"]);
        check(&["{}"], "x", &["x"]);
        check(&["a{}b", "{", "}"], "$x;", &["a$x;b", "{", "}"]);
    }
}
