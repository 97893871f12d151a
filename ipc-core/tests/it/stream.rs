//! The conformance suite, second part: bulk, concurrency and interruptions.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use ipc_core::{AnyChannel, Channel, Deadline, Inbound, Outbound};

use crate::support::{poll, takes};
use crate::transfer::every_kind;

/// The most that a test sends.
const STREAM_LEN: usize = 64 << 20;

/// The `len` bytes from `from` on of every test's stream.
fn bytes(from: usize, len: usize) -> &'static [u8] {
    static STREAM: OnceLock<Vec<u8>> = OnceLock::new();
    let byte = |index: usize| (index.wrapping_mul(0x9e37_79b9) >> 13) as u8;
    &STREAM.get_or_init(|| (0..STREAM_LEN).map(byte).collect())[from..from + len]
}

#[track_caller]
fn assert_bytes(found: &[u8], from: usize) {
    let expected = bytes(from, found.len());
    if found != expected {
        let bad = found
            .iter()
            .zip(expected)
            .position(|(found, expected)| found != expected);
        panic!("wrong byte at {bad:?} of {} from {from} on", found.len());
    }
}

fn send(channel: &mut impl Write, len: usize) {
    channel.write_all(bytes(0, len)).unwrap();
}

fn receive(channel: &mut impl Read, len: usize) {
    let mut buf = vec![0; len];
    channel.read_exact(&mut buf).unwrap();
    assert_bytes(&buf, 0);
}

#[test]
fn messages_from_one_byte_to_64_mib_arrive_whole() {
    every_kind(|mut a, mut b| {
        let sizes = [1, 63, 64, 65, 4095, 4096, 65_537, 1 << 20, 64 << 20];
        let sender = thread::spawn(move || {
            for size in sizes {
                send(&mut a, size);
                receive(&mut a, 1);
            }
        });
        for size in sizes {
            receive(&mut b, size);
            send(&mut b, 1);
        }
        sender.join().unwrap();
    });
}

