//! Reaching a port: connections with a deadline.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, sockopt};

use crate::sys::{self, Interest, SocketName};
use crate::{Deadline, Family, TcpName, wait};

/// Connects a unix socket that `open` makes.
pub(crate) fn unix(
    name: &SocketName,
    open: impl Fn(AddressFamily) -> io::Result<OwnedFd>,
    deadline: Deadline,
) -> io::Result<OwnedFd> {
    loop {
        let fd = open(AddressFamily::Unix)?;
        // A local connection waits only for room in the listener's queue, and only `SO_SNDTIMEO`
        // bounds that: such a socket cannot be polled.
        let bounded = deadline != Deadline::Never;
        if bounded {
            sys::set_connect_timeout(fd.as_fd(), deadline.remaining())?;
        }
        match socket::connect(fd.as_raw_fd(), name.as_dyn()) {
            Ok(()) => {
                if bounded {
                    sys::set_connect_timeout(fd.as_fd(), None)?;
                }
                return Ok(fd);
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if deadline.is_expired() => return Err(deadline.expired()),
            Err(Errno::EAGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Connects to the first address of `name` that answers.
pub(crate) fn tcp(name: &TcpName, deadline: Deadline) -> io::Result<OwnedFd> {
    let mut last = None;
    for address in resolve(name)? {
        match tcp_one(address, deadline) {
            Ok(fd) => return Ok(fd),
            Err(error) => last = Some(error),
        }
    }
    Err(last.expect("`resolve` answers at least one address"))
}

/// The addresses that `name` stands for, at least one.
pub(crate) fn resolve(name: &TcpName) -> io::Result<Vec<SocketAddr>> {
    let wanted = |address: &SocketAddr| match name.family() {
        Family::Any => true,
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    };
    let found: Vec<_> = (name.host(), name.port())
        .to_socket_addrs()?
        .filter(wanted)
        .collect();
    if found.is_empty() {
        let text = format!("the host {:?} has no address of that family", name.host());
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    Ok(found)
}

fn tcp_one(address: SocketAddr, deadline: Deadline) -> io::Result<OwnedFd> {
    let fd = sys::stream_socket(family(address))?;
    if deadline == Deadline::Never {
        match socket::connect(fd.as_raw_fd(), SocketName::from(address).as_dyn()) {
            Ok(()) => return Ok(fd),
            // The connection goes on in the background.
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    } else {
        sys::set_nonblocking(fd.as_fd(), true)?;
        match socket::connect(fd.as_raw_fd(), SocketName::from(address).as_dyn()) {
            Ok(()) => {}
            Err(Errno::EINPROGRESS | Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    wait::ready(fd.as_fd(), Interest::Write, deadline)?;
    match socket::getsockopt(&fd, sockopt::SocketError)? {
        0 => {}
        number => return Err(io::Error::from_raw_os_error(number)),
    }
    if deadline != Deadline::Never {
        sys::set_nonblocking(fd.as_fd(), false)?;
    }
    Ok(fd)
}

pub(crate) fn family(address: SocketAddr) -> AddressFamily {
    match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    }
}
