//! What the steady state costs, and what is left behind: allocations, system calls, processor time,
//! descriptors, mappings, files. A binary of its own, because its tests count for the whole process
//! and run one after the other.

#![cfg(all(target_os = "linux", not(ipc_portable)))]
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use ipc_core::{
    Address, AnyChannel, Channel, Deadline, Inbound, Outbound, Pipe, Port, Ring, RingOptions,
    Socket, UnixName, Wait, descriptors,
};
use nix::sys::socket::{setsockopt, sockopt};
use nix::time::{ClockId, clock_gettime};

/// Held by every test.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn every_kind() -> Vec<(&'static str, AnyChannel, AnyChannel)> {
    let (pipe, other_pipe) = Pipe::pair().unwrap();
    let (socket, other_socket) = Socket::pair().unwrap();
    let (ring, other_ring) = Ring::pair().unwrap();
    let (park, other_park) = RingOptions::new().wait(Wait::Park).pair().unwrap();
    let mut port = Port::bind(&Address::tcp("127.0.0.1", 0).unwrap()).unwrap();
    let tcp = AnyChannel::connect(port.address()).unwrap();
    vec![
        ("pipe", pipe.into(), other_pipe.into()),
        ("socket", socket.into(), other_socket.into()),
        ("ring", ring.into(), other_ring.into()),
        ("ring-park", park.into(), other_park.into()),
        ("tcp", tcp, port.accept().unwrap()),
    ]
}

#[test]
fn messages_cost_no_allocation() {
    let _alone = alone();
    for (kind, mut a, mut b) in every_kind() {
        let echo = thread::spawn(move || {
            let mut buf = [0; 1000];
            while b.read_exact(&mut buf).is_ok() {
                b.write_all(&buf).unwrap();
            }
        });
        let mut buf = [0; 1000];
        let mut round_trips = |count| {
            for _ in 0..count {
                let half = IoSlice::new(&[7; 500]);
                let mut n = a.write_deadline(&[half, half], Deadline::Never).unwrap();
                while n < 1000 {
                    n += a.write(&buf[n..]).unwrap();
                }
                a.read_exact(&mut buf).unwrap();
                let empty = a.read_deadline(&mut buf, Deadline::Now).unwrap_err();
                assert_eq!(empty.kind(), ErrorKind::WouldBlock);
            }
        };
        round_trips(10);
        let counted = measure(|| round_trips(1000));
        assert_eq!(
            counted.count_total, 0,
            "allocations in 1000 round trips over a {kind}"
        );
        drop(a);
        echo.join().unwrap();
    }
}

#[test]
fn messages_to_a_running_peer_cost_no_system_call() {
    let _alone = alone();
    // Spinning sides, so that both run whenever the system lets them.
    let (mut a, mut b) = RingOptions::new().wait(Wait::Spin).pair().unwrap();
    let other_is_lucky = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&other_is_lucky);
    let echo = thread::spawn(move || {
        let mut buf = [0; 64];
        loop {
            let before = system_calls(&mut b);
            for _ in 0..BATCH_LEN {
                if b.read_exact(&mut buf).is_err() {
                    return;
                }
                b.write_all(&buf).unwrap();
            }
            if system_calls(&mut b) == before {
                told.store(true, Ordering::Relaxed);
            }
        }
    });
    // On a busy machine either side may be taken off its processor, so not every batch is lucky.
    let give_up = Instant::now() + Duration::from_secs(60);
    let mut is_lucky = false;
    while !is_lucky || !other_is_lucky.load(Ordering::Relaxed) {
        assert!(
            Instant::now() < give_up,
            "no batch of either side was without system calls"
        );
        let before = system_calls(&mut a);
        let mut buf = [1; 64];
        for _ in 0..BATCH_LEN {
            a.write_all(&buf).unwrap();
            a.read_exact(&mut buf).unwrap();
        }
        is_lucky |= system_calls(&mut a) == before;
    }
    drop(a);
    echo.join().unwrap();
}

/// Round trips in a row that are looked at together.
const BATCH_LEN: usize = 50;

fn system_calls(ring: &mut Ring) -> u64 {
    ring.reader().stats().system_calls + ring.writer().stats().system_calls
}

#[test]
fn waiting_costs_no_processor_time() {
    let _alone = alone();
    for (kind, mut a, _b) in every_kind() {
        let cpu = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
        let before = cpu();
        let soon = Deadline::after(Duration::from_millis(300));
        assert_eq!(
            a.read_deadline(&mut [0], soon).unwrap_err().kind(),
            ErrorKind::TimedOut
        );
        let spent = cpu() - before;
        assert!(
            spent < Duration::from_millis(3),
            "{kind}: {spent:?} in 300 ms"
        );
    }
}

/// Opens and closes `count` times, and checks that nothing is left.
fn check_residue(kind: &str, count: usize, mut cycle: impl FnMut()) {
    let mappings = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().filter(|line| line.contains("memfd:")).count()
    };
    cycle();
    let (fds, maps) = (descriptors().unwrap(), mappings());
    for _ in 0..count {
        cycle();
    }
    assert_eq!(descriptors().unwrap(), fds, "descriptors left by {kind}");
    assert_eq!(mappings(), maps, "mappings left by {kind}");
}

#[test]
fn nothing_is_left_of_ten_thousand_channels() {
    let _alone = alone();
    let ping = |mut a: AnyChannel, mut b: AnyChannel| {
        a.write_all(b"x").unwrap();
        b.read_exact(&mut [0]).unwrap();
    };
    check_residue("pipes", 10_000, || {
        let (a, b) = Pipe::pair().unwrap();
        ping(a.into(), b.into());
    });
    check_residue("sockets", 10_000, || {
        let (a, b) = Socket::pair().unwrap();
        let (a_reader, a_writer) = a.split().unwrap();
        drop((a_writer, b, a_reader));
    });
    check_residue("rings", 10_000, || {
        let (a, b) = RingOptions::new().capacity(4096).pair().unwrap();
        ping(a.into(), b.into());
    });
    check_residue("offers", 10_000, || {
        drop(RingOptions::new().capacity(4096).offer().unwrap());
    });
    let folder = tempfile::tempdir().unwrap();
    let name = format!("ipc-core-steady-{}", std::process::id());
    for address in [
        Address::unix(folder.path().join("socket")).unwrap(),
        Address::Unix(UnixName::abstract_name(&name).unwrap()),
        Address::ring(folder.path().join("ring")).unwrap(),
        Address::Ring(UnixName::abstract_name(&name).unwrap()),
        Address::tcp("127.0.0.1", 0).unwrap(),
        Address::tcp("::1", 0).unwrap(),
    ] {
        check_residue(&address.to_string(), 10_000, || {
            let mut port = Port::bind(&address).unwrap();
            let a = AnyChannel::connect(port.address()).unwrap();
            let b = port.accept().unwrap();
            if matches!(address, Address::Tcp(_)) {
                forget_when_closed(&a);
            }
            ping(a, b);
        });
    }
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "files left");
}

/// Makes closing reset the connection, so that the system does not keep its port for a minute: there
/// are not ten thousand to spare.
fn forget_when_closed(channel: &AnyChannel) {
    let at_once = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&channel.inbound(), sockopt::Linger, &at_once).unwrap();
}
