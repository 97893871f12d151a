//! Other Unix systems: a descriptor is made non-blocking by its first call that may not wait, and
//! from then on waiting calls poll. Sockets never raise `SIGPIPE`; for pipes the host must ignore it,
//! as Rust programs do from the start.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, socket, socketpair};

use super::{Interest, adopt, message, set_nonblocking};
use crate::Credentials;

/// Where `send` takes a flag for it; elsewhere the socket itself is told, in [`prepared`].
#[cfg(any(
    target_os = "linux",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd"
))]
const NO_SIGNAL: MsgFlags = MsgFlags::MSG_NOSIGNAL;
#[cfg(not(any(
    target_os = "linux",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd"
)))]
const NO_SIGNAL: MsgFlags = MsgFlags::empty();

pub(crate) fn read_waiting(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    Ok(nix::unistd::read(fd, buf)?)
}

pub(crate) fn read_now(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    set_nonblocking(fd, true)?;
    read_waiting(fd, buf)
}

pub(crate) fn write_waiting(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    Ok(nix::sys::uio::writev(fd, &bufs[..bufs.len().min(1024)])?)
}

pub(crate) fn write_now(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    set_nonblocking(fd, true)?;
    write_waiting(fd, bufs)
}

pub(crate) fn receive(fd: BorrowedFd<'_>, buf: &mut [u8], wait: bool) -> io::Result<usize> {
    if !wait {
        set_nonblocking(fd, true)?;
    }
    Ok(nix::sys::socket::recv(
        fd.as_raw_fd(),
        buf,
        MsgFlags::empty(),
    )?)
}

pub(crate) fn send(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>], wait: bool) -> io::Result<usize> {
    if !wait {
        set_nonblocking(fd, true)?;
    }
    message::send(fd, bufs, NO_SIGNAL)
}

pub(crate) fn send_with_fds(
    fd: BorrowedFd<'_>,
    bufs: &[IoSlice<'_>],
    fds: &[BorrowedFd<'_>],
    wait: bool,
) -> io::Result<usize> {
    if !wait {
        set_nonblocking(fd, true)?;
    }
    message::send_with_fds(fd, bufs, fds, NO_SIGNAL)
}

pub(crate) fn receive_with_fds(
    fd: BorrowedFd<'_>,
    buf: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    limit: usize,
    wait: bool,
) -> io::Result<usize> {
    if !wait {
        set_nonblocking(fd, true)?;
    }
    let before = fds.len();
    let n = message::receive_with_fds(fd, buf, fds, limit, MsgFlags::empty())?;
    for fd in &fds[before..] {
        set_cloexec(fd.as_fd())?;
    }
    Ok(n)
}

pub(crate) fn poll(
    fd: BorrowedFd<'_>,
    interest: Interest,
    limit: Option<Duration>,
) -> io::Result<bool> {
    let flags = match interest {
        Interest::Read => PollFlags::POLLIN,
        Interest::Write => PollFlags::POLLOUT,
    };
    let mut fds = [PollFd::new(fd, flags)];
    let limit = match limit {
        // Rounded up, so that a wait never ends early.
        Some(limit) => {
            let ms = limit.as_nanos().div_ceil(1_000_000);
            PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)
        }
        None => PollTimeout::NONE,
    };
    Ok(nix::poll::poll(&mut fds, limit)? > 0)
}

pub(crate) fn stream_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    prepared(socket(family, SockType::Stream, SockFlag::empty(), None)?)
}

pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (a, b) = socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::empty(),
    )?;
    Ok((prepared(a)?, prepared(b)?))
}

pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = nix::unistd::pipe()?;
    set_cloexec(reader.as_fd())?;
    set_cloexec(writer.as_fd())?;
    Ok((reader, writer))
}

pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let fd = nix::sys::socket::accept(listener.as_raw_fd())?;
    // SAFETY: `accept` has just made this descriptor for us alone.
    prepared(unsafe { adopt(fd) })
}

