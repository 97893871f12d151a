//! A channel whose kind is chosen at run time.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crate::delegate::{delegate_inbound, delegate_outbound};
use crate::sys;
use crate::{
    Address, Channel, Credentials, Deadline, Pipe, PipeReader, PipeWriter, Ring, RingReader,
    RingWriter, Socket, SocketReader, SocketWriter,
};

/// A channel of any kind, chosen at run time from an [`Address`].
///
/// # Examples
///
/// ```
/// use ipc_core::{Address, AnyChannel, Port};
/// use std::io::{Read, Write};
///
/// let mut port = Port::bind(&"tcp:127.0.0.1:0".parse()?)?;
/// let mut client = AnyChannel::connect(port.address())?;
/// let mut server = port.accept()?;
/// client.write_all(b"ping")?;
/// let mut buf = [0; 4];
/// server.read_exact(&mut buf)?;
/// assert_eq!(&buf, b"ping");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "made once and rarely moved; a box would cost an indirection at every transfer"
)]
pub enum AnyChannel {
    /// Two pipes.
    Pipe(Pipe),
    /// Shared memory.
    Ring(Ring),
    /// A stream socket.
    Socket(Socket),
}

/// The reading half of an [`AnyChannel`].
#[derive(Debug)]
#[non_exhaustive]
pub enum AnyReader {
    /// Of a [`Pipe`].
    Pipe(PipeReader),
    /// Of a [`Ring`].
    Ring(RingReader),
    /// Of a [`Socket`].
    Socket(SocketReader),
}

/// The writing half of an [`AnyChannel`].
#[derive(Debug)]
#[non_exhaustive]
pub enum AnyWriter {
    /// Of a [`Pipe`].
    Pipe(PipeWriter),
    /// Of a [`Ring`].
    Ring(RingWriter),
    /// Of a [`Socket`].
    Socket(SocketWriter),
}

impl AnyChannel {
    /// Connects to the port at `address`, waiting as long as the system does.
    ///
    /// # Errors
    ///
    /// What the system says: notably `NotFound` and `ConnectionRefused` while there is no port.
    pub fn connect(address: &Address) -> io::Result<Self> {
        Self::connect_deadline(address, Deadline::Never)
    }

    /// Like [`connect`](Self::connect), giving up after `timeout`.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut), and as `connect`.
    pub fn connect_timeout(address: &Address, timeout: Duration) -> io::Result<Self> {
        Self::connect_deadline(address, Deadline::after(timeout))
    }

    /// Like [`connect`](Self::connect), giving up at `deadline`.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut), and as `connect`.
    pub fn connect_deadline(address: &Address, deadline: Deadline) -> io::Result<Self> {
        match address {
            Address::Unix(_) | Address::Tcp(_) => {
                Socket::connect_deadline(address, deadline).map(Self::Socket)
            }
            Address::Ring(_) => Ring::connect_deadline(address, deadline).map(Self::Ring),
        }
    }

    /// Wraps an inherited or received descriptor, after looking at what it is: a stream socket, or the
    /// offer of a ring ([`Ring::offer`]).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) when it is none that makes a channel alone. A
    /// pipe needs two: see [`Pipe::from_fds`].
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        if sys::is_packet_socket(fd.as_fd())? {
            return Ring::from_fd(fd).map(Self::Ring);
        }
        Socket::from_fd(fd).map(Self::Socket)
    }
}

/// The same call of the value inside, whatever its kind.
macro_rules! to_kind {
    ($any:tt, $($call:tt)+) => {
        match $any {
            Self::Pipe(inner) => inner.$($call)+,
            Self::Ring(inner) => inner.$($call)+,
            Self::Socket(inner) => inner.$($call)+,
        }
    };
}

impl Channel for AnyChannel {
    type Reader = AnyReader;
    type Writer = AnyWriter;

    fn split(self) -> io::Result<(AnyReader, AnyWriter)> {
        Ok(match self {
            Self::Pipe(pipe) => {
                let (reader, writer) = pipe.split()?;
                (AnyReader::Pipe(reader), AnyWriter::Pipe(writer))
            }
            Self::Ring(ring) => {
                let (reader, writer) = ring.split()?;
                (AnyReader::Ring(reader), AnyWriter::Ring(writer))
            }
            Self::Socket(socket) => {
                let (reader, writer) = socket.split()?;
                (AnyReader::Socket(reader), AnyWriter::Socket(writer))
            }
        })
    }

    fn set_nonblocking(&mut self, nonblocking: bool) -> io::Result<()> {
        to_kind!(self, set_nonblocking(nonblocking))
    }

    fn peer_address(&self) -> Option<Address> {
        to_kind!(self, peer_address())
    }

    fn peer_credentials(&self) -> io::Result<Option<Credentials>> {
        to_kind!(self, peer_credentials())
    }
}

delegate_inbound!(AnyChannel, to_kind);
delegate_inbound!(AnyReader, to_kind);
delegate_outbound!(AnyChannel, to_kind);
delegate_outbound!(AnyWriter, to_kind);

impl From<Pipe> for AnyChannel {
    fn from(pipe: Pipe) -> Self {
        Self::Pipe(pipe)
    }
}

impl From<Ring> for AnyChannel {
    fn from(ring: Ring) -> Self {
        Self::Ring(ring)
    }
}

impl From<Socket> for AnyChannel {
    fn from(socket: Socket) -> Self {
        Self::Socket(socket)
    }
}
