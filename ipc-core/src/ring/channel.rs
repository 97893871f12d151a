//! The whole ring: both directions.

use std::io;
use std::os::fd::OwnedFd;

use super::{RingReader, RingWriter, Wait, handshake};
use crate::delegate::{delegate_inbound, delegate_outbound, to_reader, to_writer};
use crate::sys;
use crate::{Address, Channel, Credentials, Deadline};

/// A channel in shared memory.
///
/// While both sides run, a transfer costs no system call and no allocation: the writer copies bytes in,
/// the reader copies them out. A side that has to wait spins for about the cost of one wake and then
/// sleeps ([`Wait`]); waking it costs the other one system call. Bytes of any number go through, in
/// parts if they are more than the capacity.
///
/// The peer need not be trusted: whatever it does to the shared memory, this side gets wrong bytes or
/// [`InvalidData`](io::ErrorKind::InvalidData). A peer that is killed is noticed at once by a side that
/// sleeps on the descriptor, within 10 ms by one that is blocked in a call, and by a writer with room
/// in the ring when it next has to wait.
///
/// There is no name to leak: memory and sockets are anonymous and end with their last holder. After a
/// plain `fork` only the parent may use a ring; hand a child its own end with [`Ring::offer`].
///
/// Linux only; elsewhere every constructor answers [`Unsupported`](io::ErrorKind::Unsupported).
///
/// # Examples
///
/// ```
/// use ipc_core::Ring;
/// use std::io::{Read, Write};
///
/// let (mut ours, mut theirs) = Ring::pair()?;
/// ours.write_all(b"ping")?;
/// let mut buf = [0; 4];
/// theirs.read_exact(&mut buf)?;
/// assert_eq!(&buf, b"ping");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Ring {
    reader: RingReader,
    writer: RingWriter,
    peer_address: Option<Address>,
    peer_credentials: Option<Credentials>,
}

/// How to make a [`Ring`].
///
/// # Examples
///
/// ```
/// use ipc_core::{RingOptions, Wait};
///
/// let (ours, theirs) = RingOptions::new().capacity(1 << 20).wait(Wait::Park).pair()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct RingOptions {
    capacity: Option<usize>,
    capacity_max: Option<usize>,
    wait: Wait,
}

/// Large enough to hide the sides' jitter, small enough to stay in a processor's own cache.
const CAPACITY_DEFAULT: usize = 512 << 10;
/// What a peer may offer unless told otherwise.
const CAPACITY_MAX_DEFAULT: usize = 64 << 20;

impl RingOptions {
    /// 512 KiB in each direction, and adaptive waiting.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes each direction holds, rounded up to a power of two from 4 KiB to 1 GiB. The
    /// side that offers the ring (the one that connects, the parent) decides; the memory is committed
    /// at once.
    #[must_use]
    pub fn capacity(mut self, bytes: usize) -> Self {
        self.capacity = Some(bytes);
        self
    }

    /// The most bytes in each direction that are accepted of a peer that offers; 64 MiB unless told
    /// otherwise.
    #[must_use]
    pub fn capacity_max(mut self, bytes: usize) -> Self {
        self.capacity_max = Some(bytes);
        self
    }

    /// How this side waits; the other decides for itself.
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Makes a ring and answers both ends.
    ///
    /// # Errors
    ///
    /// What the system says: no memory, too many descriptors.
    pub fn pair(&self) -> io::Result<(Ring, Ring)> {
        let (ours, theirs) = self.offer()?;
        Ok((ours, self.from_fd(theirs)?))
    }

    /// Makes a ring and answers one end, and a descriptor from which the other is made, here or in a
    /// child process that inherits it, with [`Ring::from_fd`].
    ///
    /// # Errors
    ///
    /// As [`pair`](Self::pair).
    pub fn offer(&self) -> io::Result<(Ring, OwnedFd)> {
        let (ours, theirs) = sys::packet_pair()?;
        Ok((handshake::offer_on(ours, self, None)?, theirs))
    }

    /// The other end of [`offer`](Self::offer).
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) when what is offered is not a ring of this version,
    /// or not safe to map; [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) when the other end is gone.
    pub fn from_fd(&self, fd: OwnedFd) -> io::Result<Ring> {
        handshake::join(fd, self, Deadline::Never).map_err(|(_, error)| error)
    }

    /// Makes a ring with whoever has the other of [`Ring::ends`], and answers this end. Does not wait
    /// for them.
    ///
    /// # Errors
    ///
    /// As [`pair`](Self::pair), and what the system says when the other end is gone.
    pub fn make_on(&self, end: OwnedFd) -> io::Result<Ring> {
        handshake::offer_on(end, self, None)
    }

    /// Connects to a port at a `ring:` address until `deadline`. This side chooses the capacity.
    ///
    /// # Errors
    ///
    /// As [`Ring::connect_deadline`].
    pub fn connect(&self, address: &Address, deadline: Deadline) -> io::Result<Ring> {
        let Address::Ring(name) = address else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{address} is not the address of a ring"),
            ));
        };
        handshake::connect(name, self, deadline)
    }

    pub(super) fn capacity_rounded(&self) -> usize {
        let wanted = self.capacity.unwrap_or(CAPACITY_DEFAULT);
        wanted
            .clamp(sys::CAPACITY_MIN, sys::CAPACITY_MAX)
            .next_power_of_two()
    }

    pub(super) fn capacity_max_or_default(&self) -> usize {
        self.capacity_max.unwrap_or(CAPACITY_MAX_DEFAULT)
    }

    pub(super) fn waiting(&self) -> Wait {
        self.wait
    }
}