#[test]
fn both_directions_at_once_do_not_deadlock() {
    every_kind(|a, b| {
        let len = 8 << 20;
        let mut threads = Vec::new();
        for channel in [a, b] {
            let (mut reader, mut writer) = channel.split().unwrap();
            threads.push(thread::spawn(move || send(&mut writer, len)));
            threads.push(thread::spawn(move || {
                receive(&mut reader, len);
                assert_eq!(reader.read(&mut [0]).unwrap(), 0, "the end after the bytes");
            }));
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn odd_pieces_keep_their_order() {
    every_kind(|mut a, mut b| {
        let len = 1 << 20;
        let sender = thread::spawn(move || {
            let (mut at, mut piece) = (0, 1);
            while at < len {
                piece = piece * 7 % 10_007;
                let (first, second) = (piece.min(len - at), (piece / 3).min(len - at));
                let (x, y) = (
                    bytes(at, first),
                    bytes(at + first, second.min(len - at - first)),
                );
                let n = a
                    .write_vectored(&[IoSlice::new(x), IoSlice::new(y)])
                    .unwrap();
                assert!(n > 0, "a write takes at least a byte");
                at += n;
            }
        });
        let (mut at, mut piece) = (0, 1);
        let mut buf = vec![0; 10_007];
        while at < len {
            piece = piece * 11 % 10_007;
            let n = b.read(&mut buf[..piece]).unwrap();
            assert_bytes(&buf[..n], at);
            at += n;
        }
        assert_eq!(b.read(&mut buf).unwrap(), 0);
        sender.join().unwrap();
    });
}

#[test]
fn transfers_of_no_bytes_do_nothing() {
    every_kind(|mut a, mut b| {
        assert_eq!(a.write(&[]).unwrap(), 0);
        assert_eq!(b.read(&mut []).unwrap(), 0);
        send(&mut a, 3);
        assert_eq!(b.read(&mut []).unwrap(), 0);
        receive(&mut b, 3);
    });
}

#[test]
fn a_half_closes_alone() {
    every_kind(|a, b| {
        let (a_reader, a_writer) = a.split().unwrap();
        let (mut b_reader, mut b_writer) = b.split().unwrap();
        drop(a_writer);
        assert_eq!(b_reader.read(&mut [0]).unwrap(), 0);
        send(&mut b_writer, 9);
        b_writer.shutdown().unwrap();
        b_writer.shutdown().unwrap();
        let mut a_reader = a_reader;
        receive(&mut a_reader, 9);
        assert_eq!(a_reader.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn a_late_byte_ends_every_wait() {
    every_kind(|mut a, mut b| {
        for pause in [0, 1, 3, 30] {
            let waiter = thread::spawn(move || {
                receive(&mut b, 1);
                b
            });
            // Let the other side reach its sleep: the test passes either way, and means more so.
            let _ = a.read_deadline(&mut [0], Deadline::after(Duration::from_millis(pause)));
            send(&mut a, 1);
            b = waiter.join().unwrap();
        }
    });
}

#[test]
fn a_deadline_is_met_within_its_tolerance() {
    every_kind(|mut a, mut b| {
        for limit in [1, 5, 25].map(Duration::from_millis) {
            takes("reading", limit, || {
                let error = b.read_deadline(&mut [0], Deadline::after(limit));
                assert_eq!(error.unwrap_err().kind(), ErrorKind::TimedOut);
            });
        }
        let full = [0; 1 << 16];
        while a
            .write_deadline(&[IoSlice::new(&full)], Deadline::Now)
            .is_ok()
        {}
        for limit in [1, 5, 25].map(Duration::from_millis) {
            takes("writing", limit, || {
                let mut deadline = Deadline::after(limit);
                // TCP finds room once more, when its peer's system has acknowledged.
                while a.write_deadline(&[IoSlice::new(&full)], deadline).is_ok() {
                    deadline = Deadline::after(limit);
                }
            });
        }
    });
}

#[test]
fn closing_ends_the_other_sides_wait() {
    every_kind(|mut a, b| {
        let closer = thread::spawn(move || {
            let mut b = b;
            let _ = b.read_deadline(&mut [0], Deadline::after(Duration::from_millis(20)));
        });
        assert_eq!(a.read(&mut [0]).unwrap(), 0);
        closer.join().unwrap();
    });
}

#[test]
fn a_blocked_writer_learns_of_the_readers_end() {
    every_kind(|mut a, b| {
        let closer = thread::spawn(move || {
            let mut b = b;
            let mut buf = [0; 100];
            let _ = b.read_deadline(&mut buf, Deadline::after(Duration::from_millis(20)));
        });
        let error = loop {
            if let Err(error) = a.write_all(&[0; 1 << 16]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        closer.join().unwrap();
    });
}

#[test]
fn a_nonblocking_channel_is_driven_by_arming_and_polling() {
    every_kind(|mut a, mut b: AnyChannel| {
        let len = 3 << 20;
        let sender = thread::spawn(move || {
            let data = bytes(0, len);
            let mut at = 0;
            a.set_nonblocking(true).unwrap();
            while at < len {
                match a.write(&data[at..]) {
                    Ok(n) => at += n,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                        sleep_outbound(&mut a);
                    }
                }
            }
        });
        b.set_nonblocking(true).unwrap();
        let mut at = 0;
        let mut buf = vec![0; 100_000];
        while at < len {
            match b.read(&mut buf) {
                Ok(n) => {
                    assert!(n > 0, "the end came at {at}");
                    assert_bytes(&buf[..n], at);
                    at += n;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    sleep_inbound(&mut b);
                }
            }
        }
        sender.join().unwrap();
    });
}

fn sleep_inbound(channel: &mut impl Inbound) {
    use nix::poll::PollFlags;
    if channel.arm_inbound().unwrap() == ipc_core::Readiness::Armed {
        poll(channel.inbound(), PollFlags::POLLIN);
    }
}

fn sleep_outbound(channel: &mut impl Outbound) {
    use nix::poll::PollFlags;
    let doorbell = channel.is_doorbell();
    if channel.arm_outbound().unwrap() == ipc_core::Readiness::Armed {
        let flags = if doorbell {
            PollFlags::POLLIN
        } else {
            PollFlags::POLLOUT
        };
        poll(channel.outbound(), flags);
    }
}
