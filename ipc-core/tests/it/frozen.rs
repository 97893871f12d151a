//! Memory that nobody can change any more.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;

use ipc_core::FrozenMemory;

#[test]
fn it_is_shared_and_cannot_be_written() {
    let ours = FrozenMemory::build(10_000, |memory| memory[9_999] = 7).unwrap();
    let fd = ours.as_fd().try_clone_to_owned().unwrap();
    let theirs = FrozenMemory::from_fd(fd.try_clone().unwrap(), 10_000).unwrap();
    assert_eq!((theirs.len(), theirs[9_999], theirs[0]), (10_000, 7, 0));
    let mut file = File::from(fd);
    assert!(file.write_all(b"x").is_err());
    assert!(file.set_len(1).is_err());
    assert!(file.set_len(20_000).is_err());
    assert_eq!(theirs[0], 0);
}

#[test]
fn nothing_can_be_frozen_too() {
    let empty = FrozenMemory::new(b"").unwrap();
    let fd = empty.as_fd().try_clone_to_owned().unwrap();
    assert!(FrozenMemory::from_fd(fd, 0).unwrap().is_empty());
}

#[test]
fn what_is_too_long_or_not_frozen_is_refused() {
    let kind = |fd, len| FrozenMemory::from_fd(fd, len).unwrap_err().kind();
    let long = FrozenMemory::new(&[1; 100]).unwrap();
    let fd = long.as_fd().try_clone_to_owned().unwrap();
    assert_eq!(kind(fd, 99), ErrorKind::InvalidData);
    let file = tempfile::tempfile().unwrap();
    assert_eq!(kind(file.into(), 99), ErrorKind::InvalidData);
    let loose = nix::sys::memfd::memfd_create(
        "loose",
        nix::sys::memfd::MFdFlags::MFD_ALLOW_SEALING | nix::sys::memfd::MFdFlags::MFD_CLOEXEC,
    );
    assert_eq!(kind(loose.unwrap(), 99), ErrorKind::InvalidData);
}
