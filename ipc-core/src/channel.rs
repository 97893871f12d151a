//! Bytes both ways between two processes: the traits that every kind of channel implements.

use std::fmt::Debug;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::{Address, Credentials, Deadline, Reservation};

/// What [`Inbound::arm_inbound`] and [`Outbound::arm_outbound`] answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a channel that is ready will not wake a sleeper"]
pub enum Readiness {
    /// The descriptor will become ready when there is something to do: the caller may sleep on it.
    Armed,
    /// There is something to do now: the caller must not sleep.
    Ready,
}

/// The half of a channel that bytes come out of.
///
/// `read` (from [`Read`]) waits for at least one byte and answers 0 when the peer has closed its end
/// or died and everything it sent has been read. The peer's death, and nothing else, ends the wait;
/// use [`read_deadline`](Inbound::read_deadline) for a limit. After `set_nonblocking(true)` it
/// answers [`WouldBlock`](io::ErrorKind::WouldBlock) instead of waiting. Interruption by a signal is
/// never reported.
pub trait Inbound: Read + Debug + Send {
    /// The descriptor that becomes readable when there are bytes, or the end of them, to read.
    ///
    /// An event loop that sleeps on it calls [`arm_inbound`](Inbound::arm_inbound) first.
    fn inbound(&self) -> BorrowedFd<'_>;

    /// Reads what is there, at most `buf.len()` bytes, waiting until `deadline` for the first.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when `deadline` is [`Deadline::Now`] and nothing is
    /// there; [`TimedOut`](io::ErrorKind::TimedOut) when it has passed; else what the system says.
    fn read_deadline(&mut self, buf: &mut [u8], deadline: Deadline) -> io::Result<usize>;

    /// Like [`read_deadline`](Inbound::read_deadline), and appends descriptors that came with the
    /// bytes to `fds`, close-on-exec set. Kinds that cannot carry descriptors never append any.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) when the peer sent more descriptors than are
    /// accepted or the system dropped some; those that did arrive are closed.
    fn read_with_fds(
        &mut self,
        buf: &mut [u8],
        fds: &mut Vec<OwnedFd>,
        deadline: Deadline,
    ) -> io::Result<usize> {
        let _ = fds;
        self.read_deadline(buf, deadline)
    }

    /// Says that the caller is about to sleep on [`inbound`](Inbound::inbound).
    ///
    /// Kernel channels answer [`Readiness::Armed`]: their descriptor tells everything. A channel in
    /// shared memory answers [`Readiness::Ready`] if bytes are there, else asks the peer to ring the
    /// doorbell when it writes, so that a running peer costs no system call. Call it again before
    /// every sleep.
    fn arm_inbound(&mut self) -> io::Result<Readiness> {
        Ok(Readiness::Armed)
    }

    /// Whether something can be read, where that is in shared memory and can be told without a
    /// system call: for an event loop to look before it sleeps, without asking for a doorbell. Kernel
    /// channels answer `None`.
    fn poll_inbound(&mut self) -> Option<bool> {
        None
    }
}

/// The half of a channel that bytes go into.
///
/// `write` (from [`Write`]) waits until the peer has room for at least one byte; it may be partial.
/// The peer's death ends the wait with [`BrokenPipe`](io::ErrorKind::BrokenPipe), never with a
/// signal. Interruption by a signal is never reported.
pub trait Outbound: Write + Debug + Send {
    /// The descriptor that becomes writable when there is room. For a ring it is the doorbell, which
    /// becomes *readable* (see [`Outbound::is_doorbell`]).
    fn outbound(&self) -> BorrowedFd<'_>;

    /// Whether [`outbound`](Outbound::outbound) is a doorbell, to be waited on for reading.
    fn is_doorbell(&self) -> bool {
        false
    }

    /// Writes some of `bufs`, in order, waiting until `deadline` for room for the first byte, and
    /// answers how many bytes were taken.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when `deadline` is [`Deadline::Now`] and there is no
    /// room; [`TimedOut`](io::ErrorKind::TimedOut) when it has passed;
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) when the peer is gone; else what the system says.
    fn write_deadline(&mut self, bufs: &[IoSlice<'_>], deadline: Deadline) -> io::Result<usize>;

    /// Like [`write_deadline`](Outbound::write_deadline), and sends duplicates of `fds` with the
    /// first byte. The caller keeps its own.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) when `fds` is not empty and this kind of channel
    /// cannot carry descriptors.
    fn write_with_fds(
        &mut self,
        bufs: &[IoSlice<'_>],
        fds: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> io::Result<usize> {
        if !fds.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this kind of channel cannot carry descriptors",
            ));
        }
        self.write_deadline(bufs, deadline)
    }

    /// All the room that there is now to be written in place, perhaps none, for kinds of channels
    /// that are memory; `None` for the others.
    ///
    /// # Errors
    ///
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) when the peer is gone; else what the channel says.
    fn in_place(&mut self) -> io::Result<Option<Reservation<'_>>> {
        Ok(None)
    }

    /// Says that the caller is about to sleep until there is room: the writing side's
    /// [`arm_inbound`](Inbound::arm_inbound).
    fn arm_outbound(&mut self) -> io::Result<Readiness> {
        Ok(Readiness::Armed)
    }

    /// Ends this direction: the peer reads what was written, then end of file. The other direction
    /// goes on. A second call does nothing.
    fn shutdown(&mut self) -> io::Result<()>;
}

/// Bytes both ways between two processes.
///
/// Dropping a channel closes it; the peer then reads end of file. Descriptors are close-on-exec: a
/// child gets one only by explicit inheritance.
pub trait Channel: Inbound + Outbound {
    /// The half that [`split`](Channel::split) gives for reading.
    type Reader: Inbound + 'static;
    /// The half that [`split`](Channel::split) gives for writing.
    type Writer: Outbound + 'static;

    /// Takes the channel apart so that one thread can read while another writes. Dropping the writer
    /// half-closes; the peer sees the end when both halves are gone or the writer is.
    fn split(self) -> io::Result<(Self::Reader, Self::Writer)>;

    /// Makes `read` and `write` answer [`WouldBlock`](io::ErrorKind::WouldBlock) instead of waiting.
    /// The calls with a deadline are not affected. Both halves of a channel agree.
    fn set_nonblocking(&mut self, nonblocking: bool) -> io::Result<()>;

    /// The address of the other end, for a channel that was connected to one.
    fn peer_address(&self) -> Option<Address>;

    /// Who was at the other end when the channel was made, as the kernel tells it; `None` for kinds
    /// (pipes, TCP) that do not know.
    fn peer_credentials(&self) -> io::Result<Option<Credentials>>;
}
