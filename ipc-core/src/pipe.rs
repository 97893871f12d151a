//! Channels over pipes.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::delegate::{
    delegate_inbound, delegate_outbound, read_by_deadline, to_reader, to_writer, write_by_deadline,
};
use crate::sys::{self, Interest};
use crate::wait::until;
use crate::{Address, Channel, Credentials, Deadline, Inbound, Outbound};

/// A channel over two pipes, one per direction, or over any two descriptors that can be read and
/// written: the standard streams, a terminal, a serial line.
///
/// Pipes are the cheapest kernel channel on one CPU; they carry no descriptors and know nothing of
/// the peer. A write with no reader left is [`BrokenPipe`](io::ErrorKind::BrokenPipe). From Linux 6.18
/// on it raises no `SIGPIPE` either; on older kernels and other systems the host program must ignore
/// that signal, as every Rust program does unless it asks otherwise.
///
/// # Examples
///
/// ```
/// use ipc_core::Pipe;
/// use std::io::{Read, Write};
///
/// let (mut ours, mut theirs) = Pipe::pair()?;
/// ours.write_all(b"ping")?;
/// let mut buf = [0; 4];
/// theirs.read_exact(&mut buf)?;
/// assert_eq!(&buf, b"ping");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Pipe {
    reader: PipeReader,
    writer: PipeWriter,
}

/// The reading half of a [`Pipe`].
#[derive(Debug)]
pub struct PipeReader {
    fd: OwnedFd,
    nonblocking: Arc<AtomicBool>,
}

/// The writing half of a [`Pipe`].
#[derive(Debug)]
pub struct PipeWriter {
    /// `/dev/null` after a shutdown, so that there is always a descriptor to answer with.
    fd: OwnedFd,
    closed: bool,
    nonblocking: Arc<AtomicBool>,
}

impl Pipe {
    /// Makes two crossed pipes and answers both ends.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (our_in, their_out) = sys::pipe()?;
        let (their_in, our_out) = sys::pipe()?;
        Ok((
            Self::from_fds(our_in, our_out),
            Self::from_fds(their_in, their_out),
        ))
    }

    /// Wraps a descriptor to read from and one to write to. Their flags are left alone, except that
    /// a descriptor for which the system cannot avoid waiting call by call (a terminal, anything
    /// outside Linux) becomes non-blocking at the first call that must not wait.
    pub fn from_fds(inbound: OwnedFd, outbound: OwnedFd) -> Self {
        let nonblocking = Arc::new(AtomicBool::new(false));
        Self {
            reader: PipeReader {
                fd: inbound,
                nonblocking: Arc::clone(&nonblocking),
            },
            writer: PipeWriter {
                fd: outbound,
                closed: false,
                nonblocking,
            },
        }
    }

    /// Takes the channel apart into its descriptors, inbound and outbound, to hand to a child.
    pub fn into_fds(self) -> (OwnedFd, OwnedFd) {
        (self.reader.fd, self.writer.fd)
    }
}

impl Channel for Pipe {
    type Reader = PipeReader;
    type Writer = PipeWriter;

    fn split(self) -> io::Result<(PipeReader, PipeWriter)> {
        Ok((self.reader, self.writer))
    }

    fn set_nonblocking(&mut self, nonblocking: bool) -> io::Result<()> {
        self.reader
            .nonblocking
            .store(nonblocking, Ordering::Relaxed);
        Ok(())
    }

    fn peer_address(&self) -> Option<Address> {
        None
    }

    fn peer_credentials(&self) -> io::Result<Option<Credentials>> {
        Ok(None)
    }
}

impl PipeReader {
    #[inline]
    fn deadline(&self) -> Deadline {
        blocking(&self.nonblocking)
    }
}

impl PipeWriter {
    #[inline]
    fn deadline(&self) -> Deadline {
        blocking(&self.nonblocking)
    }
}

impl Inbound for PipeReader {
    fn inbound(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn read_deadline(&mut self, buf: &mut [u8], deadline: Deadline) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let fd = self.fd.as_fd();
        until(fd, Interest::Read, deadline, |wait| {
            if wait {
                sys::read_waiting(fd, buf)
            } else {
                sys::read_now(fd, buf)
            }
        })
    }
}

read_by_deadline!(PipeReader);

impl Outbound for PipeWriter {
    fn outbound(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn write_deadline(&mut self, bufs: &[IoSlice<'_>], deadline: Deadline) -> io::Result<usize> {
        if self.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Ok(0);
        }
        let fd = self.fd.as_fd();
        until(fd, Interest::Write, deadline, |wait| {
            if wait {
                sys::write_waiting(fd, bufs)
            } else {
                sys::write_now(fd, bufs)
            }
        })
    }

    fn shutdown(&mut self) -> io::Result<()> {
        if !self.closed {
            self.fd = File::options().write(true).open("/dev/null")?.into();
            self.closed = true;
        }
        Ok(())
    }
}

write_by_deadline!(PipeWriter);

/// The deadline of a plain `read` or `write`.
fn blocking(nonblocking: &AtomicBool) -> Deadline {
    // Relaxed: the flag guards no other memory.
    if nonblocking.load(Ordering::Relaxed) {
        Deadline::Now
    } else {
        Deadline::Never
    }
}

delegate_inbound!(Pipe, to_reader, #[inline]);
delegate_outbound!(Pipe, to_writer, #[inline]);
