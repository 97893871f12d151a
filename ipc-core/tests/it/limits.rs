//! A process that may open hardly anything.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::Command;

use ipc_core::{AnyChannel, Inherit, Ring, Socket, descriptors, inherited};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::support::{LIMIT, within};

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
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert_eq!(descriptors().unwrap(), before);
    // Nothing is left of what could not be made.
    let mut made: Vec<AnyChannel> = Vec::new();
    let error = loop {
        match Ring::pair() {
            Ok((a, b)) => made.extend([a.into(), b.into()]),
            Err(error) => break error,
        }
    };
    assert_eq!(error.raw_os_error(), Some(nix::errno::Errno::EMFILE as i32));
    made.clear();
    assert_eq!(descriptors().unwrap(), before);
    channel.write_all(b"!").unwrap();
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
