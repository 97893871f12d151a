//! Channels over stream sockets: unix and TCP.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::socket::{self, AddressFamily, Shutdown, SockType, sockopt};

use crate::delegate::{
    delegate_inbound, delegate_outbound, read_by_deadline, to_reader, to_writer, write_by_deadline,
};
use crate::sys::{self, Interest, SocketName};
use crate::wait::until;
use crate::{Address, Channel, Credentials, Deadline, Inbound, Outbound, connect};

/// A channel over a connected stream socket: a unix pair, a unix socket with a path or an abstract
/// name, or TCP over IPv4 or IPv6 (without Nagle's delay).
///
/// Unix sockets carry descriptors and know the peer's [`Credentials`].
///
/// # Examples
///
/// ```
/// use ipc_core::Socket;
/// use std::io::{Read, Write};
///
/// let (mut ours, mut theirs) = Socket::pair()?;
/// ours.write_all(b"ping")?;
/// let mut buf = [0; 4];
/// theirs.read_exact(&mut buf)?;
/// assert_eq!(&buf, b"ping");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Socket {
    reader: SocketReader,
    writer: SocketWriter,
}

/// The reading half of a [`Socket`].
#[derive(Debug)]
pub struct SocketReader {
    shared: Arc<Shared>,
    fds_max: usize,
}

/// The writing half of a [`Socket`]. Dropping it ends its direction.
#[derive(Debug)]
pub struct SocketWriter {
    shared: Arc<Shared>,
    /// Set by [`Channel::split`]: the whole channel ends by closing, a half by shutting down.
    shutdown_on_drop: bool,
}

#[derive(Debug)]
struct Shared {
    fd: OwnedFd,
    is_unix: bool,
    nonblocking: AtomicBool,
}

impl Socket {
    /// Makes two connected unix sockets without a name.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (ours, theirs) = sys::socket_pair()?;
        Ok((Self::wrap(ours, true), Self::wrap(theirs, true)))
    }

    /// Connects to a port at a `unix:` or `tcp:` address, waiting as long as the system does.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) for another kind of address; else what the system
    /// says, notably `NotFound` and `ConnectionRefused` while there is no port.
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

    /// Like [`connect`](Self::connect), giving up at `deadline`. A host name is looked up first; the
    /// system bounds how long that takes.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut), and as `connect`.
    pub fn connect_deadline(address: &Address, deadline: Deadline) -> io::Result<Self> {
        match address {
            Address::Unix(name) => {
                let fd = connect::unix(&SocketName::unix(name)?, sys::stream_socket, deadline)?;
                Ok(Self::wrap(fd, true))
            }
            Address::Tcp(name) => Self::tcp(connect::tcp(name, deadline)?),
            Address::Ring(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("{address} is not the address of a socket"),
            )),
        }
    }

    /// Wraps a connected stream socket that was inherited or received.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) when it is not a stream socket of the unix or
    /// internet families.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let invalid = |text| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        match socket::getsockopt(&fd, sockopt::SockType) {
            Ok(SockType::Stream) => {}
            Ok(_) => return invalid("the descriptor is a socket, but not a stream socket"),
            Err(nix::Error::ENOTSOCK) => return invalid("the descriptor is not a socket"),
            Err(errno) => return Err(errno.into()),
        }
        let name: socket::SockaddrStorage = socket::getsockname(fd.as_raw_fd())?;
        match socket::SockaddrLike::family(&name) {
            Some(AddressFamily::Unix) => Ok(Self::wrap(fd, true)),
            Some(AddressFamily::Inet | AddressFamily::Inet6) => Self::tcp(fd),
            _ => invalid("the socket is neither a unix nor an internet socket"),
        }
    }

    /// Sends `payload`, at least one byte, and duplicates of `fds`, at most 253, and answers how many
    /// bytes were taken; the descriptors go with the first. Waits for room.
    ///
    /// # Errors
    ///
    /// As [`Outbound::write_with_fds`].
    pub fn send_fds(&mut self, payload: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.write_with_fds(&[IoSlice::new(payload)], fds, Deadline::Never)
    }

    /// Receives into `payload` and answers how many bytes, and at most `limit` descriptors, which are
    /// close-on-exec. Waits for the first byte.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) when more than `limit` came with these bytes, or
    /// the system dropped some because this process has too many open: they are closed, and the bytes
    /// lost.
    pub fn recv_fds(
        &mut self,
        payload: &mut [u8],
        limit: usize,
    ) -> io::Result<(usize, Vec<OwnedFd>)> {
        let mut fds = Vec::new();
        let before = self.reader.fds_max;
        self.reader.fds_max = limit;
        let result = self.read_with_fds(payload, &mut fds, Deadline::Never);
        self.reader.fds_max = before;
        Ok((result?, fds))
    }

    /// The most descriptors that [`Inbound::read_with_fds`] accepts with one read; 253 unless told
    /// otherwise, which is the system's own limit.
    pub fn set_fds_max(&mut self, limit: usize) {
        self.reader.fds_max = limit;
    }

    /// The address of this end; `None` for one without a name.
    pub fn local_address(&self) -> Option<Address> {
        sys::local_address(self.as_fd()).ok().flatten()
    }

    pub(crate) fn tcp(fd: OwnedFd) -> io::Result<Self> {
        socket::setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
        Ok(Self::wrap(fd, false))
    }

    pub(crate) fn unix(fd: OwnedFd) -> Self {
        Self::wrap(fd, true)
    }

    fn wrap(fd: OwnedFd, is_unix: bool) -> Self {
        let shared = Arc::new(Shared {
            fd,
            is_unix,
            nonblocking: AtomicBool::new(false),
        });
        Self {
            reader: SocketReader {
                shared: Arc::clone(&shared),
                fds_max: sys::FDS_MAX,
            },
            writer: SocketWriter {
                shared,
                shutdown_on_drop: false,
            },
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.shared.fd.as_fd()
    }
}

