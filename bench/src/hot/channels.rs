//! Bytes between the two ends of a channel within one thread: nobody ever waits.

use std::hint::black_box;
use std::io::{Read, Write};

use ipc_core::{Channel, Deadline, Inbound, Pipe, Readiness, Ring, RingOptions, Socket};

use super::Hot;

fn ring(len: usize) -> (Ring, Ring) {
    RingOptions::new()
        .capacity(4 * len)
        .pair()
        .expect("memory and descriptors are to be had")
}

fn round(mut near: impl Write + 'static, mut far: impl Read + 'static, len: usize) -> Hot {
    let message = vec![7; len];
    let mut buf = vec![0; len];
    Hot::new(move || {
        near.write_all(black_box(&message))
            .expect("the other end is open");
        far.read_exact(black_box(&mut buf))
            .expect("as much was written");
    })
}

/// Pushes a message of `len` bytes into a ring and pops it.
pub fn ring_push_pop(len: usize) -> Hot {
    let (near, far) = ring(len);
    round(near, far, len)
}

/// The same, written in place and committed.
pub fn ring_reserve_pop(len: usize) -> Hot {
    let (near, mut far) = ring(len);
    let (_reader, mut writer) = near.split().expect("rings can be split");
    let message = vec![7; len];
    let mut buf = vec![0; len];
    Hot::new(move || {
        let mut place = writer
            .reserve(len, Deadline::Never)
            .expect("the other end is open");
        place.put(black_box(&message));
        place.commit();
        far.read_exact(black_box(&mut buf))
            .expect("as much was written");
    })
}

/// Says that the reader is about to sleep, and finds the ring empty.
pub fn ring_arm() -> Hot {
    let (mut near, far) = ring(4096);
    Hot::new(move || {
        let readiness = near.arm_inbound().expect("the other end is open");
        assert_eq!(black_box(readiness), Readiness::Armed);
        black_box(&far);
    })
}

/// Writes a message of `len` bytes into a pipe and reads it.
pub fn pipe_round(len: usize) -> Hot {
    let (near, far) = Pipe::pair().expect("descriptors are to be had");
    round(near, far, len)
}

/// Writes a message of `len` bytes into a unix socket and reads it.
pub fn socket_round(len: usize) -> Hot {
    let (near, far) = Socket::pair().expect("descriptors are to be had");
    round(near, far, len)
}
