//! Linux: every call says for itself whether it may wait, so that no descriptor's shared flags are
//! ever changed, and a dead reader of a pipe never raises a signal.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, accept4, getsockopt, setsockopt, socket,
    socketpair, sockopt,
};
use nix::sys::time::{TimeSpec, TimeVal, TimeValLike};

use super::{Interest, adopt, message, set_nonblocking};

#[path = "copy.rs"]
mod copy;
#[path = "frozen.rs"]
mod frozen;
#[path = "memory.rs"]
mod memory;
#[path = "parking.rs"]
mod parking;
#[path = "ready_set.rs"]
mod ready_set;

use crate::Credentials;
pub(crate) use frozen::FrozenPages;
pub(crate) use memory::{CAPACITY_MAX, CAPACITY_MIN, SharedMemory};
pub(crate) use parking::{
    barrier, futex_wait, futex_wake, joins_barriers, monotonic_ns, processors,
};
pub(crate) use ready_set::ReadySet;

/// `RWF_NOSIGNAL` of Linux 6.18: a dead reader is `EPIPE` and no `SIGPIPE`.
const RWF_NOSIGNAL: libc::c_int = 0x100;

/// Cleared when the kernel turns out not to know `RWF_NOSIGNAL`; then the host must ignore `SIGPIPE`,
/// as Rust programs do from the start. Relaxed suffices: it guards no other memory, and a thread that
/// reads a stale value only asks the kernel once more.
static NOSIGNAL_IS_KNOWN: AtomicBool = AtomicBool::new(true);

pub(crate) fn read_waiting(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    Ok(nix::unistd::read(fd, buf)?)
}

pub(crate) fn read_now(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    let part = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    // SAFETY: `part` names the `buf.len()` writable bytes of `buf`, which the borrow keeps alive and
    // unshared for the call; offset -1 means the current position, as `read` does.
    let n = unsafe { libc::preadv2(fd.as_raw_fd(), &raw const part, 1, -1, libc::RWF_NOWAIT) };
    match Errno::result(n) {
        Ok(n) => Ok(n.cast_unsigned()),
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {
            // The last resort for descriptors that do not know the flag, such as terminals.
            set_nonblocking(fd, true)?;
            read_waiting(fd, buf)
        }
        Err(errno) => Err(errno.into()),
    }
}

pub(crate) fn write_waiting(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    write_flagged(fd, bufs, 0)
}

pub(crate) fn write_now(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    match write_flagged(fd, bufs, libc::RWF_NOWAIT) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            // The last resort for descriptors that do not know the flag, such as terminals.
            set_nonblocking(fd, true)?;
            write_flagged(fd, bufs, 0)
        }
        result => result,
    }
}

fn write_flagged(
    fd: BorrowedFd<'_>,
    bufs: &[IoSlice<'_>],
    flags: libc::c_int,
) -> io::Result<usize> {
    if NOSIGNAL_IS_KNOWN.load(Ordering::Relaxed) {
        match pwritev2(fd, bufs, flags | RWF_NOSIGNAL) {
            Err(Errno::EOPNOTSUPP | Errno::EINVAL) => {}
            result => return Ok(result?),
        }
        // Either flag may be the unknown one: see which.
        let result = pwritev2(fd, bufs, flags);
        if result != Err(Errno::EOPNOTSUPP) {
            NOSIGNAL_IS_KNOWN.store(false, Ordering::Relaxed);
        }
        return Ok(result?);
    }
    Ok(pwritev2(fd, bufs, flags)?)
}

fn pwritev2(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>], flags: libc::c_int) -> nix::Result<usize> {
    let count = parts(bufs);
    // SAFETY: `IoSlice` is guaranteed to have the layout of `iovec`, `count` is at most the number of
    // them, and each names bytes that its borrow keeps alive; the kernel only reads them.
    let n = unsafe { libc::pwritev2(fd.as_raw_fd(), bufs.as_ptr().cast(), count, -1, flags) };
    Errno::result(n).map(isize::cast_unsigned)
}

