//! A ring whose other side keeps no rule.

use std::fs::File;
use std::io::{ErrorKind, IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use ipc_core::{Deadline, Inbound, Outbound, Ring, RingOptions, Wait};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};

const HEADER_LEN: u64 = 4096;
const CAPACITY: u64 = 4096;
const GREETING: &[u8; 8] = b"ipcring\x01";
/// Where the words of the header are, as in `src/sys/memory.rs` of `ipc-core`.
const WORDS_AT: [u64; 7] = [128, 136, 256, 384, 512, 640, 0];
const TAIL_AT: u64 = WORDS_AT[0];

/// Whatever the other side of a ring offers, writes into its memory and sends on its sockets, while
/// this side reads, writes and looks in place: every call answers, with bytes or an error, within
/// what it was asked for, and every descriptor is closed in the end.
///
/// The first three bytes forge the offer (zero: an honest one), each four that follow are a step.
pub fn ring(data: &[u8]) {
    let Some((&[seals, size, header], script)) = data.split_first_chunk() else {
        return;
    };
    let is_honest = seals & 0x1f == 0 && size == 0 && header == 0;
    let mut hostile = Hostile::new(seals, size, header);
    match hostile.victim() {
        Some(mut victim) => {
            for step in script.chunks_exact(4).take(256) {
                let number = u16::from_le_bytes([step[2], step[3]]);
                if step[0] & 1 == 0 {
                    hostile.step(step[0] >> 1, step[1], number);
                } else {
                    act(&mut victim, step[0] >> 1, usize::from(number));
                }
            }
        }
        None => assert!(!is_honest, "an honest offer was refused"),
    }
}

/// The side that keeps no rule.
struct Hostile {
    to_victim: File,
    from_victim: File,
    lifeline: Option<OwnedFd>,
    second: Option<OwnedFd>,
    theirs: Option<OwnedFd>,
    /// What it would have written if it were honest.
    tail: u64,
}

fn packet_pair() -> (OwnedFd, OwnedFd) {
    let flags = SockFlag::SOCK_CLOEXEC;
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)
        .expect("there are descriptors enough")
}

fn memory(seals: u8, size: u8, header: u8) -> File {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let file = File::from(memfd_create("fuzz", flags).expect("there is memory enough"));
    let len = (HEADER_LEN + CAPACITY).saturating_sub(u64::from(size) * 64);
    file.set_len(len).expect("an unsealed file has any length");
    let capacity = CAPACITY ^ u64::from(header & 15) << (header & 12);
    let _ = file.write_at(&capacity.to_ne_bytes(), 8);
    let mut magic = *GREETING;
    magic[7] ^= header >> 4;
    let _ = file.write_at(&magic, 0);
    let all = [
        SealFlag::F_SEAL_SHRINK,
        SealFlag::F_SEAL_GROW,
        SealFlag::F_SEAL_SEAL,
    ];
    for (index, seal) in all.into_iter().enumerate() {
        if seals >> index & 1 == 0 {
            let _ = fcntl(&file, FcntlArg::F_ADD_SEALS(seal));
        }
    }
    file
}

