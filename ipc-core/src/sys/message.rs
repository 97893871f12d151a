//! Bytes with descriptors: `sendmsg` and `recvmsg` with a control message on the stack.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;
use nix::sys::socket::MsgFlags;

use super::adopt;

/// The most descriptors that go with one message: the kernel's own limit (`SCM_MAX_FD`).
pub(crate) const FDS_MAX: usize = 253;

/// Room for one control message with [`FDS_MAX`] descriptors, its header and padding.
const CONTROL_LEN: usize = 1088;

/// Aligned for `cmsghdr`, whose strictest field is a `usize`.
#[repr(C, align(8))]
struct Control(MaybeUninit<[u8; CONTROL_LEN]>);

impl Control {
    const fn new() -> Self {
        Self(MaybeUninit::uninit())
    }
}

fn header(parts: *const libc::iovec, count: usize) -> libc::msghdr {
    // SAFETY: `msghdr` is a plain C structure of integers and pointers; all zero is its empty value.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = parts.cast_mut();
    message.msg_iovlen = count.min(1024) as _;
    message
}

/// Sends `bufs` in one message, without descriptors.
pub(crate) fn send(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>], flags: MsgFlags) -> io::Result<usize> {
    let message = header(bufs.as_ptr().cast(), bufs.len());
    // SAFETY: `IoSlice` has the layout of `iovec`; the header names at most `bufs.len()` of them and
    // nothing else, and the kernel only reads what they name.
    let n = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, flags.bits()) };
    Ok(Errno::result(n)?.cast_unsigned())
}

/// Sends `bufs` with duplicates of `fds`.
pub(crate) fn send_with_fds(
    fd: BorrowedFd<'_>,
    bufs: &[IoSlice<'_>],
    fds: &[BorrowedFd<'_>],
    flags: MsgFlags,
) -> io::Result<usize> {
    if fds.is_empty() {
        return send(fd, bufs, flags);
    }
    if fds.len() > FDS_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "{} descriptors are more than the {FDS_MAX} that fit a message",
                fds.len()
            ),
        ));
    }
    let data_len = u32::try_from(size_of_val(fds)).expect("at most 253 descriptors");
    let mut control = Control::new();
    let mut message = header(bufs.as_ptr().cast(), bufs.len());
    message.msg_control = (&raw mut control).cast();
    // SAFETY: `CMSG_SPACE` only computes with its argument.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(data_len) } as _;
    // SAFETY: `msg_control` and `msg_controllen` describe the first bytes of `control`, which is
    // large enough for one header (`CONTROL_LEN` > `CMSG_SPACE(4 * FDS_MAX)`).
    let first = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    // SAFETY: `CMSG_LEN` only computes with its argument.
    let len = unsafe { libc::CMSG_LEN(data_len) };
    // SAFETY: `first` points into `control`, aligned for a header, and there is room for one.
    unsafe {
        first.write(libc::cmsghdr {
            cmsg_len: len as _,
            cmsg_level: libc::SOL_SOCKET,
            cmsg_type: libc::SCM_RIGHTS,
        });
    }
    // SAFETY: `first` is the header written above.
    let data = unsafe { libc::CMSG_DATA(first) };
    // SAFETY: `BorrowedFd` has the layout of a descriptor's number, so `fds` is that many of them;
    // `data` has room for `data_len` bytes and does not overlap `fds`.
    unsafe { ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), data, data_len as usize) };
    // SAFETY: all that `message` names is alive: `bufs`, and `control` up to `msg_controllen`.
    let n = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, flags.bits()) };
    Ok(Errno::result(n)?.cast_unsigned())
}

/// Receives into `buf`, and appends at most `limit` descriptors to `fds`. On Linux `flags` asks for
/// close-on-exec; elsewhere the caller sets it.
///
/// More than `limit` is `InvalidData`, and descriptors that this process has no room for are `EMFILE`;
/// those of this message that did arrive are closed, and `fds` is as before.
pub(crate) fn receive_with_fds(
    fd: BorrowedFd<'_>,
    buf: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    limit: usize,
    flags: MsgFlags,
) -> io::Result<usize> {
    let part = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    let mut control = Control::new();
    let mut message = header(&raw const part, 1);
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = CONTROL_LEN as _;
    // SAFETY: the header names `buf` and `control`, both alive, writable and unshared for the call.
    let n = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, flags.bits()) };
    let n = Errno::result(n)?.cast_unsigned();
    if message.msg_controllen == 0 && message.msg_flags & libc::MSG_CTRUNC == 0 {
        return Ok(n);
    }
    let before = fds.len();
    adopt_all(&message, fds);
    let arrived = fds.len() - before;
    if message.msg_flags & libc::MSG_CTRUNC != 0 {
        fds.truncate(before);
        // No message has more than `control` holds: this process has no room for them.
        return Err(Errno::EMFILE.into());
    }
    if arrived > limit {
        fds.truncate(before);
        return Err(invalid(&format!(
            "{arrived} descriptors with a message, {limit} are accepted"
        )));
    }
    Ok(n)
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Takes ownership of every descriptor in the control messages of a received `message`.
fn adopt_all(message: &libc::msghdr, fds: &mut Vec<OwnedFd>) {
    // SAFETY: `recvmsg` filled `message`; its control pointer and length describe initialised bytes.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: `next` is null or points to a header within the control bytes, which are not changed.
    while let Some(head) = unsafe { next.as_ref() } {
        if head.cmsg_level == libc::SOL_SOCKET && head.cmsg_type == libc::SCM_RIGHTS {
            // SAFETY: `next` is a header, see above.
            let data = unsafe { libc::CMSG_DATA(next) };
            let whole: usize = head.cmsg_len as _;
            let len = whole.saturating_sub(data.addr() - next.addr());
            for index in 0..len / size_of::<RawFd>() {
                let at = data.wrapping_add(index * size_of::<RawFd>());
                // SAFETY: the kernel wrote `len` bytes of descriptor numbers at `data`, and `at` is
                // one of them; the read may be unaligned.
                let number = unsafe { at.cast::<RawFd>().read_unaligned() };
                // SAFETY: the kernel made this descriptor for the receiver of the message alone.
                fds.push(unsafe { adopt(number) });
            }
        }
        // SAFETY: `message` and `next` are as `recvmsg` left them.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
}
