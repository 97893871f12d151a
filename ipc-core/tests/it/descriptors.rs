//! Descriptors through channels.

use std::fs::File;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ipc_core::{AnyChannel, Channel, Deadline, Inbound, Outbound, Ring, Socket};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::support::{HAS_RINGS, LIMIT, within};

fn is_cloexec(fd: &OwnedFd) -> bool {
    let flags = fcntl(fd, FcntlArg::F_GETFD).unwrap();
    FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC)
}

#[test]
fn a_descriptor_goes_through_with_its_byte() {
    within(LIMIT, || {
        let (x, y) = Socket::pair().unwrap();
        through(x.into(), y.into());
        if HAS_RINGS {
            let (x, y) = Ring::pair().unwrap();
            through(x.into(), y.into());
        }
    });
}

fn through(mut a: AnyChannel, mut b: AnyChannel) {
    let (mut gift, theirs) = Socket::pair().unwrap();
    a.write_all(b"before").unwrap();
    let n = a
        .write_with_fds(&[IoSlice::new(b"with")], &[theirs.as_fd()], Deadline::Never)
        .unwrap();
    assert_eq!(n, 4);
    drop(theirs);
    a.write_all(b"after").unwrap();
    let (mut fds, mut text, mut buf) = (Vec::new(), Vec::new(), [0; 64]);
    let mut came_with = None;
    while text.len() < 15 {
        let n = b
            .read_with_fds(&mut buf, &mut fds, Deadline::Never)
            .unwrap();
        text.extend_from_slice(&buf[..n]);
        if came_with.is_none() && !fds.is_empty() {
            came_with = Some(text.len());
        }
    }
    assert_eq!(text, b"beforewithafter");
    assert_eq!(fds.len(), 1);
    assert!(
        came_with > Some(6),
        "the descriptor came with the bytes before its own"
    );
    assert!(is_cloexec(&fds[0]));
    let mut received = Socket::from_fd(fds.remove(0)).unwrap();
    received.write_all(b"hi").unwrap();
    let mut text = [0; 2];
    gift.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"hi");
    // Not read with `read_with_fds`: closed.
    a.write_with_fds(&[IoSlice::new(b"x")], &[received.as_fd()], Deadline::Never)
        .unwrap();
    drop(received);
    b.read_exact(&mut [0]).unwrap();
    a.write_all(b"y").unwrap();
    b.read_exact(&mut [0]).unwrap();
    drop((a, b));
    assert_eq!(
        gift.read(&mut buf).unwrap(),
        0,
        "a dropped descriptor is still open"
    );
}

#[test]
fn more_descriptors_than_accepted_are_an_error_and_closed() {
    within(LIMIT, || {
        let (mut a, mut b) = Socket::pair().unwrap();
        let (mut gift, theirs) = Socket::pair().unwrap();
        let fds = vec![theirs.as_fd(); 253];
        a.send_fds(b"x", &fds).unwrap();
        let error = b.recv_fds(&mut [0; 8], 252).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        a.send_fds(b"x", &fds).unwrap();
        let (n, received) = b.recv_fds(&mut [0; 8], 253).unwrap();
        assert_eq!((n, received.len()), (1, 253));
        assert!(received.iter().all(is_cloexec));
        drop(received);
        let fds = vec![theirs.as_fd(); 254];
        assert_eq!(
            a.send_fds(b"x", &fds).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        assert_eq!(
            a.send_fds(b"", &fds[..1]).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        drop(theirs);
        assert_eq!(
            gift.read(&mut [0]).unwrap(),
            0,
            "a refused descriptor is still open"
        );
    });
}

#[test]
fn kinds_that_carry_none_say_so() {
    let null = File::open("/dev/null").unwrap();
    let (mut a, _b) = ipc_core::Pipe::pair().unwrap();
    let fds: [BorrowedFd<'_>; 1] = [null.as_fd()];
    let error = a
        .write_with_fds(&[IoSlice::new(b"x")], &fds, Deadline::Now)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn credentials_are_those_of_this_process() {
    // Only Linux tells the process.
    let own = HAS_RINGS.then(std::process::id);
    let (a, _b) = Socket::pair().unwrap();
    assert_eq!(a.peer_credentials().unwrap().unwrap().pid, own);
    if HAS_RINGS {
        let (a, _b) = Ring::pair().unwrap();
        assert_eq!(a.peer_credentials().unwrap().unwrap().pid, own);
    }
    let (a, _b) = ipc_core::Pipe::pair().unwrap();
    assert_eq!(a.peer_credentials().unwrap(), None);
}
