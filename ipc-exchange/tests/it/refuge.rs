//! Where programs meet another parent.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ipc_exchange::{Refuge, meet};

use crate::harness::{patience, tests};
use crate::system::skip;

tests![
    strangers_are_not_met,
    a_refuge_is_private_and_leaves_nothing,
    one_of_many_parents_has_the_folder,
    what_was_not_finished_is_begun_anew,
    noise_at_the_door_keeps_nobody_out,
    a_number_that_comes_again_is_nobody_we_know,
    a_refuge_that_is_dropped_is_gone_at_once,
];

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn strangers_are_not_met() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("refuge");
    if unsupported(&path) {
        return;
    }
    let refuge = Refuge::open(&path).unwrap();
    let own = std::process::id();
    refuge.enrol(own, b"a note").unwrap();
    let orphans = refuge.orphans().unwrap();
    assert_eq!(orphans.len(), 1);
    assert_eq!((orphans[0].id(), orphans[0].note()), (own, &b"a note"[..]));
    let (sender, met) = mpsc::channel();
    let welcome = |pid, until| {
        let sender = sender.clone();
        refuge
            .welcome::<u8, u8>(vec![pid], until, move |pid, duct| {
                sender.send((pid, duct)).unwrap();
            })
            .unwrap();
    };
    // One that is not expected, and one that does not know the key.
    welcome(own + 1, Instant::now() + Duration::from_millis(300));
    let until = || Instant::now() + Duration::from_millis(300);
    assert!(meet::<u8, u8>(&path, refuge.key(), until()).is_err());
    welcome(own, soon());
    assert!(meet::<u8, u8>(&path, b"another key", until()).is_err());
    assert!(met.try_recv().is_err());
    let mut there = meet::<u8, u8>(&path, refuge.key(), soon()).unwrap();
    let (pid, mut here) = met.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(pid, own);
    here.send(7).unwrap();
    assert_eq!(there.recv().unwrap(), 7);
}

fn a_refuge_is_private_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("refuge");
    if unsupported(&path) {
        return;
    }
    let refuge = Refuge::open(&path).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("key")), 0o600);
    let again = Refuge::open(&path).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AddrInUse);
    drop(refuge);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o750)).unwrap();
    let open = Refuge::open(&path).unwrap_err();
    assert_eq!(open.kind(), ErrorKind::PermissionDenied);
}

/// A process that does nothing.
fn sleeper() -> Child {
    Command::new("sleep").arg("60").spawn().unwrap()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Of several at once one has the folder.
fn one_of_many_parents_has_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("refuge");
    if unsupported(&path) {
        return;
    }
    let parents: Vec<_> = (0..8)
        .map(|_| {
            let path = path.clone();
            thread::spawn(move || Refuge::open(path))
        })
        .collect();
    let opened: Vec<_> = parents.into_iter().map(|one| one.join().unwrap()).collect();
    assert_eq!(opened.iter().filter(|one| one.is_ok()).count(), 1);
    let refused = opened.iter().filter_map(|one| one.as_ref().err());
    refused.for_each(|error| assert_eq!(error.kind(), ErrorKind::AddrInUse));
}

/// What a parent that was killed did not finish keeps nobody out, and nothing of it stays.
fn what_was_not_finished_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("refuge");
    if unsupported(&path) {
        return;
    }
    for (name, bytes) in [
        ("key", &b"short"[..]),
        ("17.new", b"x"),
        ("18.worker", b"x"),
    ] {
        fs::write(path.join(name), bytes).unwrap();
        fs::set_permissions(path.join(name), PermissionsExt::from_mode(0o600)).unwrap();
    }
    let refuge = Refuge::open(&path).unwrap();
    assert_eq!(refuge.key().len(), 32);
    assert!(refuge.orphans().unwrap().is_empty());
    drop(refuge);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
}

/// Garbage, silence and a flood cost those who send them their connection and nobody else much time.
fn noise_at_the_door_keeps_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("refuge");
    if unsupported(&path) {
        return;
    }
    let refuge = Refuge::open(&path).unwrap();
    let (sender, met) = mpsc::channel();
    let welcome = |pid| {
        let sender = sender.clone();
        let met = move |pid, duct| sender.send((pid, duct)).unwrap();
        refuge.welcome::<u8, u8>(vec![pid], soon(), met).unwrap();
    };
    let call = || loop {
        // The queue may be full.
        if let Ok(stream) = UnixStream::connect(path.join("meet")) {
            return stream;
        }
    };
    // Whoever is not expected is not even listened to.
    welcome(std::process::id() + 1);
    for _ in 0..500 {
        let mut stream = call();
        let _ = stream.write_all(&[0xa5; 512]);
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let read = stream.read(&mut [0]);
        assert!(!matches!(&read, Ok(1..)), "{read:?}");
        let waits = |error: std::io::Error| error.kind() == ErrorKind::WouldBlock;
        assert!(!read.is_err_and(waits), "it is kept waiting");
    }
    welcome(std::process::id());
    for noise in [&[0xff; 4096][..], b"#CHALLENGE#", b""] {
        let mut stream = call();
        let _ = stream.write_all(noise);
    }
    let silent = call();
    let begun = Instant::now();
    let _there = meet::<u8, u8>(&path, refuge.key(), soon()).unwrap();
    assert_eq!(
        met.recv_timeout(Duration::from_secs(10)).unwrap().0,
        std::process::id()
    );
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(2) + 2 * patience(), "{took:?}");
    drop(silent);
}

/// A process that has the number of one that was enrolled is not taken for it.
fn a_number_that_comes_again_is_nobody_we_know() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("refuge");
    if unsupported(&path) {
        return;
    }
    let refuge = Refuge::open(&path).unwrap();
    let first = sleeper();
    let pid = first.id();
    refuge.enrol(pid, b"").unwrap();
    assert_eq!(refuge.orphans().unwrap().len(), 1);
    end(first);
    // The kernel counts the time of a start in hundredths of a second.
    thread::park_timeout(Duration::from_millis(30));
    let mut again = None;
    for _ in 0..50 {
        if fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).is_err() {
            return skip("who may not say what number comes next cannot have one come again");
        }
        let child = sleeper();
        if child.id() == pid {
            again = Some(child);
            break;
        }
        end(child);
    }
    let Some(mut again) = again else {
        return skip("others took the number");
    };
    assert!(refuge.orphans().unwrap().is_empty());
    assert!(again.try_wait().unwrap().is_none(), "it was left alone");
    end(again);
    drop(refuge);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
}

/// The door closes at once, also while somebody is expected.
fn a_refuge_that_is_dropped_is_gone_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("refuge");
    if unsupported(&path) {
        return;
    }
    for _ in 0..5 {
        let refuge = Refuge::open(&path).unwrap();
        refuge
            .welcome::<u8, u8>(vec![1], soon(), |_, _| ())
            .unwrap();
        drop(refuge);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    }
}

/// Whether there can be no such thing here; says so.
fn unsupported(path: &Path) -> bool {
    match Refuge::open(path) {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            skip("processes that are no children cannot be watched here");
            true
        }
        refuge => {
            drop(refuge.unwrap());
            false
        }
    }
}
