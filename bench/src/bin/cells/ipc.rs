//! Group `ipc`: bytes between two processes, round trips and one way.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Command;

use ipc_core::{AnyChannel, Inherit, Pipe, Port, Ring, RingOptions, Socket, Wait, inherited};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::Cell;
use crate::drive::{Link, run, serve};
use crate::in_place::{self, InPlace};
use crate::message::{self, Kind};

const PEERS: [&str; 7] = [
    "pipe",
    "ring",
    "ring-inplace",
    "ring-park",
    "ring-spin",
    "socket",
    "tcp",
];
const PINNED: [&str; 5] = ["pipe", "ring", "ring-park", "socket", "tcp"];
const ROUND_TRIP_SIZES: [usize; 4] = [64, 4096, 65536, 1 << 20];
const STREAM_SIZES: [usize; 3] = [64, 65536, 1 << 20];

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
pub(crate) fn pin(peer: &str, side: usize) {
    let cpu = match peer.split_once('@') {
        Some((_, "1cpu")) => 0,
        Some((_, "2cpu")) => side,
        _ => return,
    };
    let mut set = CpuSet::new();
    set.set(cpu).expect("the first processors can be named");
    sched_setaffinity(Pid::from_raw(0), &set).expect("a process may be pinned");
}

pub(crate) fn ring_options(kind: &str) -> RingOptions {
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
    let start = |inherit: Inherit| inherit.spawn(&command).expect("the second process starts");
    let mut child = match kind {
        "pipe" => {
            let (ours, theirs) = Pipe::pair().expect("pipes can be made");
            let (inbound, outbound) = theirs.into_fds();
            let inherit = Inherit::new().give(3, inbound).give(4, outbound);
            let child = start(inherit);
            run(&mut Bytes::new(ours, size), case, ms);
            child
        }
        "socket" => {
            let (ours, theirs) = Socket::pair().expect("sockets can be made");
            let child = start(Inherit::new().give(3, theirs));
            run(&mut Bytes::new(ours, size), case, ms);
            child
        }
        "tcp" => {
            let mut port = Port::bind(&"tcp:127.0.0.1:0".parse().expect("it is an address"))
                .expect("a port can be bound");
            let client = Socket::connect(port.address()).expect("the port listens");
            let AnyChannel::Socket(ours) = port.accept().expect("a client has connected") else {
                panic!("a tcp port accepts sockets");
            };
            let child = start(Inherit::new().give(3, client));
            run(&mut Bytes::new(ours, size), case, ms);
            child
        }
        "ring-inplace" => {
            let options = ring_options(kind).capacity(in_place::capacity(size));
            let (ours, theirs) = options.offer().expect("rings can be made");
            let child = start(Inherit::new().give(3, theirs));
            run(&mut InPlace::new(ours, size), case, ms);
            child
        }
        _ => {
            let (ours, theirs) = ring_options(kind).offer().expect("rings can be made");
            let child = start(Inherit::new().give(3, theirs));
            run(&mut Bytes::new(ours, size), case, ms);
            child
        }
    };
    let status = child.wait().expect("the second process can be waited for");
    assert!(status.success(), "the second process failed: {status}");
    true
}

/// The second process: echoes, or counts.
pub(crate) fn child(peer: &str, case: &str, size: usize) {
    pin(peer, 1);
    let fd = |number| -> OwnedFd { inherited(number).expect("the first process gave it") };
    match peer.split('@').next().unwrap_or(peer) {
        "pipe" => serve(
            &mut Bytes::of_child(Pipe::from_fds(fd(3), fd(4)), size),
            case,
        ),
        "socket" | "tcp" => {
            let socket = Socket::from_fd(fd(3)).expect("it is a socket");
            serve(&mut Bytes::of_child(socket, size), case);
        }
        kind => {
            let ring: Ring = ring_options(kind).from_fd(fd(3)).expect("it is a ring");
            if kind == "ring-inplace" {
                return serve(&mut InPlace::new(ring, size), case);
            }
            serve(&mut Bytes::of_child(ring, size), case);
        }
    }
}

/// Messages of one size over a channel of bytes.
struct Bytes<C> {
    channel: C,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    /// How many more echoes are true.
    true_echoes: Option<u64>,
}

impl<C: Read + Write> Bytes<C> {
    fn new(channel: C, size: usize) -> Self {
        Self {
            channel,
            outgoing: vec![0; size],
            incoming: vec![0; size],
            true_echoes: None,
        }
    }

    /// Damages an echo if the environment says which: the proof that damage gives no number.
    fn of_child(channel: C, size: usize) -> Self {
        let mut bytes = Self::new(channel, size);
        let which = std::env::var("CELLS_DAMAGED_ECHO").ok();
        bytes.true_echoes = which.and_then(|which| which.parse().ok());
        bytes
    }
}

impl<C: Read + Write> Link for Bytes<C> {
    fn size(&self) -> usize {
        self.outgoing.len()
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

    fn echo(&mut self) -> Kind {
        let (_, kind) = self.receive();
        if let Some(left) = &mut self.true_echoes {
            *left = left.wrapping_sub(1);
            if *left == 0 {
                *self.incoming.last_mut().expect("messages have bytes") ^= 1;
            }
        }
        self.channel
            .write_all(&self.incoming)
            .expect("the other process lives");
        kind
    }
}
