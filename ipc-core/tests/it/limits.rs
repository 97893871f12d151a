//! A process that may open hardly anything.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::Command;

use ipc_core::{AnyChannel, Inherit, Port, Ring, Socket, descriptors, inherited};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::support::{HAS_RINGS, LIMIT, within};

const EMFILE: i32 = nix::errno::Errno::EMFILE as i32;

/// Not a test of its own: the child of the next.
#[test]
fn child_with_few_descriptors() {
    let Ok(fd) = inherited(14) else { return };
    let mut channel = Socket::from_fd(fd).unwrap();
    channel.read_exact(&mut [0]).unwrap();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 16, hard).unwrap();
    // What the system dropped is an error, and what arrived is closed.
    let before = descriptors().unwrap();
    let error = channel.recv_fds(&mut [0; 8], 253).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(EMFILE));
    assert_eq!(descriptors().unwrap(), before);
    // Nothing is left of what could not be made.
    let mut made: Vec<AnyChannel> = Vec::new();
    let error = loop {
        match Ring::pair() {
            Ok((a, b)) => made.extend([a.into(), b.into()]),
            Err(error) => break error,
        }
    };
    assert_eq!(error.raw_os_error(), Some(EMFILE));
    made.clear();
    assert_eq!(descriptors().unwrap(), before);
    channel.write_all(b"!").unwrap();
    if HAS_RINGS {
        lost_offers_are_told(hard);
    }
}

/// A peer whose offer finds no room is gone, but not without a word.
fn lost_offers_are_told(hard: u64) {
    let allow = |files| setrlimit(Resource::RLIMIT_NOFILE, files, hard).unwrap();
    let name = format!("ring:@ipc-limits-{}", std::process::id());
    allow(64);
    let mut port = Port::bind(&name.parse().unwrap()).unwrap();
    for spare in 0..4 {
        allow(64);
        let peer = Ring::connect(port.address()).unwrap();
        let open = descriptors().unwrap();
        let free = (0..).find(|number| open.iter().all(|fd| fd.number != *number));
        // One is for the peer's socket, and three come with the offer.
        allow(free.unwrap() as u64 + spare);
        let error = port.accept_timeout(LIMIT).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(EMFILE), "{spare} to spare");
        drop(peer);
        if spare == 0 {
            // It is still in the queue, and has gone meanwhile.
            allow(64);
            drop(port.accept_timeout(LIMIT).unwrap());
        }
    }
    allow(64);
    let _peer = Ring::connect(port.address()).unwrap();
    port.accept_timeout(LIMIT).unwrap();
}

#[test]
fn too_few_descriptors_are_an_error_and_leave_nothing() {
    within(LIMIT, || {
        let (mut ours, theirs) = Socket::pair().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([
            "limits::child_with_few_descriptors",
            "--exact",
            "--nocapture",
        ]);
        let mut child = Inherit::new().give(14, theirs).spawn(&command).unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let fds: Vec<BorrowedFd<'_>> = vec![null.as_fd(); 30];
        ours.write_all(b"!").unwrap();
        ours.send_fds(b"x", &fds).unwrap();
        let mut answer = Vec::new();
        ours.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"!");
        assert!(child.wait().unwrap().success());
    });
}
