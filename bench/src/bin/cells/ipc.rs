//! Group `ipc`: bytes between two processes, round trips and one way.

use std::hint::black_box;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::{Duration, Instant};

use ipc_core::{AnyChannel, Inherit, Pipe, Port, Ring, RingOptions, Socket, Wait, inherited};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::message::{self, Kind};
use crate::{Cell, emit};

const PEERS: [&str; 6] = ["pipe", "ring", "ring-park", "ring-spin", "socket", "tcp"];
const PINNED: [&str; 5] = ["pipe", "ring", "ring-park", "socket", "tcp"];
const ROUND_TRIP_SIZES: [usize; 4] = [64, 4096, 65536, 1 << 20];
const STREAM_SIZES: [usize; 3] = [64, 65536, 1 << 20];

/// Long enough for the scheduler to settle where the two processes run.
const WARM_UP_MIN: Duration = Duration::from_millis(75);

pub(crate) fn list() -> Vec<Cell> {
    let mut cells = Vec::new();
    let mut add = |peer: String, case, size| {
        cells.push(Cell {
            group: "ipc",
            peer,
            case,
            size,
        })
    };
    for size in ROUND_TRIP_SIZES {
        for peer in PEERS {
            add(peer.to_owned(), "rtt", size);
        }
        for peer in PINNED {
            add(format!("{peer}@1cpu"), "rtt", size);
            add(format!("{peer}@2cpu"), "rtt", size);
        }
    }
    for size in STREAM_SIZES {
        for peer in PEERS {
            add(peer.to_owned(), "stream", size);
        }
    }
    cells
}

/// Holds this process on one processor if the peer's name asks for it.
fn pin(peer: &str, side: usize) {
    let cpu = match peer.split_once('@') {
        Some((_, "1cpu")) => 0,
        Some((_, "2cpu")) => side,
        _ => return,
    };
    let mut set = CpuSet::new();
    set.set(cpu).expect("the first processors can be named");
    sched_setaffinity(Pid::from_raw(0), &set).expect("a process may be pinned");
}

fn ring_options(kind: &str) -> RingOptions {
    let wait = match kind {
        "ring-park" => Wait::Park,
        "ring-spin" => Wait::Spin,
        _ => Wait::Adaptive,
    };
    RingOptions::new().wait(wait)
}

/// Measures the cell, if there is one of this name.
pub(crate) fn cell(peer: &str, case: &str, size: usize, ms: u64) -> bool {
    let known = list()
        .iter()
        .any(|c| c.peer == peer && c.case == case && c.size == size);
    if !known {
        return false;
    }
    pin(peer, 0);
    let kind = peer.split('@').next().unwrap_or(peer);
    let mut command = Command::new(std::env::current_exe().expect("this program has a file"));
    command.args(["ipc-child", peer, case, &size.to_string()]);
    let run = |channel: &mut dyn Peer, inherit: Inherit| {
        let mut child = inherit.spawn(&command).expect("the second process starts");
        channel.run(case, ms);
        let status = child.wait().expect("the second process can be waited for");
        assert!(status.success(), "the second process failed: {status}");
    };
    match kind {
        "pipe" => {
            let (ours, theirs) = Pipe::pair().expect("pipes can be made");
            let (inbound, outbound) = theirs.into_fds();
            let inherit = Inherit::new().give(3, inbound).give(4, outbound);
            run(&mut Bytes::new(ours, size), inherit);
        }
        "socket" => {
            let (ours, theirs) = Socket::pair().expect("sockets can be made");
            run(&mut Bytes::new(ours, size), Inherit::new().give(3, theirs));
        }
        "tcp" => {
            let mut port = Port::bind(&"tcp:127.0.0.1:0".parse().expect("it is an address"))
                .expect("a port can be bound");
            let client = Socket::connect(port.address()).expect("the port listens");
            let AnyChannel::Socket(ours) = port.accept().expect("a client has connected") else {
                panic!("a tcp port accepts sockets");
            };
            run(&mut Bytes::new(ours, size), Inherit::new().give(3, client));
        }
        _ => {
            let (ours, theirs) = ring_options(kind).offer().expect("rings can be made");
            run(&mut Bytes::new(ours, size), Inherit::new().give(3, theirs));
        }
    }
    true
}

/// The second process: echoes, or counts.
pub(crate) fn child(peer: &str, case: &str, size: usize) {
    pin(peer, 1);
    let fd = |number| -> OwnedFd { inherited(number).expect("the first process gave it") };
    match peer.split('@').next().unwrap_or(peer) {
        "pipe" => Bytes::new(Pipe::from_fds(fd(3), fd(4)), size).serve(case),
        "socket" | "tcp" => {
            Bytes::new(Socket::from_fd(fd(3)).expect("it is a socket"), size).serve(case);
        }
        kind => {
            let ring: Ring = ring_options(kind).from_fd(fd(3)).expect("it is a ring");
            Bytes::new(ring, size).serve(case);
        }
    }
}

