//! Bytes of a ring, written and looked at where they are.

use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;

use ipc_core::{Channel, Deadline, Ring, RingOptions, Wait};

use crate::support::{LIMIT, takes, within};

const CAPACITY: usize = 1 << 16;

fn ring(wait: Wait) -> (Ring, Ring) {
    RingOptions::new()
        .capacity(CAPACITY)
        .wait(wait)
        .pair()
        .unwrap()
}

fn pattern(from: usize, len: usize) -> Vec<u8> {
    let byte = |index: usize| (index.wrapping_mul(0x9e37_79b9) >> 13) as u8;
    (from..from + len).map(byte).collect()
}

#[test]
fn a_view_answers_what_a_copy_would() {
    let (mut a, mut b) = ring(Wait::Adaptive);
    let bytes = pattern(0, 5000);
    a.write_all(&bytes).unwrap();
    let view = b.reader().view(5000, Deadline::Now).unwrap();
    assert_eq!((view.len(), view.is_empty()), (5000, false));
    assert_eq!(view.get::<4>(7).unwrap(), bytes[7..11]);
    assert_eq!(view.get::<4>(4997), None);
    assert_eq!(view.get::<4>(usize::MAX - 1), None);
    let mut buf = [0; 100];
    view.copy_to(4900, &mut buf);
    assert_eq!(buf, bytes[4900..]);
    assert!(view.matches(13, &bytes[13..4999]));
    assert!(!view.matches(14, &bytes[13..4999]));
    assert!(!view.matches(1, &bytes), "more than there is");
    let mut copied = Vec::new();
    let mut chunks = view.chunks(1..4000);
    while let Some(chunk) = chunks.next_chunk() {
        assert!(!chunk.is_empty());
        copied.extend_from_slice(chunk);
    }
    assert_eq!(copied, bytes[1..4000]);
    let zeros = |count, piece: &[u8]| count + piece.iter().filter(|&&byte| byte == 0).count();
    let expected = bytes.iter().filter(|&&byte| byte == 0).count();
    assert_eq!(view.fold(0..5000, 0, zeros), expected);
    assert_eq!(view.fold(9..9, 5, zeros), 5);
    // Dropping it, as here, leaves everything unread.
    let view = b.reader().view(0, Deadline::Now).unwrap();
    assert_eq!(view.len(), 5000);
    view.consume(4990);
    let mut rest = [0; 10];
    b.read_exact(&mut rest).unwrap();
    assert_eq!(rest, bytes[4990..]);
}

#[test]
fn views_are_contiguous_wherever_they_lie() {
    within(LIMIT, || {
        let (mut a, mut b) = ring(Wait::Adaptive);
        let total = 40 * CAPACITY;
        let sender = thread::spawn(move || {
            for from in (0..total).step_by(1 << 12) {
                a.write_all(&pattern(from, 1 << 12)).unwrap();
            }
        });
        let (mut at, mut wanted) = (0, 1);
        while at < total {
            wanted = (wanted * 7 % (CAPACITY / 2 + 1)).min(total - at);
            let view = b.reader().view(wanted, Deadline::Never).unwrap();
            assert!(view.len() >= wanted);
            assert!(view.matches(0, &pattern(at, wanted)), "from {at} on");
            view.consume(wanted);
            at += wanted;
        }
        sender.join().unwrap();
        let view = b.reader().view(1, Deadline::Never).unwrap();
        assert!(view.is_empty(), "the end");
    });
}

#[test]
fn bytes_are_passed_on_with_one_copy() {
    within(LIMIT, || {
        let (near, mut middle) = ring(Wait::Adaptive);
        let total = 300 * 997;
        let relay = thread::spawn(move || {
            let (reader, writer) = middle.halves();
            for _ in 0..300 {
                let view = reader.view(997, Deadline::Never).unwrap();
                let mut place = writer.reserve(1000, Deadline::Never).unwrap();
                assert!(place.put(b"<"));
                assert!(view.put_into(0..997, &mut place));
                assert!(!view.put_into(0..3, &mut place), "three do not fit");
                assert!(place.put(b">"));
                assert_eq!(place.commit(), 999);
                view.consume(997);
            }
        });
        let bytes = pattern(0, total);
        let sent = bytes.clone();
        let (mut reader, mut writer) = near.split().unwrap();
        let sender = thread::spawn(move || writer.write_all(&sent).unwrap());
        for expected in bytes.chunks(997) {
            let mut frame = [0; 999];
            reader.read_exact(&mut frame).unwrap();
            assert_eq!((frame[0], frame[998]), (b'<', b'>'));
            assert_eq!(&frame[1..998], expected);
        }
        relay.join().unwrap();
        sender.join().unwrap();
    });
}

#[test]
fn a_view_waits_for_all_that_it_was_asked_for() {
    within(LIMIT, || {
        for wait in [Wait::Adaptive, Wait::Park, Wait::Spin] {
            let (mut a, mut b) = ring(wait);
            a.write_all(b"some").unwrap();
            let limit = Duration::from_millis(20);
            takes("waiting for more", limit, || {
                let error = b.reader().view(5, Deadline::after(limit)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TimedOut);
            });
            let error = b.reader().view(5, Deadline::Now).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            let error = b
                .reader()
                .view(CAPACITY / 2 + 1, Deadline::Never)
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            // Byte by byte, with a wake for each: an honest peer is never taken for a nuisance.
            let sender = thread::spawn(move || {
                for byte in pattern(0, 12_000) {
                    a.write_all(&[byte]).unwrap();
                }
            });
            let view = b.reader().view(12_004, Deadline::Never).unwrap();
            assert!(view.matches(0, b"some"));
            assert!(view.matches(4, &pattern(0, 12_000)));
            sender.join().unwrap();
            let view = b.reader().view(20_000, Deadline::Never).unwrap();
            assert_eq!(view.len(), 12_004, "the peer has ended: no more will come");
        }
    });
}

#[test]
#[should_panic(expected = "3 bytes from 2 on are not within the 4 of the view")]
fn a_view_ends_where_it_ends() {
    let (mut a, mut b) = ring(Wait::Park);
    a.write_all(b"some").unwrap();
    let view = b.reader().view(4, Deadline::Now).unwrap();
    view.copy_to(2, &mut [0; 3]);
}

#[test]
#[should_panic(expected = "5 bytes from 0 on are not within the 4 of the view")]
fn more_than_there_is_cannot_be_consumed() {
    let (mut a, mut b) = ring(Wait::Park);
    a.write_all(b"some").unwrap();
    b.reader().view(4, Deadline::Now).unwrap().consume(5);
}
