//! Typed messages between two processes: the same conversations through a duct.

use std::process::Command;

use bench::record::{RECORD_LEN, Record};
use ipc_core::{AnyChannel, Inherit, Socket, inherited};
use ipc_marshal::Duct;

use crate::Cell;
use crate::drive::{Link, run, serve};
use crate::ipc::{pin, ring_options};
use crate::message::Kind;

/// `feed` names the links that send in batches.
const PEERS: [&str; 5] = [
    "duct-ring",
    "duct-ring-feed",
    "duct-ring-spin",
    "duct-socket",
    "duct-socket-feed",
];

pub(crate) fn list() -> Vec<Cell> {
    let mut cells = Vec::new();
    for case in ["rtt_struct", "stream_struct"] {
        for name in PEERS {
            for place in ["", "@1cpu", "@2cpu"] {
                let batches = name.ends_with("-feed");
                if batches && case == "rtt_struct" || name.ends_with("-spin") && place == "@1cpu" {
                    continue;
                }
                cells.push(Cell {
                    group: "ipc",
                    peer: format!("{name}{place}"),
                    case,
                    size: RECORD_LEN,
                });
            }
        }
    }
    cells
}

fn known(peer: &str, case: &str, size: usize) -> bool {
    list()
        .iter()
        .any(|cell| cell.peer == peer && cell.case == case && cell.size == size)
}

/// Measures the cell, if there is one of this name.
pub(crate) fn cell(peer: &str, case: &str, size: usize, ms: u64) -> bool {
    if !known(peer, case, size) {
        return false;
    }
    pin(peer, 0);
    let mut command = Command::new(std::env::current_exe().expect("this program has a file"));
    command.args(["ipc-child", peer, case, &size.to_string()]);
    let (ours, theirs) = if peer.contains("ring") {
        let (ring, fd) = ring_options(kind(peer)).offer().expect("rings can be made");
        (AnyChannel::from(ring), fd)
    } else {
        let (ours, theirs) = Socket::pair().expect("sockets can be made");
        (ours.into(), theirs.into())
    };
    let mut child = Inherit::new()
        .give(3, theirs)
        .spawn(&command)
        .expect("the second process starts");
    run(&mut Records::new(ours, peer), case, ms);
    let status = child.wait().expect("the second process can be waited for");
    assert!(status.success(), "the second process failed: {status}");
    true
}

/// The second process, if the cell is one of these.
pub(crate) fn child(peer: &str, case: &str, size: usize) -> bool {
    if !known(peer, case, size) {
        return false;
    }
    pin(peer, 1);
    let fd = inherited(3).expect("the first process gave it");
    let channel = if peer.contains("ring") {
        let ring = ring_options(kind(peer)).from_fd(fd).expect("it is a ring");
        AnyChannel::from(ring)
    } else {
        AnyChannel::from_fd(fd).expect("it is a socket")
    };
    serve(&mut Records::new(channel, peer), case);
    true
}

/// How the ring of a duct waits, by the names of the cells of bytes.
fn kind(peer: &str) -> &str {
    if peer.contains("spin") {
        "ring-spin"
    } else {
        "ring"
    }
}

fn record(number: u64, kind: Kind, full: bool) -> Record {
    let mut data = vec![0; 16];
    data[0] = kind as u32 | u32::from(full) << 8;
    if full {
        for (index, word) in data.iter_mut().enumerate().skip(1) {
            *word = (number + index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as u32;
        }
    }
    Record {
        id: number,
        value: number as f64 * 0.5,
        name: "a name of exactly 32 characters.".to_owned(),
        data,
    }
}

fn check(found: &Record) -> (u64, Kind) {
    assert_eq!(found.data.len(), 16, "the words of record {}", found.id);
    let number = found.id;
    assert_eq!(
        found.value,
        number as f64 * 0.5,
        "the value of record {number}"
    );
    let kind = match found.data[0] & 0xff {
        0 => Kind::Data,
        1 => Kind::End,
        2 => Kind::Quit,
        3 => Kind::Count,
        other => panic!("record {number} has kind {other}"),
    };
    if found.data[0] >> 8 == 1 {
        assert_eq!(*found, record(number, kind, true), "all of record {number}");
    } else {
        assert_eq!(found.name.len(), 32, "the name of record {number}");
    }
    (number, kind)
}

struct Records {
    duct: Duct<Record, Record>,
    batches: bool,
}

impl Records {
    fn new(channel: AnyChannel, peer: &str) -> Self {
        Self {
            duct: Duct::from_channel(channel),
            batches: peer.contains("-feed"),
        }
    }
}

impl Link for Records {
    fn size(&self) -> usize {
        RECORD_LEN
    }

    #[inline]
    fn send(&mut self, number: u64, kind: Kind, full: bool) {
        let record = record(number, kind, full);
        if self.batches {
            self.duct.feed(record)
        } else {
            self.duct.send(record)
        }
        .expect("the other process lives");
    }

    fn flush(&mut self) {
        self.duct.flush().expect("the other process lives");
    }

    #[inline]
    fn receive(&mut self) -> (u64, Kind) {
        check(&self.duct.recv().expect("the other process lives"))
    }

    fn echo(&mut self) -> Kind {
        let record = self.duct.recv().expect("the other process lives");
        let (_, kind) = check(&record);
        self.duct.send(record).expect("the other process lives");
        kind
    }
}