fn send(socket: &OwnedFd, packet: &[u8], fds: &[BorrowedFd<'_>]) {
    let numbers: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let parts = [IoSlice::new(packet)];
    // A full queue or a closed ring is as good as any other step.
    let _ = sendmsg::<()>(socket.as_raw_fd(), &parts, control, flags, None);
}

impl Hostile {
    fn new(seals: u8, size: u8, header: u8) -> Self {
        let (lifeline, theirs) = packet_pair();
        let (second, their_second) = packet_pair();
        let to_victim = memory(seals, size, header);
        let from_victim = memory(0, 0, 0);
        let fds = [to_victim.as_fd(), from_victim.as_fd(), their_second.as_fd()];
        // Two bits that are no seal's choose how many descriptors come along.
        let count = fds.len() - usize::from(seals >> 3 & 3);
        send(&lifeline, GREETING, &fds[..count]);
        Self {
            to_victim,
            from_victim,
            lifeline: Some(lifeline),
            second: Some(second),
            theirs: Some(theirs),
            tail: 0,
        }
    }

    fn victim(&mut self) -> Option<Ring> {
        let options = RingOptions::new().wait(Wait::Park);
        match options.from_fd(self.theirs.take()?) {
            Ok(ring) => Some(ring),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                None
            }
        }
    }

    fn step(&mut self, what: u8, how: u8, number: u16) {
        let file = if how & 1 == 0 {
            &self.to_victim
        } else {
            &self.from_victim
        };
        let small = u64::from(number);
        let value = match how >> 1 & 7 {
            0 => small,
            1 => u64::MAX - small,
            2 => 1 << (small % 64),
            3 => self.tail + small,
            4 => CAPACITY + small,
            5 => 5,
            _ => small << 48 | small,
        };
        match what % 6 {
            0 => {
                let at = WORDS_AT[usize::from(how >> 4) % WORDS_AT.len()];
                let _ = file.write_at(&value.to_ne_bytes(), at);
            }
            1 => {
                let _ = file.write_at(&value.to_ne_bytes(), HEADER_LEN + small % CAPACITY);
            }
            // An honest step now and then leads further.
            2 | 3 => {
                self.tail = self.tail.wrapping_add(small % 600);
                let _ = self.to_victim.write_at(&self.tail.to_ne_bytes(), TAIL_AT);
            }
            4 => {
                let socket = if how & 1 == 0 {
                    &self.lifeline
                } else {
                    &self.second
                };
                let fds = [self.to_victim.as_fd(); 253];
                let count = [0, 1, 2, 253][usize::from(how >> 6)];
                if let Some(socket) = socket {
                    let packet = value.to_le_bytes();
                    send(
                        socket,
                        &packet[..1 + usize::from(how >> 1 & 7)],
                        &fds[..count],
                    );
                }
            }
            _ => match number {
                0x100..0x180 => self.lifeline = None,
                0x180..0x200 => self.second = None,
                _ => {}
            },
        }
    }
}

/// One call on the honest side.
fn act(victim: &mut Ring, what: u8, number: usize) {
    let mut buf = [0; 5000];
    let len = number % (buf.len() + 1);
    let now = Deadline::Now;
    match what % 8 {
        0 => {
            if let Some(n) = answered(victim.read_deadline(&mut buf[..len], now)) {
                assert!(n <= len);
            }
        }
        1 => {
            let mut fds = Vec::new();
            let read = answered(victim.read_with_fds(&mut buf[..len], &mut fds, now));
            assert!(read.unwrap_or(0) <= len && fds.len() <= 1024);
        }
        2 => {
            let parts = [
                IoSlice::new(&buf[..len / 3]),
                IoSlice::new(&buf[len / 3..len]),
            ];
            if let Some(n) = answered(victim.write_deadline(&parts, now)) {
                assert!(n <= len);
            }
        }
        3 => {
            let memory = File::open("/dev/null").expect("it is always there");
            let parts = [IoSlice::new(&buf[..len.max(1)])];
            let _ = answered(victim.write_with_fds(&parts, &[memory.as_fd()], now));
        }
        4 => pass_on(victim, len),
        5 => {
            let room = victim.writer().reserve(len.min(CAPACITY as usize), now);
            if let Some(mut place) = answered(room) {
                let n = place.write(&buf[..len]).expect("what fits is put");
                assert!(n <= place.filled());
                place.commit();
            }
        }
        6 => {
            let _ = answered(victim.arm_inbound());
            let _ = victim.poll_inbound();
        }
        _ => {
            let _ = answered(victim.arm_outbound());
            assert!(answered(victim.reader().available()).unwrap_or(0) <= CAPACITY as usize);
        }
    }
}

/// Looks at what is unread where it is, and echoes the beginning of it.
fn pass_on(victim: &mut Ring, len: usize) {
    let (reader, writer) = victim.halves();
    let Some(view) = answered(reader.view(len % (CAPACITY as usize / 2 + 1), Deadline::Now)) else {
        return;
    };
    let there = view.len();
    assert!(there <= CAPACITY as usize);
    assert_eq!(
        view.fold(0..there, 0, |sum, piece| sum + piece.len()),
        there
    );
    assert_eq!(view.get::<8>(len).is_some(), len + 8 <= there);
    assert!(!view.matches(0, &[0; 5000]), "more than a ring holds");
    if let Some(mut place) = answered(writer.reserve_free()) {
        let fits = place.remaining().min(there);
        assert!(view.put_into(0..fits, &mut place));
        assert_eq!(place.commit(), fits);
    }
    view.consume(there.min(len));
}

/// The value of a call; a failure must be one of those that its documentation names.
fn answered<T>(result: std::io::Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let named = matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::InvalidData | ErrorKind::BrokenPipe
            );
            assert!(named, "{error:?}");
            None
        }
    }
}
