//! Ports: accepting, names and their files.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use ipc_core::{Address, AnyChannel, Port, PortOptions, Relocation};

use crate::support::{LIMIT, within};

#[test]
fn accept_in_four_forms() {
    within(LIMIT, || {
        let mut port = Port::bind(&"tcp:127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(port.try_accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let short = Duration::from_millis(20);
        assert_eq!(
            port.accept_timeout(short).unwrap_err().kind(),
            ErrorKind::TimedOut
        );
        let deadline = Instant::now() + short;
        assert_eq!(
            port.accept_deadline(deadline).unwrap_err().kind(),
            ErrorKind::TimedOut
        );
        assert!(Instant::now() >= deadline);
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
    assert_eq!(
        Port::bind(&address).unwrap_err().kind(),
        ErrorKind::AddrInUse
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
