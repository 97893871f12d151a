//! Peers that are killed while this side waits for them.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::{
    Address, AnyChannel, Channel, ChildProcess, Deadline, Inbound, Inherit, Outbound, Pipe, Port,
    Readiness, RingOptions, Socket, Wait, inherited,
};

use crate::support::{HAS_RINGS, LIMIT, poll, within};

/// A killed peer is noticed within this: 10 ms, plus what a very busy machine adds.
const NOTICED_MAX: Duration = Duration::from_secs(5);

fn kinds() -> impl Iterator<Item = &'static str> {
    let kinds = ["pipe", "ring", "ring-park", "ring-spin", "socket", "tcp"];
    kinds
        .into_iter()
        .filter(|kind| HAS_RINGS || !kind.starts_with("ring"))
}

/// A channel of this kind, and its other end in a process that does `job`.
fn with_child(kind: &str, job: &str) -> (AnyChannel, ChildProcess) {
    let wait = match kind {
        "ring-park" => Wait::Park,
        "ring-spin" => Wait::Spin,
        _ => Wait::Adaptive,
    };
    let (ours, inherit): (AnyChannel, Inherit) = match kind {
        "pipe" => {
            let (ours, theirs) = Pipe::pair().unwrap();
            let (inbound, outbound) = theirs.into_fds();
            (
                ours.into(),
                Inherit::new().give(10, inbound).give(11, outbound),
            )
        }
        "socket" => {
            let (ours, theirs) = Socket::pair().unwrap();
            (ours.into(), Inherit::new().give(10, theirs))
        }
        "tcp" => {
            let mut port = Port::bind(&Address::tcp("127.0.0.1", 0).unwrap()).unwrap();
            let theirs = Socket::connect(port.address()).unwrap();
            (port.accept().unwrap(), Inherit::new().give(10, theirs))
        }
        _ => {
            let (ours, theirs) = RingOptions::new()
                .wait(wait)
                .capacity(1 << 16)
                .offer()
                .unwrap();
            (ours.into(), Inherit::new().give(10, theirs))
        }
    };
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["killed::child", "--exact", "--nocapture"])
        .env("IPC_TEST_JOB", job);
    (ours, inherit.spawn(&command).unwrap())
}

/// Not a test of its own: the child of the others.
#[test]
fn child() {
    let Ok(fd) = inherited(10) else { return };
    let mut channel: AnyChannel = match inherited(11) {
        Ok(outbound) => Pipe::from_fds(fd, outbound).into(),
        Err(_) => AnyChannel::from_fd(fd).unwrap(),
    };
    channel.write_all(b"!").unwrap();
    match std::env::var("IPC_TEST_JOB").unwrap().as_str() {
        // Waits without reading, until it is killed or its parent is gone.
        "idle" => {
            let fd: std::os::fd::BorrowedFd<'_> = channel.inbound();
            loop {
                let mut fds = [nix::poll::PollFd::new(fd, nix::poll::PollFlags::empty())];
                // Only an error or the end wakes it.
                if nix::poll::poll(&mut fds, 30_000_u16).unwrap_or(0) > 0 {
                    return;
                }
            }
        }
        // Sends numbers and swallows what comes, for as long as it may.
        "count" => {
            let (mut reader, mut writer) = channel.split().unwrap();
            thread::spawn(move || {
                let mut buf = [0; 5000];
                while reader.read(&mut buf).is_ok_and(|n| n > 0) {}
            });
            for number in 0_u64.. {
                if writer.write_all(&number.to_le_bytes()).is_err() {
                    return;
                }
            }
        }
        job => panic!("no job {job}"),
    }
}

/// Runs `blocked` with a channel whose peer is killed meanwhile, and checks that it ended soon after.
fn while_killed(blocked: fn(&mut AnyChannel)) {
    within(LIMIT, move || {
        for kind in kinds() {
            // At once, while spinning, while asleep on the word, while asleep on the socket.
            for pause in [0, 1, 5, 60] {
                let (mut channel, mut child) = with_child(kind, "idle");
                channel.read_exact(&mut [0]).unwrap();
                let (told, tell) = std::sync::mpsc::channel::<()>();
                let killer = thread::spawn(move || {
                    let _ = tell.recv_timeout(Duration::from_millis(pause));
                    child.kill().unwrap();
                    let killed = Instant::now();
                    assert!(!child.wait().unwrap().success());
                    killed
                });
                blocked(&mut channel);
                let noticed = Instant::now();
                let killed = killer.join().unwrap();
                drop(told);
                let took = noticed.saturating_duration_since(killed);
                assert!(took < NOTICED_MAX, "{kind} after {pause} ms: {took:?}");
            }
        }
    });
}

#[test]
fn a_reader_reads_the_end() {
    while_killed(|channel| match channel.read(&mut [0]) {
        Ok(n) => assert_eq!(n, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "tcp may say so"),
    });
}

