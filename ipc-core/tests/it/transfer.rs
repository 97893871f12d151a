//! Bytes through every kind of channel.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use ipc_core::{
    Address, AnyChannel, Channel, Deadline, Inbound, Outbound, Pipe, Port, RingOptions, Socket,
    UnixName, Wait,
};

use crate::support::{HAS_RINGS, LIMIT, within};

fn through(address: &Address) -> (AnyChannel, AnyChannel) {
    let mut port = Port::bind(address).unwrap();
    let client = AnyChannel::connect(port.address()).unwrap();
    (client, port.accept().unwrap())
}

/// Runs `test` with a pair of every kind.
pub(crate) fn every_kind(test: fn(AnyChannel, AnyChannel)) {
    within(LIMIT, move || {
        let (a, b) = Pipe::pair().unwrap();
        test(a.into(), b.into());
        let (a, b) = Socket::pair().unwrap();
        test(a.into(), b.into());
        let folder = tempfile::tempdir().unwrap();
        let name = format!("ipc-core-test-{}", std::process::id());
        for wait in [Wait::Adaptive, Wait::Park, Wait::Spin]
            .into_iter()
            .filter(|_| HAS_RINGS)
        {
            let (a, b) = RingOptions::new()
                .wait(wait)
                .capacity(1 << 16)
                .pair()
                .unwrap();
            test(a.into(), b.into());
        }
        for address in [
            Address::unix(folder.path().join("socket")).unwrap(),
            Address::Unix(UnixName::abstract_name(&name).unwrap()),
            Address::ring(folder.path().join("ring")).unwrap(),
            Address::Ring(UnixName::abstract_name(&name).unwrap()),
            Address::tcp("127.0.0.1", 0).unwrap(),
            Address::tcp("::1", 0).unwrap(),
        ] {
            let is_linux_only = address
                .unix_name()
                .is_some_and(|name| name.as_path().is_none())
                || matches!(address, Address::Ring(_));
            if is_linux_only && !HAS_RINGS {
                continue;
            }
            let (a, b) = through(&address);
            test(a, b);
        }
    });
}

#[test]
fn both_directions_and_the_end() {
    every_kind(|mut a, mut b| {
        a.write_all(b"there").unwrap();
        a.shutdown().unwrap();
        let mut text = Vec::new();
        b.read_to_end(&mut text).unwrap();
        assert_eq!(text, b"there");
        b.write_all(b"back").unwrap();
        drop(b);
        text.clear();
        a.read_to_end(&mut text).unwrap();
        assert_eq!(text, b"back");
        assert_eq!(
            a.write_all(b"more").unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
    });
}

#[test]
fn a_dead_reader_is_a_broken_pipe() {
    every_kind(|mut a, b| {
        drop(b);
        let error = loop {
            // TCP needs a round trip to notice.
            if let Err(error) = a.write(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn now_and_deadlines() {
    every_kind(|mut a, mut b| {
        let mut buf = [0; 1 << 16];
        let now = b.read_deadline(&mut buf, Deadline::Now).unwrap_err();
        assert_eq!(now.kind(), ErrorKind::WouldBlock);
        let short = Deadline::after(Duration::from_millis(20));
        assert_eq!(
            b.read_deadline(&mut buf, short).unwrap_err().kind(),
            ErrorKind::TimedOut
        );
        a.set_nonblocking(true).unwrap();
        let error = loop {
            if let Err(error) = a.write(&buf) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        a.set_nonblocking(false).unwrap();
        let short = Deadline::after(Duration::from_millis(20));
        let full = a
            .write_deadline(&[std::io::IoSlice::new(&buf)], short)
            .unwrap_err();
        assert_eq!(full.kind(), ErrorKind::TimedOut);
        assert!(b.read(&mut buf).unwrap() > 0);
    });
}