/// These systems have no such bound: a connection to a local socket with a full queue is refused.
pub(crate) fn set_connect_timeout(_fd: BorrowedFd<'_>, _limit: Option<Duration>) -> io::Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
pub(crate) fn peer_credentials(fd: BorrowedFd<'_>) -> io::Result<Option<Credentials>> {
    let peer = nix::sys::socket::getsockopt(&fd, nix::sys::socket::sockopt::PeerCredentials)?;
    Ok(Some(Credentials {
        pid: None,
        uid: peer.uid(),
        gid: peer.gid(),
    }))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn peer_credentials(fd: BorrowedFd<'_>) -> io::Result<Option<Credentials>> {
    let (uid, gid) = nix::unistd::getpeereid(fd)?;
    Ok(Some(Credentials {
        pid: None,
        uid: uid.as_raw(),
        gid: gid.as_raw(),
    }))
}

pub(crate) fn set_cloexec(fd: BorrowedFd<'_>) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(())
}

/// Makes a new socket close-on-exec and silent about a dead peer.
fn prepared(fd: OwnedFd) -> io::Result<OwnedFd> {
    set_cloexec(fd.as_fd())?;
    #[cfg(target_vendor = "apple")]
    {
        let on: libc::c_int = 1;
        // SAFETY: the option takes one `int`, whose address and size are given.
        let result = unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_NOSIGPIPE,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        nix::errno::Errno::result(result)?;
    }
    Ok(fd)
}

pub(crate) fn packet_socket(_family: AddressFamily) -> io::Result<OwnedFd> {
    Err(no_rings())
}

pub(crate) fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Err(no_rings())
}

pub(crate) fn is_packet_socket(_fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(false)
}

pub(crate) fn send_packet(
    _fd: BorrowedFd<'_>,
    _packet: &[u8],
    _fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    Err(no_rings())
}

pub(crate) fn receive_packet(
    _fd: BorrowedFd<'_>,
    _packet: &mut [u8],
    _fds: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    Err(no_rings())
}

fn no_rings() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "rings are not supported on this system",
    )
}

/// There is none here: no value of this type is ever made, so that its methods are never called.
#[derive(Debug)]
pub(crate) enum SharedMemory {
    #[expect(
        dead_code,
        reason = "never made; an empty enum makes the code that uses it unreachable"
    )]
    Never,
}

const NEVER: &str = "no shared memory is made on this system";

impl SharedMemory {
    pub(crate) fn create(_capacity: usize) -> io::Result<(Self, OwnedFd)> {
        Err(no_rings())
    }

    pub(crate) fn map(_fd: BorrowedFd<'_>, _capacity_max: usize) -> io::Result<Self> {
        Err(no_rings())
    }

    pub(crate) fn capacity(&self) -> usize {
        unreachable!("{NEVER}")
    }

    pub(crate) fn write(&self, _position: u64, _bytes: &[u8]) {
        unreachable!("{NEVER}")
    }

    pub(crate) fn read(&self, _position: u64, _buf: &mut [u8]) {
        unreachable!("{NEVER}")
    }

    pub(crate) fn write_from(&self, _position: u64, _source: &Self, _from: u64, _len: usize) {
        unreachable!("{NEVER}")
    }

    pub(crate) fn tail(&self) -> &AtomicU64 {
        unreachable!("{NEVER}")
    }

    pub(crate) fn head(&self) -> &AtomicU64 {
        unreachable!("{NEVER}")
    }

    pub(crate) fn attachments(&self) -> &AtomicU32 {
        unreachable!("{NEVER}")
    }

    pub(crate) fn consumer_state(&self) -> &AtomicU32 {
        unreachable!("{NEVER}")
    }

    pub(crate) fn producer_state(&self) -> &AtomicU32 {
        unreachable!("{NEVER}")
    }

    pub(crate) fn wake_stamp(&self) -> &AtomicU64 {
        unreachable!("{NEVER}")
    }
}

pub(crate) const CAPACITY_MIN: usize = 4096;
pub(crate) const CAPACITY_MAX: usize = 1 << 30;

pub(crate) fn futex_wait(_word: &AtomicU32, _expected: u32, _limit: Duration) -> io::Result<bool> {
    Err(no_rings())
}

pub(crate) fn futex_wake(_word: &AtomicU32) {}

pub(crate) fn joins_barriers() -> bool {
    false
}

pub(crate) fn barrier() -> bool {
    false
}

pub(crate) fn processors() -> usize {
    1
}

pub(crate) fn monotonic_ns() -> u64 {
    0
}

/// There is none here, as there are no ports of rings.
#[derive(Debug)]
pub(crate) enum ReadySet {}

impl ReadySet {
    pub(crate) fn new() -> io::Result<Self> {
        Err(no_rings())
    }

    pub(crate) fn add(&self, _fd: BorrowedFd<'_>) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn remove(&self, _fd: BorrowedFd<'_>) {
        match *self {}
    }
}

impl AsFd for ReadySet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match *self {}
    }
}

/// There is none here: no value of this type is ever made.
#[derive(Debug)]
pub(crate) enum FrozenPages {}

impl FrozenPages {
    pub(crate) fn build(_len: usize, _fill: impl FnOnce(&mut [u8])) -> io::Result<(OwnedFd, Self)> {
        Err(no_frozen_memory())
    }

    pub(crate) fn map(_fd: BorrowedFd<'_>, _len_max: usize) -> io::Result<Self> {
        Err(no_frozen_memory())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match *self {}
    }
}

fn no_frozen_memory() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "frozen memory is not supported on this system",
    )
}