/// How many of `bufs` go into one call: the system takes at most `IOV_MAX` (1024).
fn parts(bufs: &[IoSlice<'_>]) -> libc::c_int {
    bufs.len().min(1024).try_into().expect("1024 fits")
}

pub(crate) fn receive(fd: BorrowedFd<'_>, buf: &mut [u8], wait: bool) -> io::Result<usize> {
    let flags = if wait {
        MsgFlags::empty()
    } else {
        MsgFlags::MSG_DONTWAIT
    };
    Ok(nix::sys::socket::recv(fd.as_raw_fd(), buf, flags)?)
}

pub(crate) fn send(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>], wait: bool) -> io::Result<usize> {
    let mut flags = MsgFlags::MSG_NOSIGNAL;
    flags.set(MsgFlags::MSG_DONTWAIT, !wait);
    if let [buf] = bufs {
        return Ok(nix::sys::socket::send(fd.as_raw_fd(), buf, flags)?);
    }
    message::send(fd, bufs, flags)
}

pub(crate) fn send_with_fds(
    fd: BorrowedFd<'_>,
    bufs: &[IoSlice<'_>],
    fds: &[BorrowedFd<'_>],
    wait: bool,
) -> io::Result<usize> {
    let mut flags = MsgFlags::MSG_NOSIGNAL;
    flags.set(MsgFlags::MSG_DONTWAIT, !wait);
    message::send_with_fds(fd, bufs, fds, flags)
}

pub(crate) fn receive_with_fds(
    fd: BorrowedFd<'_>,
    buf: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    limit: usize,
    wait: bool,
) -> io::Result<usize> {
    let mut flags = MsgFlags::MSG_CMSG_CLOEXEC;
    flags.set(MsgFlags::MSG_DONTWAIT, !wait);
    message::receive_with_fds(fd, buf, fds, limit, flags)
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
    Ok(ppoll(&mut fds, limit.map(TimeSpec::from_duration), None)? > 0)
}

pub(crate) fn stream_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    Ok(socket(
        family,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?)
}

pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?)
}

pub(crate) fn packet_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    Ok(socket(
        family,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?)
}

pub(crate) fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?)
}

pub(crate) fn is_packet_socket(fd: BorrowedFd<'_>) -> io::Result<bool> {
    match getsockopt(&fd, sockopt::SockType) {
        Ok(kind) => Ok(kind == SockType::SeqPacket),
        Err(Errno::ENOTSOCK | Errno::EINVAL) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Sends one packet whole, without waiting.
pub(crate) fn send_packet(
    fd: BorrowedFd<'_>,
    packet: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    send_with_fds(fd, &[IoSlice::new(packet)], fds, false)?;
    Ok(())
}

/// Receives one packet, without waiting; 0 at the end.
pub(crate) fn receive_packet(
    fd: BorrowedFd<'_>,
    packet: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    receive_with_fds(fd, packet, fds, super::FDS_MAX, false)
}

pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC)?)
}

pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let fd = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: `accept4` has just made this descriptor for us alone.
    Ok(unsafe { adopt(fd) })
}

/// Bounds how long `connect` on this socket may wait; `None` lifts the bound.
pub(crate) fn set_connect_timeout(fd: BorrowedFd<'_>, limit: Option<Duration>) -> io::Result<()> {
    let micros = match limit {
        // Zero would mean no limit.
        Some(limit) => i64::try_from(limit.as_micros()).unwrap_or(i64::MAX).max(1),
        None => 0,
    };
    Ok(setsockopt(
        &fd,
        sockopt::SendTimeout,
        &TimeVal::microseconds(micros.min(1 << 50)),
    )?)
}

pub(crate) fn peer_credentials(fd: BorrowedFd<'_>) -> io::Result<Option<Credentials>> {
    let peer = getsockopt(&fd, sockopt::PeerCredentials)?;
    Ok(Some(Credentials {
        pid: u32::try_from(peer.pid()).ok().filter(|&pid| pid != 0),
        uid: peer.uid(),
        gid: peer.gid(),
    }))
}
