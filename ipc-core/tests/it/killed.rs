//! Peers that are killed while this side waits for them.

use std::io::{ErrorKind, Read, Write};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::{
    Address, AnyChannel, Channel, ChildProcess, Deadline, Inbound, Inherit, Outbound, Pipe, Port,
    Readiness, RingOptions, Socket, Wait, inherited,
};

use crate::support::{HAS_RINGS, LIMIT, address, kill_after, poll, punctual, within};

/// Every kind of channel: by how the other process comes to it.
fn kinds() -> impl Iterator<Item = &'static str> {
    let inherited = ["pipe", "ring", "ring-park", "ring-spin", "socket", "tcp"];
    let connected = [
        "unix:PATH",
        "unix:@",
        "ring:PATH",
        "ring:@",
        "tcp:v4",
        "tcp:v6",
    ];
    inherited
        .into_iter()
        .chain(connected)
        .filter(|kind| HAS_RINGS || !(kind.starts_with("ring") || kind.ends_with('@')))
}

/// A channel of this kind, and its other end in a process that does `job`.
fn with_child(kind: &str, job: &str) -> (AnyChannel, ChildProcess) {
    if kind.contains(':') {
        return with_client(kind, job);
    }
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

/// The same for a process that connects to a port of this one.
fn with_client(kind: &str, job: &str) -> (AnyChannel, ChildProcess) {
    let folder = tempfile::tempdir().unwrap();
    let mut port = Port::bind(&address(kind, folder.path())).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["killed::child", "--exact", "--nocapture"])
        .env("IPC_TEST_ADDRESS", port.address().to_string())
        .env("IPC_TEST_JOB", job);
    let child = Inherit::new().spawn(&command).unwrap();
    let channel = port.accept_timeout(Duration::from_secs(20)).unwrap();
    (channel, child)
}

/// Not a test of its own: the child of the others.
#[test]
fn child() {
    let mut channel: AnyChannel = match (inherited(10), inherited(11)) {
        (Ok(inbound), Ok(outbound)) => Pipe::from_fds(inbound, outbound).into(),
        (Ok(fd), Err(_)) => AnyChannel::from_fd(fd).unwrap(),
        (Err(_), _) => match std::env::var("IPC_TEST_ADDRESS") {
            Ok(address) => AnyChannel::connect(&address.parse().unwrap()).unwrap(),
            Err(_) => return,
        },
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
            for pause in [0, 5, 60] {
                let what = format!("noticing that the peer of a {kind} is dead, after {pause} ms");
                punctual(&what, || {
                    let (mut channel, mut child) = with_child(kind, "idle");
                    channel.read_exact(&mut [0]).unwrap();
                    let killer = kill_after(Duration::from_millis(pause), move || {
                        child.kill().unwrap();
                        let killed = Instant::now();
                        assert!(!child.wait().unwrap().success());
                        killed
                    });
                    blocked(&mut channel);
                    let noticed = Instant::now();
                    noticed.saturating_duration_since(killer.join().unwrap())
                });
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
#[cfg(all(target_os = "linux", not(ipc_portable)))]
fn a_ring_offered_to_nobody_ends() {
    let (mut ring, fd) = ipc_core::Ring::offer().unwrap();
    drop(fd);
    within(LIMIT, move || assert_eq!(ring.read(&mut [0]).unwrap(), 0));
}
