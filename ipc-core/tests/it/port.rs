//! Ports: accepting, names and their files.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use ipc_core::{Address, AnyChannel, Port, PortOptions, Relocation, Rendezvous, Retry};

use crate::support::{HAS_RINGS, LIMIT, takes, within};

#[test]
fn accept_in_four_forms() {
    within(LIMIT, || {
        let mut port = Port::bind(&"tcp:127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(port.try_accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let short = Duration::from_millis(20);
        takes("accepting", short, || {
            let error = port.accept_timeout(short).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        });
        takes("accepting", short, || {
            let error = port.accept_deadline(Instant::now() + short).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        });
        let _client = AnyChannel::connect(port.address()).unwrap();
        port.accept().unwrap();
    });
}

#[test]
fn a_socket_file_is_private_and_goes_with_its_port() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/socket");
    let port = Port::bind(&Address::unix(&path).unwrap()).unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    drop(port);
    assert_eq!(path.parent().unwrap().read_dir().unwrap().count(), 0);
}

#[test]
fn a_live_port_is_never_stolen() {
    let folder = tempfile::tempdir().unwrap();
    let address = Address::unix(folder.path().join("socket")).unwrap();
    let mut port = Port::bind(&address).unwrap();
    let error = Port::bind(&address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    let path = folder.path().join("socket");
    assert_eq!(
        error.to_string(),
        format!("a live port has the path {}", path.display()),
        "the path as the caller knows it"
    );
    assert_eq!(
        port.try_accept().unwrap_err().kind(),
        ErrorKind::WouldBlock,
        "not even probed"
    );
    let other = PortOptions::new()
        .relocation(Relocation::OnInUse)
        .bind(&address)
        .unwrap();
    assert_ne!(other.address(), &address);
}

#[test]
fn a_listener_of_another_library_is_never_stolen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let foreign = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let address = Address::unix(&path).unwrap();
    assert_eq!(
        Port::bind(&address).unwrap_err().kind(),
        ErrorKind::AddrInUse
    );
    drop(foreign);
    // Its file is stale now.
    Port::bind(&address).unwrap();
}

#[test]
fn a_rendezvous_is_over_after_its_peer() {
    within(LIMIT, || {
        let folder = tempfile::tempdir().unwrap();
        for address in [
            Address::unix(folder.path().join("socket")).unwrap(),
            Address::ring(folder.path().join("ring")).unwrap(),
            Address::tcp("127.0.0.1", 0).unwrap(),
        ] {
            if matches!(address, Address::Ring(_)) && !HAS_RINGS {
                continue;
            }
            let mut rendezvous = Rendezvous::bind(&address).unwrap();
            let short = Duration::from_millis(5);
            assert_eq!(
                rendezvous.accept_timeout(short).unwrap_err().kind(),
                ErrorKind::TimedOut
            );
            let _client = AnyChannel::connect(rendezvous.address()).unwrap();
            let _server = rendezvous.accept().unwrap();
            assert!(
                AnyChannel::connect(rendezvous.address()).is_err(),
                "still there"
            );
            assert_eq!(
                rendezvous.accept().unwrap_err().kind(),
                ErrorKind::NotConnected
            );
        }
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    });
}

#[test]
fn connecting_again_finds_a_late_port() {
    within(LIMIT, || {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::unix(folder.path().join("socket")).unwrap();
        let retry = Retry::new().attempts(2000).delay(Duration::from_millis(1));
        let client = {
            let (retry, address) = (retry.clone(), address.clone());
            std::thread::spawn(move || retry.connect(&address).map(drop))
        };
        Port::bind(&address).unwrap().accept().unwrap();
        client.join().unwrap().unwrap();
        let quick = retry.attempts(3);
        assert_eq!(
            quick.connect(&address).unwrap_err().kind(),
            ErrorKind::NotFound
        );
    });
}

#[test]
#[cfg(all(target_os = "linux", not(ipc_portable)))]
fn a_silent_peer_does_not_keep_others_from_a_ring_port() {
    within(LIMIT, || {
        use nix::sys::socket;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ring");
        let address = Address::ring(&path).unwrap();
        let mut port = Port::bind(&address).unwrap();
        let mut silent = Vec::new();
        for _ in 0..100 {
            let fd = socket::socket(
                socket::AddressFamily::Unix,
                socket::SockType::SeqPacket,
                socket::SockFlag::SOCK_CLOEXEC,
                None,
            )
            .unwrap();
            let name = socket::UnixAddr::new(&path).unwrap();
            socket::connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &name).unwrap();
            silent.push(fd);
            assert_eq!(port.try_accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        }
        let _client = AnyChannel::connect(&address).unwrap();
        port.accept().unwrap();
        // A plain socket is told apart by its kind.
        let plain = Address::unix(&path).unwrap();
        assert!(AnyChannel::connect(&plain).is_err());
    });
}

/// Only one process here: what counts is whether another hold exists.
#[test]
fn of_a_shared_port_the_last_removes_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shared");
    let address = Address::unix(&path).unwrap();
    let first = Port::bind(&address).unwrap();
    let mut second = first.parts().unwrap().into_port().unwrap();
    assert_eq!(second.address(), &address);
    let waiting = AnyChannel::connect(&address).unwrap();
    drop(first);
    assert!(path.exists(), "the other has it still");
    drop(second.accept_timeout(Duration::from_secs(5)).unwrap());
    drop(waiting);
    let refused = Port::bind(&address).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse);
    drop(second);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    Port::bind(&address).unwrap();
}