impl From<Socket> for OwnedFd {
    /// Takes the descriptor out, to hand it to a child or to another library.
    fn from(socket: Socket) -> Self {
        let Socket { reader, writer } = socket;
        drop(writer);
        let shared = Arc::into_inner(reader.shared);
        shared.expect("an unsplit socket has no other owners").fd
    }
}

impl Channel for Socket {
    type Reader = SocketReader;
    type Writer = SocketWriter;

    fn split(mut self) -> io::Result<(SocketReader, SocketWriter)> {
        self.writer.shutdown_on_drop = true;
        Ok((self.reader, self.writer))
    }

    fn set_nonblocking(&mut self, nonblocking: bool) -> io::Result<()> {
        self.reader
            .shared
            .nonblocking
            .store(nonblocking, Ordering::Relaxed);
        Ok(())
    }

    fn peer_address(&self) -> Option<Address> {
        sys::peer_address(self.as_fd()).ok().flatten()
    }

    fn peer_credentials(&self) -> io::Result<Option<Credentials>> {
        if self.reader.shared.is_unix {
            sys::peer_credentials(self.as_fd())
        } else {
            Ok(None)
        }
    }
}

impl Shared {
    /// The deadline of a plain `read` or `write`.
    fn blocking(&self) -> Deadline {
        // Relaxed: the flag guards no other memory.
        if self.nonblocking.load(Ordering::Relaxed) {
            Deadline::Now
        } else {
            Deadline::Never
        }
    }

    /// A unix peer that closed without reading everything resets the connection, after all that it
    /// had sent was read: that is the end of file. Over TCP a reset may have cost bytes, and stays
    /// an error.
    fn end_of_file(&self, result: io::Result<usize>) -> io::Result<usize> {
        match result {
            Err(error) if self.is_unix && error.kind() == io::ErrorKind::ConnectionReset => Ok(0),
            result => result,
        }
    }
}

impl SocketReader {
    #[inline]
    fn deadline(&self) -> Deadline {
        self.shared.blocking()
    }
}

impl SocketWriter {
    #[inline]
    fn deadline(&self) -> Deadline {
        self.shared.blocking()
    }
}

impl Inbound for SocketReader {
    fn inbound(&self) -> BorrowedFd<'_> {
        self.shared.fd.as_fd()
    }

    fn read_deadline(&mut self, buf: &mut [u8], deadline: Deadline) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let fd = self.shared.fd.as_fd();
        let result = until(fd, Interest::Read, deadline, |wait| {
            sys::receive(fd, buf, wait)
        });
        self.shared.end_of_file(result)
    }

    fn read_with_fds(
        &mut self,
        buf: &mut [u8],
        fds: &mut Vec<OwnedFd>,
        deadline: Deadline,
    ) -> io::Result<usize> {
        if !self.shared.is_unix || buf.is_empty() {
            return self.read_deadline(buf, deadline);
        }
        let (fd, limit) = (self.shared.fd.as_fd(), self.fds_max);
        let result = until(fd, Interest::Read, deadline, |wait| {
            sys::receive_with_fds(fd, buf, fds, limit, wait)
        });
        self.shared.end_of_file(result)
    }
}

read_by_deadline!(SocketReader);

impl Outbound for SocketWriter {
    fn outbound(&self) -> BorrowedFd<'_> {
        self.shared.fd.as_fd()
    }

    fn write_deadline(&mut self, bufs: &[IoSlice<'_>], deadline: Deadline) -> io::Result<usize> {
        self.write_with_fds(bufs, &[], deadline)
    }

    fn write_with_fds(
        &mut self,
        bufs: &[IoSlice<'_>],
        fds: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> io::Result<usize> {
        let invalid = |kind, text| Err(io::Error::new(kind, text));
        if !fds.is_empty() && !self.shared.is_unix {
            return invalid(io::ErrorKind::Unsupported, "TCP cannot carry descriptors");
        }
        if bufs.iter().all(|buf| buf.is_empty()) {
            if !fds.is_empty() {
                return invalid(
                    io::ErrorKind::InvalidInput,
                    "descriptors need a byte to go with",
                );
            }
            return Ok(0);
        }
        let fd = self.shared.fd.as_fd();
        let result = until(fd, Interest::Write, deadline, |wait| {
            if fds.is_empty() {
                sys::send(fd, bufs, wait)
            } else {
                sys::send_with_fds(fd, bufs, fds, wait)
            }
        });
        match result {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            result => result,
        }
    }

    fn shutdown(&mut self) -> io::Result<()> {
        match socket::shutdown(self.shared.fd.as_raw_fd(), Shutdown::Write) {
            Ok(()) | Err(nix::Error::ENOTCONN) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

write_by_deadline!(SocketWriter);

impl Drop for SocketWriter {
    fn drop(&mut self) {
        if self.shutdown_on_drop {
            // The other half may live on; a failure means that the peer is gone already.
            let _ = self.shutdown();
        }
    }
}

delegate_inbound!(Socket, to_reader, #[inline]);
delegate_outbound!(Socket, to_writer, #[inline]);
