//! Results on their way to standard output and error, each in one piece.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::output::{Output, complain};

/// How much of an output one JSON object holds, in bytes.
const JSON_LEN_MAX: u64 = 1 << 20;

/// How much of a file is held in memory at a time.
const CHUNK: usize = 64 * 1024;

/// Something that was printed.
#[derive(Debug)]
pub(super) enum Content {
    Bytes(Vec<u8>),
    /// All that is in a file.
    File(File),
}

/// What there is to be shown of an input.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) stdout: Content,
    pub(super) stderr: Content,
    /// Whether the two are what a program printed, and so part of what JSON shows.
    pub(super) prints: bool,
    /// What else JSON shows.
    pub(super) fields: Value,
    /// Why it is a failure, if it is one.
    pub(super) problem: Option<String>,
}

impl Shown {
    /// Nothing but what went wrong.
    pub(super) fn problem(reason: String) -> Self {
        Self {
            problem: Some(reason),
            ..Self::line(Vec::new(), json!({}))
        }
    }

    /// A line, and the same for JSON.
    pub(super) fn line(line: Vec<u8>, fields: Value) -> Self {
        Self {
            stdout: Content::Bytes(line),
            stderr: Content::Bytes(Vec::new()),
            prints: false,
            fields,
            problem: None,
        }
    }
}

impl Content {
    /// The file, from its begin.
    fn open(&self) -> Result<Option<&File>> {
        match self {
            Self::Bytes(_) => Ok(None),
            Self::File(file) => {
                let mut from = file;
                from.rewind()
                    .context("cannot read what a command has printed")?;
                Ok(Some(file))
            }
        }
    }

    fn write(&self, mut write: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if let Self::Bytes(bytes) = self {
            return write(bytes);
        }
        let Some(mut file) = self.open()? else {
            return Ok(());
        };
        // What comes while it is read belongs to nobody any more, and might never end.
        let mut left = file.metadata()?.len();
        let mut buf = vec![0; CHUNK];
        while left > 0 {
            let len = file.read(&mut buf)?;
            if len == 0 {
                break;
            }
            write(&buf[..len])?;
            left = left.saturating_sub(len as u64);
        }
        Ok(())
    }

    /// As text, or a list of bytes where it is none; and whether there is more.
    fn json(&self) -> Result<(Value, bool)> {
        let mut bytes = Vec::new();
        let mut more = false;
        match self {
            Self::Bytes(all) => bytes.clone_from(all),
            Self::File(_) => {
                if let Some(mut file) = self.open()? {
                    (&mut file).take(JSON_LEN_MAX).read_to_end(&mut bytes)?;
                    more = file.read(&mut [0])? > 0;
                }
            }
        }
        let value = match String::from_utf8(bytes) {
            Ok(text) => Value::from(text),
            // A character that was cut in two is no reason to show numbers.
            Err(error) if more && error.utf8_error().error_len().is_none() => {
                String::from_utf8_lossy(error.as_bytes()).into()
            }
            Err(error) => Value::from(error.into_bytes()),
        };
        Ok((value, more))
    }
}

/// How many inputs came to what end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) ok: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

/// Prints results, and counts them.
#[derive(Debug)]
pub(super) struct Printer {
    output: Output,
    pub(super) bar: ProgressBar,
    json: bool,
    pub(super) tally: Tally,
}

impl Printer {
    pub(super) fn new(output: Output, bar: ProgressBar, json: bool) -> Self {
        Self {
            output,
            bar,
            json,
            tally: Tally::default(),
        }
    }

    /// Prints what there is to be shown of an input.
    pub(super) fn print(&mut self, input: &OsStr, shown: &Shown) -> Result<()> {
        match shown.problem {
            None => self.tally.ok += 1,
            Some(_) => self.tally.failed += 1,
        }
        let bar = self.bar.clone();
        let printed = if bar.is_hidden() {
            self.write(input, shown)
        } else {
            // So that it does not mix with the bar.
            bar.suspend(|| {
                self.write(input, shown)?;
                self.output.flush()
            })
        };
        bar.inc(1);
        printed
    }

    fn write(&mut self, input: &OsStr, shown: &Shown) -> Result<()> {
        if self.json {
            let line = json_line(input, shown)?;
            return self.output.line(line);
        }
        let output = &mut self.output;
        shown.stdout.write(|bytes| output.write(bytes))?;
        if matches!(&shown.stderr, Content::Bytes(bytes) if bytes.is_empty())
            && shown.problem.is_none()
        {
            return Ok(());
        }
        // In the order in which a person would have seen it.
        self.output.flush()?;
        let mut stderr = io::stderr().lock();
        shown.stderr.write(|bytes| {
            // Nobody reading it is no reason to fail.
            let _ = stderr.write_all(bytes);
            Ok(())
        })?;
        drop(stderr);
        if let Some(problem) = &shown.problem {
            complain(format_args!("{}: {problem}", input.display()));
        }
        Ok(())
    }

    /// An input that is not worked on again.
    pub(super) fn skip(&mut self) {
        self.tally.skipped += 1;
        self.bar.inc(1);
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        self.output.flush()
    }

    /// Prints the end; `total` is the line that belongs there.
    pub(super) fn finish(&mut self, total: Option<Vec<u8>>) -> Result<()> {
        self.bar.finish_and_clear();
        if self.json {
            let Tally {
                ok,
                failed,
                skipped,
            } = self.tally;
            let summary = json!({ "ok": ok, "failed": failed, "skipped": skipped });
            self.output.line(json!({ "summary": summary }))?;
        } else if let Some(total) = total {
            self.output.write(&total)?;
        }
        self.output.flush()
    }
}

fn json_line(input: &OsStr, shown: &Shown) -> Result<Value> {
    let mut line = json!({ "input": input.to_string_lossy(), "ok": shown.problem.is_none() });
    if let Some(problem) = &shown.problem {
        line["error"] = problem.as_str().into();
    }
    for (name, value) in shown.fields.as_object().into_iter().flatten() {
        line[name] = value.clone();
    }
    if shown.prints {
        let (stdout, more_out) = shown.stdout.json()?;
        let (stderr, more_err) = shown.stderr.json()?;
        line["stdout"] = stdout;
        line["stderr"] = stderr;
        if more_out || more_err {
            line["truncated"] = true.into();
        }
    }
    Ok(line)
}
