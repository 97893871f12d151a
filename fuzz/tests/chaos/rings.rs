//! Rings whose other side is killed at any instruction of publishing, of taking and of falling asleep.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ipc_core::{Address, AnyChannel, Deadline, Inbound, Outbound, Port, Ring, RingOptions, Wait};

use crate::chance::Chance;
use crate::scenario::scenarios;
use crate::session::SOON;
use crate::victim::{End, Step, Victim, can_trace, wait_for_the_blow};

scenarios![
    ring_writers_die_at_any_instruction,
    ring_readers_die_at_any_instruction
];

pub(crate) const WRITER: &str = "ring-writer";
pub(crate) const READER: &str = "ring-reader";

const WAITS: [Wait; 3] = [Wait::Park, Wait::Adaptive, Wait::Spin];

/// How many bytes the writer writes if it is let.
const TOTAL: usize = 60_000;
/// How often a round strikes, for each way to wait.
const STRIKES: u64 = 12;

fn options(wait: &str) -> RingOptions {
    let wait = WAITS[wait.parse::<usize>().expect("an index")];
    // Small, so that both sides often wait for each other.
    RingOptions::new().capacity(4096).wait(wait)
}

/// Byte `at` of the stream.
fn byte(at: usize) -> u8 {
    (at % 251) as u8
}

fn bytes(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(byte).collect()
}

fn connect(words: &[String]) -> Ring {
    let [address, wait] = words else {
        panic!("expected an address and how to wait, got {words:?}");
    };
    let address = address.parse().expect("an address");
    wait_for_the_blow();
    let ring = options(wait).connect(&address, Deadline::Never);
    ring.expect("the scenario lives")
}

/// Writes by copying and in place, in turn.
pub(crate) fn writer(words: &[String]) -> ExitCode {
    let mut ring = connect(words);
    let (mut at, mut len) = (0, 1);
    while at < TOTAL {
        len = (len * 7 + 3) % 1500 + 1;
        let block = bytes(at, len);
        if len % 2 == 0 {
            ring.write_all(&block).expect("the scenario lives");
        } else {
            let reserved = ring.writer().reserve(len, Deadline::Never);
            let mut place = reserved.expect("the scenario lives");
            assert!(place.put(&block), "there is less room than was reserved");
            place.commit();
        }
        at += len;
    }
    ExitCode::SUCCESS
}

/// Reads by copying and in place, in turn.
pub(crate) fn reader(words: &[String]) -> ExitCode {
    let mut ring = connect(words);
    let (mut at, mut turn, mut block) = (0, 0, [0; 700]);
    loop {
        turn += 1;
        let len = if turn % 2 == 0 {
            ring.read(&mut block).expect("the scenario lives")
        } else {
            match ring.reader().view(1, Deadline::Never) {
                Ok(view) => {
                    let len = view.len().min(block.len());
                    view.copy_to(0, &mut block[..len]);
                    view.consume(len);
                    len
                }
                Err(_) => 0,
            }
        };
        if len == 0 {
            return ExitCode::SUCCESS;
        }
        assert!(block[..len] == bytes(at, len), "damaged at {at}");
        at += len;
    }
}

/// Where this round strikes: anywhere in the victim's calls, and then anywhere in its code.
fn step(chance: &mut Chance, index: u64) -> Step {
    Step {
        call: index * 9 + chance.below(9),
        instruction: chance.below(4) * chance.below(4000),
    }
}

/// Starts a victim, and answers this side of its ring if it came to that.
fn meet(role: &str, wait: usize, folder: &Path, step: Step) -> (Option<Ring>, Victim) {
    let address: Address = format!("ring:{}", folder.join("r").display())
        .parse()
        .expect("an address");
    let mut port = Port::bind(&address).expect("it is free");
    let victim = Victim::start(role, &[&address.to_string(), &wait.to_string()], step);
    loop {
        let is_over = victim.is_over();
        match port.accept_timeout(Duration::from_millis(if is_over { 0 } else { 20 })) {
            Ok(channel) => {
                let AnyChannel::Ring(ring) = channel else {
                    panic!("a port of rings has accepted another channel");
                };
                return (Some(ring), victim);
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}"),
        }
        if is_over {
            return (None, victim);
        }
    }
}

/// What a writer has published is read, unchanged and to its end, whatever it was doing when it was
/// killed.
fn ring_writers_die_at_any_instruction(chance: &mut Chance) {
    if !can_trace() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for (wait, how) in WAITS.into_iter().enumerate() {
        for index in 0..STRIKES {
            let step = step(chance, index);
            let case = format!("{how:?}, {step:?}");
            let (ring, victim) = meet(WRITER, wait, folder.path(), step);
            let mut at = 0;
            if let Some(mut ring) = ring {
                ring.set_wait(how);
                let mut block = vec![0; 1 + chance.below(3000) as usize];
                loop {
                    match ring.read_deadline(&mut block, Deadline::after(SOON)) {
                        Ok(0) => break,
                        Ok(len) => {
                            assert!(block[..len] == bytes(at, len), "{case}: damaged at {at}");
                            at += len;
                        }
                        Err(error) => panic!("{case}: {error}"),
                    }
                }
            }
            if victim.wait() == End::Whole {
                assert!(at >= TOTAL, "{case}: lost what is after {at}");
            }
        }
    }
}

/// A writer whose reader is killed is told so in time, also while it waits for room.
fn ring_readers_die_at_any_instruction(chance: &mut Chance) {
    if !can_trace() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for (wait, how) in WAITS.into_iter().enumerate() {
        for index in 0..STRIKES {
            let step = step(chance, index);
            let case = format!("{how:?}, {step:?}");
            let (ring, victim) = meet(READER, wait, folder.path(), step);
            if let Some(mut ring) = ring {
                ring.set_wait(how);
                write_until_told(&mut ring, &case);
            }
            victim.wait();
        }
    }
}

fn write_until_told(ring: &mut Ring, case: &str) {
    let mut at = 0;
    while at < TOTAL {
        let block = bytes(at, 997);
        let begun = Instant::now();
        match ring.write_deadline(&[IoSlice::new(&block)], Deadline::after(SOON)) {
            Ok(len) => at += len,
            Err(error) => {
                let ends = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
                assert!(ends.contains(&error.kind()), "{case}: {error}");
                return;
            }
        }
        assert!(begun.elapsed() < SOON, "{case}: {:?}", begun.elapsed());
    }
}
