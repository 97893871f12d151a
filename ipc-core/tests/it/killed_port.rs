//! Processes that are killed on either side of a port: before, while and after they connect.

use std::io::{ErrorKind, Read, Write};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::{Address, AnyChannel, ChildProcess, Inherit, Port, PortOptions, Socket, inherited};

use crate::support::{HAS_RINGS, LIMIT, TOLERANCE, address, kill_after, punctual, within};

fn kinds() -> impl Iterator<Item = &'static str> {
    let kinds = [
        "unix:PATH",
        "unix:@",
        "ring:PATH",
        "ring:@",
        "tcp:v4",
        "tcp:v6",
    ];
    kinds
        .into_iter()
        .filter(|kind| HAS_RINGS || !(kind.starts_with("ring") || kind.ends_with('@')))
}

/// A process that has done `job` with the port at `address` and now waits to be killed.
struct Victim {
    child: ChildProcess,
    /// The address it really has.
    address: Address,
    _control: Socket,
}

impl Victim {
    fn start(job: &str, address: &Address) -> Self {
        let (mut control, theirs) = Socket::pair().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["killed_port::child", "--exact", "--nocapture"])
            .env("IPC_TEST_ADDRESS", address.to_string())
            .env("IPC_TEST_JOB", job);
        let child = Inherit::new().give(12, theirs).spawn(&command).unwrap();
        let mut told = Vec::new();
        let mut byte = [0];
        while control.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
            told.push(byte[0]);
        }
        Self {
            child,
            address: String::from_utf8(told).unwrap().parse().unwrap(),
            _control: control,
        }
    }

    /// Kills it with SIGKILL and answers when.
    fn kill(mut self) -> Instant {
        self.child.kill().unwrap();
        let killed = Instant::now();
        assert!(!self.child.wait().unwrap().success());
        killed
    }
}

/// Not a test of its own: the child of the others.
#[test]
fn child() {
    let Ok(fd) = inherited(12) else { return };
    let mut control = Socket::from_fd(fd).unwrap();
    let address: Address = std::env::var("IPC_TEST_ADDRESS").unwrap().parse().unwrap();
    let mut tell = |address: &Address| writeln!(control, "{address}").unwrap();
    let (mut port, mut client, mut silent) = (None, None, None);
    match std::env::var("IPC_TEST_JOB").unwrap().as_str() {
        "nothing" => tell(&address),
        "port" => {
            let bound = PortOptions::new().backlog(1).bind(&address).unwrap();
            tell(bound.address());
            port = Some(bound);
        }
        "client" => {
            client = Some(AnyChannel::connect(&address).unwrap());
            tell(&address);
        }
        "silent" => {
            silent = Some(connect_and_say_nothing(&address));
            tell(&address);
        }
        job => panic!("no job {job}"),
    }
    // Until it is killed, or its parent is gone.
    let _ = control.read(&mut [0]);
    drop((port, client, silent));
}

/// Connects without what a client has to say: to a ring's port, for a ring is offered.
fn connect_and_say_nothing(address: &Address) -> Box<dyn std::fmt::Debug> {
    use nix::sys::socket;
    let (Address::Ring(name), true) = (address, HAS_RINGS) else {
        return Box::new(AnyChannel::connect(address).unwrap());
    };
    let fd = socket::socket(
        socket::AddressFamily::Unix,
        socket::SockType::SeqPacket,
        socket::SockFlag::empty(),
        None,
    )
    .unwrap();
    let path = name.as_path().expect("the test uses a path");
    let name = socket::UnixAddr::new(path).unwrap();
    socket::connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &name).unwrap();
    Box::new(fd)
}

#[track_caller]
fn assert_ended(kind: &str, channel: &mut AnyChannel) {
    match channel.read(&mut [0]) {
        Ok(n) => assert_eq!(n, 0, "{kind}"),
        Err(error) => assert_eq!(
            error.kind(),
            ErrorKind::ConnectionReset,
            "{kind}: tcp may say so"
        ),
    }
}

#[test]
fn a_client_that_was_killed_in_the_queue_is_accepted_and_ended() {
    within(LIMIT, || {
        let folder = tempfile::tempdir().unwrap();
        for kind in kinds() {
            let mut port = Port::bind(&address(kind, folder.path())).unwrap();
            Victim::start("client", port.address()).kill();
            let _alive = AnyChannel::connect(port.address()).unwrap();
            assert_ended(kind, &mut port.accept().unwrap());
            port.accept().unwrap();
        }
    });
}

/// Killed before it connects, after it connected, and before it has said what it has to say.
#[test]
fn a_port_blocked_in_accept_outlives_clients_that_are_killed() {
    within(LIMIT, || {
        let folder = tempfile::tempdir().unwrap();
        for kind in kinds() {
            for job in ["nothing", "client", "silent"] {
                if job == "silent" && kind == "ring:@" {
                    continue;
                }
                let mut port = Port::bind(&address(kind, folder.path())).unwrap();
                let address = port.address().clone();
                let acceptor = thread::spawn(move || {
                    // The killed one may be told first, as ended.
                    let mut accepted = 0;
                    loop {
                        let mut channel = port.accept().unwrap();
                        accepted += 1;
                        let mut byte = [0];
                        if matches!(channel.read(&mut byte), Ok(1)) {
                            return accepted;
                        }
                    }
                });
                Victim::start(job, &address).kill();
                assert!(!acceptor.is_finished(), "{kind}: ended by a killed client");
                punctual("accepting after a client was killed", || {
                    let start = Instant::now();
                    let mut alive = AnyChannel::connect(&address).unwrap();
                    alive.write_all(b"!").unwrap();
                    while !acceptor.is_finished() && start.elapsed() < TOLERANCE {
                        thread::yield_now();
                    }
                    start.elapsed()
                });
                let accepted = acceptor.join().unwrap();
                assert!((1..=7).contains(&accepted), "{kind}, {job}: {accepted}");
            }
        }
    });
}

