//! Socket names as the system writes them.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{
    SockaddrIn, SockaddrIn6, SockaddrLike, SockaddrStorage, UnixAddr, getpeername, getsockname,
};

use crate::{Address, UnixName};

/// The name of a socket, ready for `bind` and `connect`.
#[derive(Clone, Debug)]
pub(crate) enum SocketName {
    Unix(UnixAddr),
    V4(SockaddrIn),
    V6(SockaddrIn6),
}

impl SocketName {
    pub(crate) fn unix(name: &UnixName) -> io::Result<Self> {
        if let Some(path) = name.as_path() {
            return Ok(Self::Unix(UnixAddr::new(path)?));
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(name) = name.as_abstract() {
            return Ok(Self::Unix(UnixAddr::new_abstract(name)?));
        }
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this system has no abstract socket names",
        ))
    }

    pub(crate) fn as_dyn(&self) -> &dyn SockaddrLike {
        match self {
            Self::Unix(name) => name,
            Self::V4(name) => name,
            Self::V6(name) => name,
        }
    }
}

impl From<SocketAddr> for SocketName {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => Self::V4(v4.into()),
            SocketAddr::V6(v6) => Self::V6(v6.into()),
        }
    }
}

/// The address that this socket is bound to.
pub(crate) fn local_address(fd: BorrowedFd<'_>) -> io::Result<Option<Address>> {
    Ok(address(&getsockname::<SockaddrStorage>(fd.as_raw_fd())?))
}

/// The address of the other end.
pub(crate) fn peer_address(fd: BorrowedFd<'_>) -> io::Result<Option<Address>> {
    Ok(address(&getpeername::<SockaddrStorage>(fd.as_raw_fd())?))
}

fn address(name: &SockaddrStorage) -> Option<Address> {
    if let Some(v4) = name.as_sockaddr_in() {
        return Some(SocketAddr::V4(SocketAddrV4::from(*v4)).into());
    }
    if let Some(v6) = name.as_sockaddr_in6() {
        return Some(SocketAddr::V6(SocketAddrV6::from(*v6)).into());
    }
    let unix = name.as_unix_addr()?;
    if let Some(path) = unix.path() {
        return Address::unix(path).ok();
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(name) = unix.as_abstract() {
        return UnixName::abstract_name(name).ok().map(Address::Unix);
    }
    None
}
