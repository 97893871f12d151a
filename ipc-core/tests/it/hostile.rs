//! A peer that keeps no rule: every lie ends in an error value, in bounded time and memory.

use std::fs::File;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::{Channel, Deadline, Inbound, Outbound, Readiness, Ring, RingOptions, Wait};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};

use crate::support::{LIMIT, punctual, takes, within};

const CAPACITY: usize = 1 << 16;
const HEADER_LEN: usize = 4096;
const LEN: usize = HEADER_LEN + CAPACITY;
/// Begins both the offer and the memory.
const GREETING: &[u8; 8] = b"ipcring\x01";
/// Where the words of the header are, as in the crate's `sys/memory.rs`.
const TAIL_AT: u64 = 128;
const HEAD_AT: u64 = 256;
const CONSUMER_STATE_AT: u64 = 384;
const PRODUCER_STATE_AT: u64 = 512;
const SEALS: [SealFlag; 3] = [
    SealFlag::F_SEAL_SHRINK,
    SealFlag::F_SEAL_GROW,
    SealFlag::F_SEAL_SEAL,
];

/// Memory of a ring as a peer may make it, to be lied in with plain writes to the file.
fn memory(len: usize, capacity: u64, magic: &[u8; 8], seals: &[SealFlag]) -> File {
    let fd = memfd_create(
        "hostile",
        MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING,
    )
    .unwrap();
    let file = File::from(fd);
    file.set_len(len as u64).unwrap();
    file.write_at(magic, 0).unwrap();
    file.write_at(&capacity.to_ne_bytes(), 8).unwrap();
    for seal in seals {
        fcntl(&file, FcntlArg::F_ADD_SEALS(*seal)).unwrap();
    }
    file
}

fn honest() -> File {
    memory(LEN, CAPACITY as u64, GREETING, &SEALS)
}

fn packet_pair() -> (OwnedFd, OwnedFd) {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .unwrap()
}

