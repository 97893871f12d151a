//! A channel in memory, whose other side is a script.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use ipc_core::{Address, AnyChannel, Channel, Credentials, Deadline, Inbound, Outbound};

/// How much room for bytes this side may ever offer: what is not trusted yet cannot ask for more.
const SPACE_MAX: usize = 64 * 1024;

/// What the other side does when it is waited for.
#[derive(Debug)]
pub(super) enum Turn {
    Bytes(Vec<u8>),
    /// It is gone, or the system says this.
    Error(ErrorKind),
    End,
}

/// The other side of a [`Line`].
pub(super) trait Script: Debug + Send {
    /// Takes what was written to it.
    fn hear(&mut self, bytes: &[u8]);

    /// Acts when it is waited for. Ends at some time.
    fn turn(&mut self) -> Turn;

    /// How many bytes move at once, at least one.
    fn piece(&mut self) -> usize;
}

/// A channel whose other side acts whenever this one waits for bytes.
#[derive(Debug)]
pub(super) struct Line<S> {
    pub(super) script: S,
    coming: Vec<u8>,
    over: bool,
}

impl<S: Script> Line<S> {
    pub(super) fn new(script: S) -> Self {
        Self {
            script,
            coming: Vec::new(),
            over: false,
        }
    }
}

impl<S: Script> Read for Line<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        assert!(buf.len() <= SPACE_MAX, "room for {} bytes", buf.len());
        while self.coming.is_empty() && !self.over {
            match self.script.turn() {
                Turn::Bytes(bytes) => self.coming = bytes,
                Turn::Error(kind) => return Err(kind.into()),
                Turn::End => self.over = true,
            }
        }
        let len = self
            .script
            .piece()
            .max(1)
            .min(buf.len())
            .min(self.coming.len());
        buf[..len].copy_from_slice(&self.coming[..len]);
        self.coming.drain(..len);
        Ok(len)
    }
}

impl<S: Script> Write for Line<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.over {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let len = self.script.piece().max(1).min(buf.len());
        self.script.hear(&buf[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Nothing sleeps on a line, but a channel has a descriptor.
fn nothing() -> BorrowedFd<'static> {
    static NOTHING: OnceLock<File> = OnceLock::new();
    NOTHING
        .get_or_init(|| File::open("/dev/null").expect("it is always there"))
        .as_fd()
}

impl<S: Script> Inbound for Line<S> {
    fn inbound(&self) -> BorrowedFd<'_> {
        nothing()
    }

    fn read_deadline(&mut self, buf: &mut [u8], _: Deadline) -> io::Result<usize> {
        self.read(buf)
    }
}

impl<S: Script> Outbound for Line<S> {
    fn outbound(&self) -> BorrowedFd<'_> {
        nothing()
    }

    fn write_deadline(&mut self, bufs: &[IoSlice<'_>], _: Deadline) -> io::Result<usize> {
        let first = bufs.iter().find(|buf| !buf.is_empty());
        first.map_or(Ok(0), |buf| self.write(buf))
    }

    fn shutdown(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: Script> Channel for Line<S> {
    type Reader = <AnyChannel as Channel>::Reader;
    type Writer = <AnyChannel as Channel>::Writer;

    fn split(self) -> io::Result<(Self::Reader, Self::Writer)> {
        Err(ErrorKind::Unsupported.into())
    }

    fn set_nonblocking(&mut self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn peer_address(&self) -> Option<Address> {
        None
    }

    fn peer_credentials(&self) -> io::Result<Option<Credentials>> {
        Ok(None)
    }
}
