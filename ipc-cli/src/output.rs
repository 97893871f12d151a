//! Standard output that may be closed, and errors of one line.

use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};

use anyhow::{Context, Result, bail};

use crate::sys;

/// Standard output: buffered, and an error instead of a panic when nobody reads it any more.
#[derive(Debug)]
pub(crate) struct Output {
    writer: BufWriter<StdoutLock<'static>>,
}

impl Output {
    /// # Errors
    ///
    /// When the program was started with standard output closed: results would be lost unseen.
    pub(crate) fn open() -> Result<Self> {
        if !sys::stdout_was_open() {
            bail!("standard output is closed");
        }
        Ok(Self {
            writer: BufWriter::new(io::stdout().lock()),
        })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).context(UNWRITTEN)
    }

    pub(crate) fn line(&mut self, text: impl Display) -> Result<()> {
        writeln!(self.writer, "{text}").context(UNWRITTEN)
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        self.writer.flush().context(UNWRITTEN)
    }
}

const UNWRITTEN: &str = "cannot write to standard output";

/// Says what went wrong, in one line on standard error. That standard error may be closed too is no
/// reason to fail: the exit status tells.
pub(crate) fn complain(text: impl Display) {
    let line = format!("ipc-cli: {text}\n").replace(['\r', '\n'], " ");
    let _ = writeln!(io::stderr().lock(), "{}", line.trim_end());
}
