//! In the steady state messages cost no allocation.

use allocation_counter::measure;
use ipc_core::{AnyChannel, Deadline, Pipe, Ring, Socket};
use ipc_marshal::{Duct, DuctOptions, Framing};
use serde::{Deserialize, Serialize};

/// Nothing in it is on the heap.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    station: u32,
    celsius: f64,
    at: (u64, u32),
    kind: Option<char>,
}

const READING: Reading = Reading {
    station: 7,
    celsius: -3.5,
    at: (1 << 40, 500),
    kind: Some('é'),
};

fn kinds() -> Vec<(AnyChannel, AnyChannel)> {
    let (socket, other_socket) = Socket::pair().unwrap();
    let (pipe, other_pipe) = Pipe::pair().unwrap();
    let mut kinds = vec![
        (socket.into(), other_socket.into()),
        (pipe.into(), other_pipe.into()),
    ];
    if let Ok((ring, other_ring)) = Ring::pair() {
        kinds.push((ring.into(), other_ring.into()));
    }
    kinds
}

#[track_caller]
fn none(what: &str, work: impl FnOnce()) {
    let info = measure(work);
    assert_eq!(info.count_total, 0, "{what}: {info:?}");
}

#[test]
fn messages_cost_no_allocation() {
    for (ours, theirs) in kinds() {
        let name = format!("{ours:?}");
        let mut ours = Duct::<Reading, ()>::from_channel(ours);
        let mut theirs = Duct::<(), Reading>::from_channel(theirs);
        let mut rounds = |count| {
            for _ in 0..count {
                ours.send(READING).unwrap();
                ours.try_send(READING).unwrap();
                ours.feed(READING).unwrap();
                ours.feed(READING).unwrap();
                ours.flush().unwrap();
                for _ in 0..4 {
                    assert_eq!(theirs.recv().unwrap(), READING);
                }
                assert!(theirs.try_recv().is_err());
            }
        };
        rounds(10);
        none(&name, || rounds(1000));
    }
}

#[test]
fn split_halves_and_long_payloads_cost_no_allocation() {
    for (ours, theirs) in kinds() {
        let name = format!("{ours:?}");
        let options = DuctOptions::new().framing(Framing::Multiprocessing);
        let ours: Duct<Reading, (), _> = options.clone().from_channel(ours);
        let theirs: Duct<(), Reading, _> = options.from_channel(theirs);
        let (sender, _receiver) = ours.split().unwrap();
        let (_sender, mut receiver) = theirs.split().unwrap();
        let payload = vec![7; 20_000];
        let mut rounds = |count| {
            for _ in 0..count {
                sender.send(READING).unwrap();
                sender.send_bytes(&payload, Deadline::Never).unwrap();
                assert_eq!(receiver.recv().unwrap(), READING);
                let equal = receiver.recv_with(Deadline::Never, |m| m.bytes() == payload);
                assert!(equal.unwrap());
            }
        };
        rounds(10);
        none(&name, || rounds(1000));
    }
}
