//! How two processes come to share a ring.
//!
//! The side that offers (the one that connects, or the parent of a child) makes both lanes and sends
//! one packet: a greeting, with the two memfds and the socket of the second lane. It does not wait for
//! the other, as connecting a socket does not wait for `accept`. The side that joins checks everything
//! it got and sends nothing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::lane::{Lane, Side};
use super::{Ring, RingOptions, RingReader, RingWriter};
use crate::sys::{self, Interest, SharedMemory, SocketName};
use crate::{Address, Credentials, Deadline, UnixName, connect, wait};

/// `ipcring` and the version of the handshake.
const GREETING: &[u8; 8] = b"ipcring\x01";

/// The most that a parent may take for its offer, however patient the caller: it is made beforehand.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Makes both lanes and offers them to whoever is at the other end of `socket`.
pub(super) fn offer_on(
    socket: OwnedFd,
    options: &RingOptions,
    peer: Option<Address>,
) -> io::Result<Ring> {
    let (outbound, outbound_fd) = SharedMemory::create(options.capacity_rounded())?;
    let (inbound, inbound_fd) = SharedMemory::create(options.capacity_rounded())?;
    let (ours, theirs) = sys::packet_pair()?;
    let credentials = sys::peer_credentials(socket.as_fd())?;
    let fds = [outbound_fd.as_fd(), inbound_fd.as_fd(), theirs.as_fd()];
    // The queue of a new socket has room for one packet.
    sys::send_packet(socket.as_fd(), GREETING, &fds)?;
    let writer = RingWriter::new(Lane::new(
        outbound,
        socket,
        Side::Producer,
        options.waiting(),
    ));
    let reader = RingReader::new(Lane::new(inbound, ours, Side::Consumer, options.waiting()));
    Ok(Ring::new(reader, writer, peer, credentials))
}

/// Joins the ring that is offered at the other end of `socket`. With a deadline of now, the socket
/// comes back with the error, for another try.
pub(crate) fn join(
    socket: OwnedFd,
    options: &RingOptions,
    deadline: Deadline,
) -> Result<Ring, (OwnedFd, io::Error)> {
    match receive_offer(socket.as_fd(), options, deadline) {
        Ok(offer) => Ok(offer.accept(socket, options)),
        Err(error) => Err((socket, error)),
    }
}

/// What was offered, checked.
struct Offer {
    inbound: SharedMemory,
    outbound: SharedMemory,
    second: OwnedFd,
    credentials: Option<Credentials>,
}

impl Offer {
    fn accept(self, socket: OwnedFd, options: &RingOptions) -> Ring {
        let inbound = Lane::new(self.inbound, socket, Side::Consumer, options.waiting());
        let outbound = Lane::new(
            self.outbound,
            self.second,
            Side::Producer,
            options.waiting(),
        );
        Ring::new(
            RingReader::new(inbound),
            RingWriter::new(outbound),
            None,
            self.credentials,
        )
    }
}

fn receive_offer(
    socket: BorrowedFd<'_>,
    options: &RingOptions,
    deadline: Deadline,
) -> io::Result<Offer> {
    let bound = Deadline::after(HANDSHAKE_MAX);
    let deadline = match (deadline, bound) {
        (Deadline::At(at), Deadline::At(bound)) => Deadline::At(at.min(bound)),
        (Deadline::Never, bound) => bound,
        (deadline, _) => deadline,
    };
    let invalid = |text| Err(io::Error::new(io::ErrorKind::InvalidData, text));
    let mut fds = Vec::new();
    let mut greeting = [0; 16];
    let len = wait::until(socket, Interest::Read, deadline, |_| {
        sys::receive_packet(socket, &mut greeting, &mut fds)
    })?;
    if len == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the peer offered no ring",
        ));
    }
    if &greeting[..len.min(greeting.len())] != GREETING {
        return invalid("the peer's greeting is not that of a ring of this version");
    }
    let Ok([inbound, outbound, second]) = <[OwnedFd; 3]>::try_from(fds) else {
        return invalid("the peer's greeting has not the three descriptors of a ring");
    };
    if !sys::is_packet_socket(second.as_fd())? {
        return invalid("the second lane's lifeline is not a packet socket");
    }
    Ok(Offer {
        inbound: SharedMemory::map(inbound.as_fd(), options.capacity_max_or_default())?,
        outbound: SharedMemory::map(outbound.as_fd(), options.capacity_max_or_default())?,
        second,
        credentials: sys::peer_credentials(socket)?,
    })
}

/// Connects to the port of a ring.
pub(super) fn connect(
    name: &UnixName,
    options: &RingOptions,
    deadline: Deadline,
) -> io::Result<Ring> {
    let socket = connect::unix(&SocketName::unix(name)?, sys::packet_socket, deadline)?;
    offer_on(socket, options, Some(Address::Ring(name.clone())))
}