#[test]
fn a_writer_gets_a_broken_pipe() {
    while_killed(|channel| {
        let error = loop {
            if let Err(error) = channel.write_all(&[0; 1 << 16]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_reader_with_a_deadline_reads_the_end() {
    while_killed(|channel| {
        match channel.read_deadline(&mut [0], Deadline::after(Duration::from_secs(20))) {
            Ok(n) => assert_eq!(n, 0),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "tcp may say so"),
        }
    });
}

#[test]
fn an_armed_sleeper_wakes() {
    while_killed(|channel| {
        if channel.arm_inbound().unwrap() == Readiness::Armed {
            poll(channel.inbound(), nix::poll::PollFlags::POLLIN);
        }
        let ended = channel.read_deadline(&mut [0], Deadline::Now);
        assert!(!matches!(ended, Ok(1)), "{ended:?}");
    });
}

#[test]
fn an_armed_writer_wakes() {
    while_killed(|channel| {
        let full = [0; 1 << 16];
        while channel
            .write_deadline(&[std::io::IoSlice::new(&full)], Deadline::Now)
            .is_ok()
        {}
        let flags = match channel.is_doorbell() {
            true => nix::poll::PollFlags::POLLIN,
            false => nix::poll::PollFlags::POLLOUT,
        };
        match channel.arm_outbound() {
            Ok(Readiness::Armed) => poll(channel.outbound(), flags),
            Ok(Readiness::Ready) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::BrokenPipe),
        }
    });
}

/// Killed in the middle of everything: what arrived is whole and in order, and then it ends.
#[test]
fn a_peer_killed_at_any_step_leaves_a_true_prefix() {
    within(LIMIT, || {
        for kind in kinds() {
            for round in (0..12_u64).step_by(2) {
                let (channel, mut child) = with_child(kind, "count");
                let (mut reader, mut writer) = channel.split().unwrap();
                reader.read_exact(&mut [0]).unwrap();
                let feeder = thread::spawn(move || while writer.write_all(&[7; 3000]).is_ok() {});
                let mut expected = 0_u64;
                let mut number = [0; 8];
                let last = 1 + round * round * 997;
                let mut is_killed = false;
                while reader.read_exact(&mut number).is_ok() {
                    assert_eq!(u64::from_le_bytes(number), expected, "{kind}");
                    expected += 1;
                    if expected == last {
                        child.kill().unwrap();
                        is_killed = true;
                    }
                }
                assert!(
                    is_killed,
                    "{kind}: ended before it was killed, at {expected}"
                );
                assert!(!child.wait().unwrap().success());
                feeder.join().unwrap();
            }
        }
    });
}

#[test]
fn a_port_outlives_clients_that_are_killed() {
    within(LIMIT, || {
        let folder = tempfile::tempdir().unwrap();
        for address in [
            Address::unix(folder.path().join("socket")).unwrap(),
            Address::ring(folder.path().join("ring")).unwrap(),
        ] {
            if matches!(address, Address::Ring(_)) && !HAS_RINGS {
                continue;
            }
            let mut port = Port::bind(&address).unwrap();
            let gone = AnyChannel::connect(&address).unwrap();
            drop(gone);
            let _client = AnyChannel::connect(&address).unwrap();
            // The dead one may still be accepted: then it reads as ended.
            let mut first = port.accept().unwrap();
            assert_eq!(first.read(&mut [0]).unwrap(), 0);
            port.accept().unwrap();
        }
    });
}

// Elsewhere a full queue refuses at once.
#[test]
#[cfg(all(target_os = "linux", not(ipc_portable)))]
fn connecting_to_a_dying_port_is_refused() {
    within(LIMIT, || {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::unix(folder.path().join("socket")).unwrap();
        let port = ipc_core::PortOptions::new()
            .backlog(1)
            .bind(&address)
            .unwrap();
        let mut waiting = Vec::new();
        let error = loop {
            match AnyChannel::connect_timeout(&address, Duration::from_millis(20)) {
                Ok(channel) => waiting.push(channel),
                Err(error) => break error,
            }
        };
        assert_eq!(
            error.kind(),
            ErrorKind::TimedOut,
            "a full queue costs the deadline"
        );
        let blocked = {
            let address = address.clone();
            thread::spawn(move || AnyChannel::connect(&address))
        };
        drop(port);
        assert!(blocked.join().unwrap().is_err());
    });
}

#[test]
fn a_stale_socket_of_a_killed_port_is_replaced() {
    within(LIMIT, || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (mut ours, theirs) = Socket::pair().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["killed::child_with_a_port", "--exact", "--nocapture"]);
        command.env("IPC_TEST_PATH", &path);
        let fd: OwnedFd = theirs.into();
        let mut child = Inherit::new().give(12, fd).spawn(&command).unwrap();
        ours.read_exact(&mut [0]).unwrap();
        let address = Address::unix(&path).unwrap();
        assert_eq!(
            Port::bind(&address).unwrap_err().kind(),
            ErrorKind::AddrInUse
        );
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(path.exists(), "nobody removed it");
        drop(Port::bind(&address).unwrap());
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    });
}

/// Not a test of its own: holds a port until it is killed.
#[test]
fn child_with_a_port() {
    let Ok(fd) = inherited(12) else { return };
    let mut channel = Socket::from_fd(fd).unwrap();
    let path = std::env::var_os("IPC_TEST_PATH").unwrap();
    let _port = Port::bind(&Address::unix(path).unwrap()).unwrap();
    channel.write_all(b"!").unwrap();
    let _ = channel.read(&mut [0]);
}

#[test]
#[cfg(all(target_os = "linux", not(ipc_portable)))]
fn a_ring_offered_to_nobody_ends() {
    let (mut ring, fd) = ipc_core::Ring::offer().unwrap();
    drop(fd);
    within(LIMIT, move || assert_eq!(ring.read(&mut [0]).unwrap(), 0));
}
