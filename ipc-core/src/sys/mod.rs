//! Where this crate meets the operating system; no other file has `unsafe` code or makes a system
//! call by number.
//!
//! A platform provides, in `linux.rs` or `portable.rs`, chosen here and nowhere else:
//!
//! - `read_now`, `read_waiting`, `write_now`, `write_waiting`: one transfer on a pipe or another
//!   descriptor that is not a socket. The `now` forms never wait and answer `WouldBlock`; the
//!   `waiting` forms may wait in the kernel and may also answer `WouldBlock`, when the descriptor
//!   happens to be non-blocking. A dead reader is `BrokenPipe`.
//! - `receive`, `send`: the same for stream sockets, with a flag for not waiting. Never a signal.
//! - `poll`: waits until a descriptor is ready or a time has passed.
//! - `stream_socket`, `socket_pair`, `accept`: new sockets, close-on-exec from the start.
//! - `peer_credentials`.
//! - For rings, or `Unsupported` from the constructors: `SharedMemory`, the packet sockets, the
//!   futex, the barrier, the number of processors and the clock.
//! - `FrozenPages`: read-only memory to share, or `Unsupported` from its constructors.
//!
//! What is the same everywhere is in the other files of this folder.

#![expect(
    unsafe_code,
    reason = "the one folder of this crate that meets the operating system"
)]

use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

mod adopt;
#[cfg(test)]
mod interrupted;
mod message;
mod name;
#[cfg(all(target_os = "linux", not(ipc_portable)))]
#[path = "linux.rs"]
mod platform;
#[cfg(not(all(target_os = "linux", not(ipc_portable))))]
#[path = "portable.rs"]
mod platform;

use adopt::adopt;
pub(crate) use adopt::{duplicate_above, take_inherited};
pub(crate) use message::FDS_MAX;
pub(crate) use name::{SocketName, local_address, peer_address};
pub(crate) use platform::{
    CAPACITY_MAX, CAPACITY_MIN, FrozenPages, ReadySet, SharedMemory, accept, barrier, futex_wait,
    futex_wake, is_packet_socket, joins_barriers, monotonic_ns, packet_pair, packet_socket,
    peer_credentials, pipe, poll, processors, read_now, read_waiting, receive, receive_packet,
    receive_with_fds, send, send_packet, send_with_fds, set_connect_timeout, socket_pair,
    stream_socket, write_now, write_waiting,
};

/// Whether an error means that this process or the system has run out of descriptors or memory, which
/// no peer is to blame for.
pub(crate) fn is_want(error: &io::Error) -> bool {
    let wants = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS];
    let code = error.raw_os_error();
    wants.iter().any(|want| code == Some(*want as i32))
}

/// What [`poll`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Read,
    Write,
}

/// Sets or clears `O_NONBLOCK`, which every duplicate of the descriptor shares.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, nonblocking: bool) -> io::Result<()> {
    let before = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    let mut after = before;
    after.set(OFlag::O_NONBLOCK, nonblocking);
    if after != before {
        fcntl(fd, FcntlArg::F_SETFL(after))?;
    }
    Ok(())
}