/// Connected to a port whose process never accepts, and then dies.
#[test]
fn a_channel_that_was_never_accepted_ends_with_the_port() {
    within(LIMIT, || {
        let folder = tempfile::tempdir().unwrap();
        for kind in kinds() {
            for pause in [0, 30] {
                punctual(&format!("the end of a {kind} that nobody accepted"), || {
                    let victim = Victim::start("port", &address(kind, folder.path()));
                    let mut reading = AnyChannel::connect(&victim.address).unwrap();
                    let mut writing = AnyChannel::connect(&victim.address).unwrap();
                    let killer = kill_after(Duration::from_millis(pause), move || victim.kill());
                    let writer = thread::spawn(move || {
                        let error = loop {
                            if let Err(error) = writing.write_all(&[0; 1 << 16]) {
                                break error;
                            }
                        };
                        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
                        Instant::now()
                    });
                    assert_ended(kind, &mut reading);
                    let noticed = Instant::now().max(writer.join().unwrap());
                    noticed.saturating_duration_since(killer.join().unwrap())
                });
            }
        }
    });
}

/// How long TCP may take to ask again whether a port has room.
#[cfg(all(target_os = "linux", not(ipc_portable)))]
const TCP_ASKS_AGAIN: Duration = Duration::from_secs(3);

// Elsewhere a full queue refuses at once.
#[test]
#[cfg(all(target_os = "linux", not(ipc_portable)))]
fn connecting_ends_when_a_full_port_is_killed() {
    within(LIMIT, || {
        let folder = tempfile::tempdir().unwrap();
        for kind in kinds() {
            punctual(
                &format!("connecting to a {kind} whose port is killed"),
                || {
                    let victim = Victim::start("port", &address(kind, folder.path()));
                    let mut waiting = Vec::new();
                    let error = loop {
                        let short = Duration::from_millis(20);
                        match AnyChannel::connect_timeout(&victim.address, short) {
                            Ok(channel) => waiting.push(channel),
                            Err(error) => break error,
                        }
                    };
                    assert_eq!(error.kind(), ErrorKind::TimedOut, "{kind}: a full queue");
                    let blocked = [None, Some(Duration::from_secs(60))].map(|timeout| {
                        let address = victim.address.clone();
                        thread::spawn(move || {
                            let result = match timeout {
                                None => AnyChannel::connect(&address),
                                Some(timeout) => AnyChannel::connect_timeout(&address, timeout),
                            };
                            let error = result.unwrap_err();
                            assert_ne!(error.kind(), ErrorKind::TimedOut);
                            Instant::now()
                        })
                    });
                    let killed = kill_after(Duration::from_millis(10), move || victim.kill());
                    let noticed = blocked.map(|thread| thread.join().unwrap());
                    let killed = killed.join().unwrap();
                    let took = noticed.map(|noticed| noticed.saturating_duration_since(killed));
                    let took = took.into_iter().max().expect("there are two");
                    if kind.starts_with("tcp") {
                        took.saturating_sub(TCP_ASKS_AGAIN)
                    } else {
                        took
                    }
                },
            );
        }
    });
}

/// The handshake of a ring: the other process holds its end and offers nothing.
#[test]
#[cfg(all(target_os = "linux", not(ipc_portable)))]
fn joining_a_ring_ends_when_the_other_process_is_killed() {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    within(LIMIT, || {
        for pause in [0, 5, 60] {
            punctual("joining what is never offered", || {
                let (ours, theirs) = socketpair(
                    AddressFamily::Unix,
                    SockType::SeqPacket,
                    None,
                    SockFlag::SOCK_CLOEXEC,
                )
                .unwrap();
                let mut command = Command::new("sh");
                command.args(["-c", "exec cat >&2"]);
                let (control, stdin) = Socket::pair().unwrap();
                let inherit = Inherit::new().give(0, stdin).give(10, theirs);
                let mut child = inherit.spawn(&command).unwrap();
                let killer = kill_after(Duration::from_millis(pause), move || {
                    child.kill().unwrap();
                    let killed = Instant::now();
                    assert!(!child.wait().unwrap().success());
                    killed
                });
                let error = ipc_core::Ring::from_fd(ours).unwrap_err();
                let noticed = Instant::now();
                assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
                drop(control);
                noticed.saturating_duration_since(killer.join().unwrap())
            });
        }
    });
}

#[test]
fn a_stale_socket_of_a_killed_port_is_replaced() {
    within(LIMIT, || {
        let folder = tempfile::tempdir().unwrap();
        for kind in ["unix:PATH", "ring:PATH"] {
            if kind == "ring:PATH" && !HAS_RINGS {
                continue;
            }
            let victim = Victim::start("port", &address(kind, folder.path()));
            let address = victim.address.clone();
            let error = Port::bind(&address).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AddrInUse);
            victim.kill();
            let path = address.unix_name().unwrap().as_path().unwrap();
            assert!(path.exists(), "nobody removed it");
            drop(Port::bind(&address).unwrap());
            assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        }
    });
}
