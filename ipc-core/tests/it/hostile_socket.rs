//! A peer of a socket that keeps no rule.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use ipc_core::{
    Address, AnyChannel, Channel, Deadline, Inbound, Outbound, Port, Socket, descriptors,
};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt, sockopt};

use crate::support::{LIMIT, takes, within};

fn with_victim() -> (UnixStream, Socket) {
    let (hostile, theirs) = UnixStream::pair().unwrap();
    (hostile, Socket::from_fd(theirs.into()).unwrap())
}

fn send(hostile: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> nix::Result<usize> {
    let numbers: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let parts = [IoSlice::new(bytes)];
    sendmsg::<()>(hostile.as_raw_fd(), &parts, &rights, flags, None)
}

/// With every byte 253 descriptors, to a victim that asked for none of them, for few, and for all.
#[test]
fn a_flood_of_descriptors_leaves_nothing_open() {
    within(LIMIT, || {
        let (hostile, mut victim) = with_victim();
        let (gift, theirs) = UnixStream::pair().unwrap();
        let fds = [theirs.as_fd(); 253];
        let flood = || while send(&hostile, b"x", &fds).is_ok() {};
        // Other tests of this binary have descriptors of their own: count those to the gift only.
        let own = |fd: BorrowedFd<'_>| nix::sys::stat::fstat(fd).unwrap().st_ino;
        let inode = own(theirs.as_fd());
        let open = || {
            let path = format!("socket:[{inode}]");
            let listed = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            listed
                .filter_map(|entry| std::fs::read_link(entry.path()).ok())
                .filter(|link| link.as_os_str() == path.as_str())
                .count()
        };
        flood();
        let mut buf = [0; 4096];
        while victim.read_deadline(&mut buf, Deadline::Now).is_ok() {}
        assert_eq!(open(), 1, "read without asking for descriptors");
        victim.set_fds_max(2);
        flood();
        let mut received = Vec::new();
        loop {
            match victim.read_with_fds(&mut buf, &mut received, Deadline::Now) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                result => assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidData),
            }
        }
        assert_eq!((open(), received.len()), (1, 0), "more than agreed on");
        // Never read at all.
        flood();
        drop((victim, hostile, theirs));
        assert_eq!((&gift).read(&mut [0]).unwrap(), 0, "one is still open");
        assert!(!descriptors().unwrap().is_empty());
    });
}

#[test]
fn silence_on_a_socket_costs_a_deadline() {
    let (hostile, mut victim) = with_victim();
    let limit = Duration::from_millis(30);
    takes("reading from silence", limit, || {
        let error = victim.read_deadline(&mut [0], Deadline::after(limit));
        assert_eq!(error.unwrap_err().kind(), ErrorKind::TimedOut);
    });
    let full = [IoSlice::new(&[0; 60_000])];
    while victim.write_deadline(&full, Deadline::Now).is_ok() {}
    takes("writing to silence", limit, || {
        let error = victim.write_deadline(&full, Deadline::after(limit));
        assert_eq!(error.unwrap_err().kind(), ErrorKind::TimedOut);
    });
    drop(hostile);
    assert_eq!(victim.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_peer_that_resets_is_an_error_or_the_end() {
    within(LIMIT, || {
        let mut port = Port::bind(&Address::tcp("127.0.0.1", 0).unwrap()).unwrap();
        for blocked in [0, 20] {
            let mut victim = AnyChannel::connect(port.address()).unwrap();
            let mut hostile = port.accept().unwrap();
            hostile.write_all(b"half a mess").unwrap();
            let killer = thread::spawn(move || {
                let _ = hostile
                    .read_deadline(&mut [0], Deadline::after(Duration::from_millis(blocked)));
                let at_once = nix::libc::linger {
                    l_onoff: 1,
                    l_linger: 0,
                };
                setsockopt(&hostile.inbound(), sockopt::Linger, &at_once).unwrap();
            });
            let mut text = Vec::new();
            let error = victim.read_to_end(&mut text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            let (_, mut writer) = victim.split().unwrap();
            let error = (0..100).find_map(|_| writer.write_all(b"more").err());
            assert_eq!(error.unwrap().kind(), ErrorKind::BrokenPipe);
            killer.join().unwrap();
        }
    });
}

/// A peer that never stops sending fills the system's buffers and nothing of ours.
#[test]
fn a_flood_of_bytes_is_read_in_the_readers_pieces() {
    within(LIMIT, || {
        let (mut hostile, mut victim) = with_victim();
        let flooder = thread::spawn(move || {
            let mut sent = 0_usize;
            while let Ok(n) = hostile.write(&[7; 1 << 16]) {
                sent += n;
            }
            sent
        });
        let mut received = 0;
        let mut buf = [0; 1000];
        while received < 16 << 20 {
            let n = victim.read(&mut buf).unwrap();
            assert!((1..=buf.len()).contains(&n));
            received += n;
        }
        drop(victim);
        assert!(flooder.join().unwrap() >= received);
    });
}
