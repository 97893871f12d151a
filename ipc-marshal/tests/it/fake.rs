//! A channel that follows a script.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use ipc_core::{Address, Channel, Credentials, Deadline, Inbound, Outbound};

/// What the peer does next.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// These bytes arrive.
    Bytes(Vec<u8>),
    /// Nothing arrives until the caller's time is up.
    Silence,
}

/// Reads from a script, and takes what is written up to a limit, after which nothing has room. Time
/// is not real: whoever would wait is told that its time is up, or fails if it would wait for ever.
#[derive(Debug)]
pub(crate) struct Fake {
    acts: VecDeque<Act>,
    pub(crate) room: usize,
    /// How many reads there were.
    pub(crate) reads: usize,
    fd: File,
}

impl Fake {
    pub(crate) fn new(acts: impl IntoIterator<Item = Act>) -> Self {
        Self {
            acts: acts.into_iter().collect(),
            room: usize::MAX,
            reads: 0,
            fd: File::open("/dev/null").expect("it is always there"),
        }
    }
}

fn out_of_time(deadline: Deadline) -> io::Error {
    match deadline {
        Deadline::Now => ErrorKind::WouldBlock.into(),
        Deadline::At(_) => ErrorKind::TimedOut.into(),
        Deadline::Never => panic!("this would wait for ever"),
    }
}

impl Inbound for Fake {
    fn inbound(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn read_deadline(&mut self, buf: &mut [u8], deadline: Deadline) -> io::Result<usize> {
        self.reads += 1;
        assert!(!buf.is_empty(), "an empty read means nothing");
        match self.acts.pop_front() {
            Some(Act::Bytes(mut bytes)) => {
                let len = bytes.len().min(buf.len());
                buf[..len].copy_from_slice(&bytes[..len]);
                let rest = bytes.split_off(len);
                if !rest.is_empty() {
                    self.acts.push_front(Act::Bytes(rest));
                }
                Ok(len)
            }
            Some(Act::Silence) => Err(out_of_time(deadline)),
            // The peer closes its end.
            None => Ok(0),
        }
    }
}

impl Read for Fake {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_deadline(buf, Deadline::Never)
    }
}

impl Outbound for Fake {
    fn outbound(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn write_deadline(&mut self, bufs: &[IoSlice<'_>], deadline: Deadline) -> io::Result<usize> {
        let wanted: usize = bufs.iter().map(|buf| buf.len()).sum();
        let taken = wanted.min(self.room);
        if taken == 0 {
            return Err(out_of_time(deadline));
        }
        self.room -= taken;
        Ok(taken)
    }

    fn shutdown(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for Fake {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_deadline(&[IoSlice::new(buf)], Deadline::Never)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Channel for Fake {
    type Reader = Fake;
    type Writer = Fake;

    fn split(self) -> io::Result<(Fake, Fake)> {
        let other = Fake::new([]);
        Ok((self, other))
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
