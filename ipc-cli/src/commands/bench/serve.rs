//! The other process: it answers or swallows what it is sent, as each batch's header says.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};

use anyhow::Result;
use ipc_core::{AnyChannel, Pipe, inherited};

use super::args::Served;
use crate::run::Outcome;

/// The numbers of the inherited descriptors.
pub(super) const NUMBERS: [i32; 2] = [3, 4];

/// What becomes of the messages of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Each is sent back.
    Echo,
    /// All are read, and then one byte is sent back.
    Sink,
}

/// What comes before the messages of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) mode: Mode,
    pub(super) size: u32,
    pub(super) count: u32,
}

impl Batch {
    pub(super) const LEN: usize = 9;

    pub(super) fn header(self) -> [u8; Self::LEN] {
        let mut header = [0; Self::LEN];
        header[0] = u8::from(self.mode == Mode::Sink);
        header[1..5].copy_from_slice(&self.size.to_le_bytes());
        header[5..].copy_from_slice(&self.count.to_le_bytes());
        header
    }

    fn parse(header: [u8; Self::LEN]) -> Self {
        let [mode, a, b, c, d, rest @ ..] = header;
        Self {
            mode: if mode == 0 { Mode::Echo } else { Mode::Sink },
            size: u32::from_le_bytes([a, b, c, d]),
            count: u32::from_le_bytes(rest),
        }
    }
}

/// Bare descriptors: one system call for each read and write, and nothing else.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) inbound: File,
    pub(super) outbound: File,
}

impl Read for Raw {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.inbound.read(buf)
    }
}

impl Write for Raw {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.outbound.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Serves batches until the other side is gone.
///
/// # Errors
///
/// When there are no such descriptors, or they fail.
pub(super) fn run(served: Served) -> Result<Outcome> {
    let first = inherited(NUMBERS[0])?;
    match served {
        Served::Channel => serve(AnyChannel::from_fd(first)?)?,
        Served::Pipe => serve(Pipe::from_fds(first, inherited(NUMBERS[1])?))?,
        Served::Raw => serve(Raw {
            inbound: first.into(),
            outbound: inherited(NUMBERS[1])?.into(),
        })?,
    }
    Ok(Outcome::Complete)
}

fn serve(mut link: impl Read + Write) -> io::Result<()> {
    let mut buf = Vec::new();
    let mut header = [0; Batch::LEN];
    loop {
        match link.read_exact(&mut header) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            result => result?,
        }
        let batch = Batch::parse(header);
        buf.resize(batch.size as usize, 0);
        for _ in 0..batch.count {
            link.read_exact(&mut buf)?;
            if batch.mode == Mode::Echo {
                link.write_all(&buf)?;
            }
        }
        if batch.mode == Mode::Sink {
            link.write_all(&[1])?;
        }
    }
}