impl Ring {
    pub(super) fn new(
        reader: RingReader,
        writer: RingWriter,
        peer_address: Option<Address>,
        peer_credentials: Option<Credentials>,
    ) -> Self {
        Self {
            reader,
            writer,
            peer_address,
            peer_credentials,
        }
    }

    /// Makes a ring with the default [`RingOptions`] and answers both ends.
    ///
    /// # Errors
    ///
    /// As [`RingOptions::pair`].
    pub fn pair() -> io::Result<(Self, Self)> {
        RingOptions::new().pair()
    }

    /// Makes a ring with the default [`RingOptions`] for a child: one end, and a descriptor to give
    /// with [`Inherit`](crate::Inherit), from which the child makes the other.
    ///
    /// # Errors
    ///
    /// As [`RingOptions::offer`].
    pub fn offer() -> io::Result<(Self, OwnedFd)> {
        RingOptions::new().offer()
    }

    /// Two descriptors to be handed to two other processes, by which these make a ring between them:
    /// one by [`RingOptions::make_on`], the other by [`Ring::from_fd`]. Whoever handed them over has no
    /// part in it.
    ///
    /// # Errors
    ///
    /// When no more descriptors can be had.
    ///
    /// # Examples
    ///
    /// ```
    /// use ipc_core::{Ring, RingOptions};
    /// use std::io::{Read, Write};
    ///
    /// let (one, other) = Ring::ends()?;
    /// let mut made = RingOptions::new().make_on(one)?;
    /// let mut joined = Ring::from_fd(other)?;
    /// made.write_all(b"ping")?;
    /// let mut buf = [0; 4];
    /// joined.read_exact(&mut buf)?;
    /// assert_eq!(&buf, b"ping");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn ends() -> io::Result<(OwnedFd, OwnedFd)> {
        sys::packet_pair()
    }

    /// Makes this end of a ring that was offered on an inherited or received descriptor.
    ///
    /// # Errors
    ///
    /// As [`RingOptions::from_fd`].
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        RingOptions::new().from_fd(fd)
    }

    /// Connects to a port at a `ring:` address, waiting as long as the system does. As with sockets,
    /// it does not wait for the port to accept.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for another kind of address, what the system says
    /// (notably `NotFound` and `ConnectionRefused` while there is no port), and as
    /// [`RingOptions::pair`].
    pub fn connect(address: &Address) -> io::Result<Self> {
        RingOptions::new().connect(address, Deadline::Never)
    }

    /// Like [`connect`](Self::connect), giving up at `deadline`.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut), and as `connect`.
    pub fn connect_deadline(address: &Address, deadline: Deadline) -> io::Result<Self> {
        RingOptions::new().connect(address, deadline)
    }

    /// Changes how both halves of this end wait.
    pub fn set_wait(&mut self, wait: Wait) {
        self.reader.set_wait(wait);
        self.writer.set_wait(wait);
    }

    /// The reading half.
    #[inline]
    pub fn reader(&mut self) -> &mut RingReader {
        &mut self.reader
    }

    /// Both halves at once, to pass on in place what comes in.
    #[inline]
    pub fn halves(&mut self) -> (&mut RingReader, &mut RingWriter) {
        (&mut self.reader, &mut self.writer)
    }

    /// The writing half.
    #[inline]
    pub fn writer(&mut self) -> &mut RingWriter {
        &mut self.writer
    }
}

impl Channel for Ring {
    type Reader = RingReader;
    type Writer = RingWriter;

    fn split(self) -> io::Result<(RingReader, RingWriter)> {
        Ok((self.reader, self.writer))
    }

    fn set_nonblocking(&mut self, nonblocking: bool) -> io::Result<()> {
        self.reader.set_nonblocking(nonblocking);
        self.writer.set_nonblocking(nonblocking);
        Ok(())
    }

    fn peer_address(&self) -> Option<Address> {
        self.peer_address.clone()
    }

    fn peer_credentials(&self) -> io::Result<Option<Credentials>> {
        Ok(self.peer_credentials)
    }
}

delegate_inbound!(Ring, to_reader, #[inline]);
delegate_outbound!(Ring, to_writer, #[inline]);