fn send(socket: impl AsFd, packet: &[u8], fds: &[BorrowedFd<'_>]) -> nix::Result<usize> {
    let numbers: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let fd = socket.as_fd().as_raw_fd();
    sendmsg::<()>(fd, &[IoSlice::new(packet)], control, flags, None)
}

/// The hostile side of a live ring.
struct Hostile {
    /// What the victim reads, and what it writes.
    to_victim: File,
    from_victim: File,
    lifeline: OwnedFd,
    second: OwnedFd,
}

impl Hostile {
    fn with_victim(wait: Wait) -> (Self, Ring) {
        let (lifeline, theirs) = packet_pair();
        let (second, their_second) = packet_pair();
        let (to_victim, from_victim) = (honest(), honest());
        let fds = [to_victim.as_fd(), from_victim.as_fd(), their_second.as_fd()];
        send(&lifeline, GREETING, &fds).unwrap();
        let victim = RingOptions::new().wait(wait).from_fd(theirs).unwrap();
        (
            Self {
                to_victim,
                from_victim,
                lifeline,
                second,
            },
            victim,
        )
    }

    fn set_tail(&self, tail: u64) {
        self.to_victim
            .write_at(&tail.to_ne_bytes(), TAIL_AT)
            .unwrap();
    }

    fn set_head(&self, head: u64) {
        self.from_victim
            .write_at(&head.to_ne_bytes(), HEAD_AT)
            .unwrap();
    }
}

#[test]
fn forged_positions_are_an_error() {
    let beyond = CAPACITY as u64 + 1;
    for tail in [beyond, u64::MAX, 1 << 63, u64::MAX - 5] {
        let (hostile, mut victim) = Hostile::with_victim(Wait::Adaptive);
        hostile.set_tail(tail);
        assert_eq!(
            victim.read(&mut [0; 10]).unwrap_err().kind(),
            ErrorKind::InvalidData,
            "{tail}"
        );
    }
    for head in [beyond, u64::MAX, 1 << 63] {
        let (hostile, mut victim) = Hostile::with_victim(Wait::Adaptive);
        hostile.set_head(head);
        let error = loop {
            if let Err(error) = victim.write(&[0; 1000]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{head}");
    }
    // In place.
    let (hostile, mut victim) = Hostile::with_victim(Wait::Adaptive);
    hostile.set_tail(beyond);
    let view = victim.reader().view(10, Deadline::Never);
    assert_eq!(view.unwrap_err().kind(), ErrorKind::InvalidData);
    hostile.set_head(beyond);
    let room = victim.writer().reserve(CAPACITY, Deadline::Never);
    assert!(room.is_ok(), "nothing was written, so all is free");
    victim.write_all(b"x").unwrap();
    let room = victim.writer().reserve(CAPACITY, Deadline::Never);
    assert_eq!(room.unwrap_err().kind(), ErrorKind::InvalidData);
    // Backwards, after it was believed once.
    let (hostile, mut victim) = Hostile::with_victim(Wait::Adaptive);
    hostile.set_tail(100);
    assert_eq!(victim.read(&mut [0; 10]).unwrap(), 10);
    hostile.set_tail(50);
    assert_eq!(
        victim.reader().available().unwrap_err().kind(),
        ErrorKind::InvalidData
    );
}

#[test]
fn forged_states_are_harmless() {
    within(LIMIT, || {
        for state in [1, 2, 3, 4, 77, u32::MAX] {
            let (hostile, mut victim) = Hostile::with_victim(Wait::Park);
            for (file, at) in [
                (&hostile.to_victim, CONSUMER_STATE_AT),
                (&hostile.to_victim, PRODUCER_STATE_AT),
                (&hostile.from_victim, CONSUMER_STATE_AT),
                (&hostile.from_victim, PRODUCER_STATE_AT),
            ] {
                file.write_at(&u32::to_ne_bytes(state), at).unwrap();
            }
            assert_eq!(victim.write(b"x").unwrap(), 1);
            let soon = Deadline::after(Duration::from_millis(30));
            assert_eq!(
                victim.read_deadline(&mut [0], soon).unwrap_err().kind(),
                ErrorKind::TimedOut
            );
        }
        // It may say that it is done.
        let (hostile, mut victim) = Hostile::with_victim(Wait::Park);
        hostile
            .from_victim
            .write_at(&u32::to_ne_bytes(5), CONSUMER_STATE_AT)
            .unwrap();
        hostile
            .to_victim
            .write_at(&u32::to_ne_bytes(5), PRODUCER_STATE_AT)
            .unwrap();
        assert_eq!(
            victim.write(b"x").unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
        assert_eq!(victim.read(&mut [0]).unwrap(), 0);
    });
}

#[track_caller]
fn check_refused(greeting: &[u8], fds: &[BorrowedFd<'_>]) {
    let (lifeline, theirs) = packet_pair();
    send(&lifeline, greeting, fds).unwrap();
    let error = Ring::from_fd(theirs).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
}

/// Offers `bad` in the place of each lane's memory.
#[track_caller]
fn check_memory_refused(bad: &File) {
    let (second, _other) = packet_pair();
    let good = honest();
    check_refused(GREETING, &[bad.as_fd(), good.as_fd(), second.as_fd()]);
    check_refused(GREETING, &[good.as_fd(), bad.as_fd(), second.as_fd()]);
}

#[test]
fn memory_without_its_seals_is_refused() {
    for missing in 0..SEALS.len() {
        let mut seals = SEALS.to_vec();
        seals.remove(missing);
        check_memory_refused(&memory(LEN, CAPACITY as u64, GREETING, &seals));
    }
    check_memory_refused(&memory(LEN, CAPACITY as u64, GREETING, &[]));
    // What cannot be sealed at all.
    check_memory_refused(&tempfile::tempfile().unwrap());
    // Sealed against too much: it could not be written.
    let mut seals = SEALS.to_vec();
    seals.insert(0, SealFlag::F_SEAL_WRITE);
    let (lifeline, theirs) = packet_pair();
    let frozen = memory(LEN, CAPACITY as u64, GREETING, &seals);
    let (second, _other) = packet_pair();
    send(
        &lifeline,
        GREETING,
        &[frozen.as_fd(), frozen.as_fd(), second.as_fd()],
    )
    .unwrap();
    assert_eq!(
        Ring::from_fd(theirs).unwrap_err().kind(),
        ErrorKind::PermissionDenied
    );
}

#[test]
fn memory_that_is_truncated_or_too_small_is_refused() {
    let with = |len, capacity| {
        check_memory_refused(&memory(len, capacity, GREETING, &SEALS));
    };
    with(0, 0);
    with(100, CAPACITY as u64);
    with(HEADER_LEN, 0);
    with(0x1800, 0x800);
    with(LEN - 1, CAPACITY as u64);
    with(LEN - 4096, CAPACITY as u64);
    with(LEN + 4096, CAPACITY as u64);
    // Larger than what is accepted, which no page is ever needed for.
    with(HEADER_LEN + (128 << 20), 128 << 20);
}

#[test]
fn a_forged_header_is_refused() {
    let with = |capacity, magic| {
        check_memory_refused(&memory(LEN, capacity, magic, &SEALS));
    };
    let capacity = CAPACITY as u64;
    with(capacity, b"ipcring\x02");
    with(capacity, b"\0\0\0\0\0\0\0\0");
    for lie in [
        0,
        1,
        capacity - 1,
        capacity * 2,
        capacity / 2,
        1 << 63,
        u64::MAX,
    ] {
        with(lie, GREETING);
    }
}

#[test]
fn greetings_of_another_kind_are_refused() {
    let (second, _other) = packet_pair();
    let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let good = honest();
    let fds = [good.as_fd(), good.as_fd(), second.as_fd()];
    check_refused(b"ipcring\x02", &fds);
    check_refused(b"ipcring", &fds);
    check_refused(&[b'x'; 1000], &fds);
    check_refused(GREETING, &[]);
    check_refused(GREETING, &fds[..2]);
    check_refused(GREETING, &[good.as_fd(), good.as_fd(), good.as_fd()]);
    check_refused(GREETING, &[good.as_fd(), good.as_fd(), stream.as_fd()]);
    // Nothing at all, and the end.
    let (lifeline, theirs) = packet_pair();
    drop(lifeline);
    assert_eq!(
        Ring::from_fd(theirs).unwrap_err().kind(),
        ErrorKind::UnexpectedEof
    );
}

#[test]
fn a_greeting_with_253_descriptors_is_refused_and_they_are_closed() {
    let (gift, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    check_refused(GREETING, &[theirs.as_fd(); 253]);
    drop(theirs);
    assert_eq!(
        (&gift).read(&mut [0]).unwrap(),
        0,
        "a descriptor is still open"
    );
}

#[test]
fn memory_cannot_be_taken_away() {
    let (hostile, mut victim) = Hostile::with_victim(Wait::Park);
    assert!(hostile.to_victim.set_len(0).is_err(), "the seals hold");
    assert!(
        hostile.to_victim.set_len(1 << 30).is_err(),
        "the seals hold"
    );
    let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let len = i64::try_from(HEADER_LEN + CAPACITY).unwrap();
    fallocate(&hostile.to_victim, punch, 0, len).unwrap();
    fallocate(&hostile.from_victim, punch, 0, len).unwrap();
    // A hole reads as zero, and may be written.
    assert_eq!(victim.write(&[1; 100]).unwrap(), 100);
    hostile.set_tail(100);
    let mut buf = [1; 100];
    victim.read_exact(&mut buf).unwrap();
    assert_eq!(buf, [0; 100]);
}

/// Writes anything anywhere into both memories for as long as it lives.
struct Scribbler {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Scribbler {
    fn over(hostile: Hostile, mut seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let file = if seed & 1 == 0 {
                    &hostile.to_victim
                } else {
                    &hostile.from_victim
                };
                // Mostly the words of the header, now and then the data.
                let at = if seed & 14 == 0 {
                    4096 + (seed >> 8) % 60_000
                } else {
                    (seed >> 8) % 700
                };
                let value = if seed & 64 == 0 {
                    seed
                } else {
                    (seed >> 20) % (1 << 17)
                };
                file.write_at(&value.to_ne_bytes(), at & !7).unwrap();
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Scribbler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the scribbler did not panic");
        }
    }
}

/// Runs `victims` rings under scribbling; `turn` answers whether its ring has failed.
fn under_scribbling(wait: Wait, victims: u64, turn: fn(&mut Ring, Deadline) -> bool) {
    within(LIMIT, move || {
        for seed in 1..=victims {
            let (hostile, mut victim) = Hostile::with_victim(wait);
            let _scribbler = Scribbler::over(hostile, seed.wrapping_mul(0x1234_5678_9abc_def1));
            for _ in 0..200 {
                let mut is_over = false;
                let limit = Duration::from_millis(1);
                punctual("a turn under scribbling", || {
                    let start = Instant::now();
                    is_over = turn(&mut victim, Deadline::after(limit));
                    start.elapsed().saturating_sub(limit)
                });
                if is_over {
                    break;
                }
            }
        }
    });
}

fn is_fatal<T>(result: &std::io::Result<T>) -> bool {
    let fatal = [ErrorKind::InvalidData, ErrorKind::BrokenPipe];
    matches!(result, Err(error) if fatal.contains(&error.kind()))
}

#[test]
fn scribbling_into_a_live_ring_only_costs_the_ring() {
    for wait in [Wait::Adaptive, Wait::Park, Wait::Spin] {
        under_scribbling(wait, 60, |victim, soon| {
            let mut buf = [0; 3000];
            let read = victim.read_deadline(&mut buf, soon);
            let written = victim.write_deadline(&[IoSlice::new(&buf)], soon);
            (is_fatal(&read) || matches!(read, Ok(0))) && is_fatal(&written)
        });
    }
}

#[test]
fn scribbling_under_a_view_only_costs_the_ring() {
    for wait in [Wait::Adaptive, Wait::Park] {
        under_scribbling(wait, 60, |victim, soon| {
            let (reader, writer) = victim.halves();
            let view = match reader.view(2000, soon) {
                Ok(view) => view,
                Err(error) => return is_fatal::<()>(&Err(error)),
            };
            let len = view.len();
            // What was copied does not change any more, whatever becomes of the original.
            let mut chunks = view.chunks(0..len);
            while let Some(chunk) = chunks.next_chunk() {
                let before = chunk.to_vec();
                std::thread::yield_now();
                assert_eq!(before, chunk);
            }
            let sum = view.fold(0..len, 0_usize, |sum, piece| sum + piece.len());
            assert_eq!(sum, len, "as much as there is, whatever it says");
            let _ = view.matches(0, &vec![0; len]);
            let _ = view.get::<8>(len.saturating_sub(8));
            if let Ok(mut place) = writer.reserve(len.min(100), Deadline::Now) {
                assert!(view.put_into(0..len.min(100), &mut place));
                place.commit();
            }
            view.consume(len / 2);
            len == 0
        });
    }
}

#[test]
fn a_flood_of_doorbells_ends_in_an_error() {
    within(LIMIT, || {
        for wait in [Wait::Adaptive, Wait::Park, Wait::Spin] {
            let (hostile, mut victim) = Hostile::with_victim(wait);
            let flooder = thread::spawn(move || {
                loop {
                    match send(&hostile.lifeline, b"!", &[]) {
                        Ok(_) | Err(Errno::EAGAIN) => {}
                        Err(_) => return hostile.second,
                    }
                }
            });
            punctual("a deadline in a flood", || {
                let limit = Duration::from_millis(200);
                let start = Instant::now();
                let error = victim.read_deadline(&mut [0], Deadline::after(limit));
                assert!(matches!(
                    error.unwrap_err().kind(),
                    ErrorKind::TimedOut | ErrorKind::InvalidData
                ));
                start.elapsed().saturating_sub(limit)
            });
            // An event loop gets an error too, before long.
            let error = loop {
                match victim.arm_inbound() {
                    Ok(Readiness::Armed | Readiness::Ready) => {}
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            drop(victim);
            flooder.join().unwrap();
        }
    });
}

#[test]
fn descriptors_that_nobody_reads_are_bounded() {
    let (hostile, mut victim) = Hostile::with_victim(Wait::Park);
    let (gift, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let fds = vec![theirs.as_fd(); 253];
    let error = (0..20)
        .find_map(|position: u64| {
            let _ = send(&hostile.lifeline, &position.to_le_bytes(), &fds);
            let arm = victim.arm_inbound();
            arm.err()
        })
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    drop((victim, hostile, theirs));
    assert_eq!(
        (&gift).read(&mut [0]).unwrap(),
        0,
        "a descriptor is still open"
    );
    // For the other direction they make no sense at all.
    let (hostile, mut victim) = Hostile::with_victim(Wait::Park);
    send(&hostile.second, &[0; 8], &[gift.as_fd()]).unwrap();
    victim.write_all(&[0; 60_000]).unwrap();
    let soon = Deadline::after(Duration::from_millis(100));
    let error = victim
        .write_deadline(&[IoSlice::new(&[0; 8000])], soon)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
}

#[test]
fn silence_costs_a_deadline_and_no_more() {
    for wait in [Wait::Adaptive, Wait::Park, Wait::Spin] {
        let (hostile, mut victim) = Hostile::with_victim(wait);
        let limit = Duration::from_millis(50);
        takes("reading from silence", limit, || {
            let error = victim.read_deadline(&mut [0], Deadline::after(limit));
            assert_eq!(error.unwrap_err().kind(), ErrorKind::TimedOut);
        });
        victim.write_all(&[0; CAPACITY]).unwrap();
        takes("writing to silence", limit, || {
            let full = [IoSlice::new(&[0; 60_000])];
            let error = victim.write_deadline(&full, Deadline::after(limit));
            assert_eq!(error.unwrap_err().kind(), ErrorKind::TimedOut);
        });
        drop(hostile);
        assert_eq!(victim.read(&mut [0]).unwrap(), 0);
        assert_eq!(
            victim.write(&[0; 9000]).unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
        let (reader, writer) = victim.split().unwrap();
        drop((reader, writer));
    }
}