/// One end of a measured link.
trait Peer {
    fn run(&mut self, case: &str, ms: u64);
    fn serve(&mut self, case: &str);
}

/// Messages of one size over a channel of bytes.
struct Bytes<C> {
    channel: C,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
}

impl<C: Read + Write> Bytes<C> {
    fn new(channel: C, size: usize) -> Self {
        Self {
            channel,
            outgoing: vec![0; size],
            incoming: vec![0; size],
        }
    }

    #[inline]
    fn send(&mut self, number: u64, kind: Kind, full: bool) {
        message::stamp(&mut self.outgoing, number, kind, full);
        self.channel
            .write_all(&self.outgoing)
            .expect("the other process lives");
    }

    #[inline]
    fn receive(&mut self) -> (u64, Kind) {
        self.channel
            .read_exact(&mut self.incoming)
            .expect("the other process lives");
        message::check(&self.incoming)
    }

    #[inline]
    fn round_trip(&mut self, number: u64, kind: Kind, full: bool) {
        self.send(number, kind, full);
        assert_eq!(
            self.receive(),
            (number, kind),
            "the echo of message {number}"
        );
    }

    fn round_trips(&mut self, warm_up: Duration, run: Duration) {
        let mut number = 0;
        let start = Instant::now();
        while start.elapsed() < warm_up || number < 20 {
            self.round_trip(number, Kind::Data, true);
            number += 1;
        }
        let mut samples: Vec<u64> = Vec::with_capacity(1 << 22);
        // Touched now: a page fault is not part of a round trip.
        samples.resize(1 << 22, 1);
        black_box(&mut samples).clear();
        let start = Instant::now();
        let mut before = start;
        loop {
            self.round_trip(number, Kind::Data, false);
            let now = Instant::now();
            samples.push((now - before).as_nanos() as u64);
            before = now;
            number += 1;
            if now - start > run && samples.len() >= 100 {
                break;
            }
        }
        self.round_trip(number, Kind::Quit, false);
        samples.sort_unstable();
        let percentile = |p: usize| samples[(samples.len() - 1) * p / 100] as f64 / 1e3;
        emit("rtt_us_p50", percentile(50));
        emit("rtt_us_p99", percentile(99));
    }

    fn stream(&mut self, warm_up: Duration, run: Duration) {
        // A look at the clock costs as much as a small message.
        let size = self.outgoing.len();
        let messages_per_look = if size <= 4096 { 64 } else { 1 };
        for (full, time) in [(true, warm_up), (false, run)] {
            let start = Instant::now();
            let mut number = 0;
            loop {
                self.send(number, Kind::Data, full);
                number += 1;
                if number % messages_per_look == 0 && start.elapsed() >= time {
                    break;
                }
            }
            self.send(number, Kind::End, full);
            assert_eq!(
                self.receive(),
                (number, Kind::Count),
                "every message was counted"
            );
            let rate = number as f64 / start.elapsed().as_secs_f64();
            if !full {
                emit("msgs_per_s", rate);
                emit("MiB_per_s", rate * size as f64 / f64::from(1 << 20));
            }
        }
        self.send(0, Kind::Quit, false);
    }

    fn echo(&mut self) {
        loop {
            let (_, kind) = self.receive();
            self.channel
                .write_all(&self.incoming)
                .expect("the other process lives");
            if kind == Kind::Quit {
                return;
            }
        }
    }

    fn count(&mut self) {
        let mut expected = 0;
        loop {
            let (number, kind) = self.receive();
            match kind {
                Kind::Data => {
                    assert_eq!(number, expected, "the order of messages");
                    expected += 1;
                }
                Kind::End => {
                    assert_eq!(number, expected, "the number of messages");
                    self.send(expected, Kind::Count, false);
                    expected = 0;
                }
                Kind::Quit => return,
                Kind::Count => panic!("a count came to the side that counts"),
            }
        }
    }
}

impl<C: Read + Write> Peer for Bytes<C> {
    fn run(&mut self, case: &str, ms: u64) {
        let warm_up = Duration::from_millis(ms / 4).max(WARM_UP_MIN);
        let run = Duration::from_millis(ms);
        if case == "rtt" {
            self.round_trips(warm_up, run)
        } else {
            self.stream(warm_up, run)
        }
    }

    fn serve(&mut self, case: &str) {
        if case == "rtt" {
            self.echo()
        } else {
            self.count()
        }
    }
}
