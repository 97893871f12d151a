//! Peers that are stopped and continued, and both sides on one processor.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use ipc_core::{Address, AnyChannel, Port};
use ipc_marshal::{Duct, DuctOptions, RecvError, SendError};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::account::Ledger;
use crate::calls::{Message, addresses};
use crate::chance::Chance;
use crate::scenario::scenarios;
use crate::session::{SOON, Session};
use crate::tasks::pattern;

scenarios![
    nothing_is_lost_when_a_peer_is_stopped_and_continued,
    both_sides_get_on_with_one_processor,
];

pub(crate) const ECHO: &str = "pause-echo";

/// The peer: sends back what it receives, until there is no more.
pub(crate) fn echo(words: &[String]) -> ExitCode {
    let [address] = words else {
        return ExitCode::FAILURE;
    };
    let address: Address = address.parse().expect("an address");
    let mut duct = Duct::<Message, Message>::connect(&address).expect("the scenario lives");
    while let Ok(message) = duct.recv() {
        duct.send(message).expect("the scenario lives");
    }
    ExitCode::SUCCESS
}

/// A peer in a process of its own, and the duct to it.
fn peer(address: &Address) -> (Session, Duct<Message, Message>) {
    let mut port = Port::bind(address).expect("it is free");
    let session = Session::start(ECHO, &[&port.address().to_string()]);
    let channel: AnyChannel = port.accept_timeout(SOON).expect("the peer");
    let options = DuctOptions::new().handshake(true);
    (session, options.from_channel(channel))
}

/// Ends the peer, and checks that it ended well and left nothing.
fn part(mut session: Session, duct: Duct<Message, Message>, case: &str) {
    drop(duct);
    let (status, _) = session.wait();
    assert!(status.success(), "{case}: {status}");
    session.assert_gone(case);
}

/// How many messages may be on their way.
const WINDOW: u64 = 40;

/// A stopped peer costs time-outs, which are kept, and no message.
fn nothing_is_lost_when_a_peer_is_stopped_and_continued(chance: &mut Chance) {
    let folder = tempfile::tempdir().expect("a folder");
    for address in addresses(folder.path()) {
        let (session, mut duct) = peer(&address);
        let mut ledger = Ledger::new();
        let (mut next, mut echoed, mut pauses) = (0, 0, 0);
        while echoed < 600 {
            if next < 600 && next - echoed < WINDOW {
                let message = (next, pattern(next, chance.below(3000) as usize));
                duct.send_timeout(message, SOON).expect("the peer lives");
                ledger.accepted(next);
                next += 1;
            } else {
                take_echo(&mut duct, &mut ledger, &mut echoed);
            }
            if chance.below(60) == 0 {
                pauses += 1;
                session.signal(Signal::SIGSTOP);
                wait_in_vain(&mut duct, &mut ledger, &mut echoed, chance);
                while pauses % 3 == 0 && fill(&mut duct, &mut ledger, &mut next) {}
                session.signal(Signal::SIGCONT);
                catch_up(&mut duct, &mut ledger, &mut echoed, next);
            }
        }
        while echoed < next {
            take_echo(&mut duct, &mut ledger, &mut echoed);
        }
        ledger.check();
        println!("{address}: stopped {pauses} times, {next} messages accepted and delivered");
        part(session, duct, &address.to_string());
    }
}

/// Takes what is owed. What was kept of the last message must leave meanwhile, and neither may wait for
/// the other: the peer does one thing at a time.
fn catch_up(duct: &mut Duct<Message, Message>, ledger: &mut Ledger, echoed: &mut u64, next: u64) {
    let until = Instant::now() + SOON;
    while *echoed < next {
        duct.try_flush().expect("the peer lives");
        if duct.poll(Duration::from_millis(1)).expect("the peer lives") {
            take_echo(duct, ledger, echoed);
        }
        assert!(
            Instant::now() < until,
            "{echoed} of {next} echoes in {SOON:?}"
        );
    }
}

fn take_echo(duct: &mut Duct<Message, Message>, ledger: &mut Ledger, echoed: &mut u64) {
    let (number, body) = duct.recv_timeout(SOON).expect("an echo");
    assert_eq!(number, *echoed, "out of order");
    assert!(
        body.starts_with(&number.to_le_bytes()),
        "{number} is damaged"
    );
    ledger.delivered(number);
    *echoed += 1;
}

/// Waits for a peer that has been stopped: what it had sent before comes, and then the time-out, when
/// it is due.
fn wait_in_vain(
    duct: &mut Duct<Message, Message>,
    ledger: &mut Ledger,
    echoed: &mut u64,
    chance: &mut Chance,
) {
    let limit = Duration::from_micros(1 + chance.below(8000));
    loop {
        let begun = Instant::now();
        match duct.recv_timeout(limit) {
            Ok((number, _)) => {
                assert_eq!(number, *echoed, "out of order");
                ledger.delivered(number);
                *echoed += 1;
            }
            Err(RecvError::Timeout) => {
                let late = begun.elapsed().saturating_sub(limit);
                assert!(begun.elapsed() >= limit, "a time-out came too early");
                assert!(
                    late < Duration::from_secs(2),
                    "a time-out came {late:?} late"
                );
                return;
            }
            Err(error) => panic!("a stopped peer is not gone: {error:?}"),
        }
    }
}

/// Sends to a peer that does not take. Answers whether there was room: a message without any comes
/// back and was not accepted.
fn fill(duct: &mut Duct<Message, Message>, ledger: &mut Ledger, next: &mut u64) -> bool {
    let message = (*next, pattern(*next, 30_000));
    match duct.send_timeout(message, Duration::from_millis(3)) {
        Ok(()) => {
            ledger.accepted(*next);
            *next += 1;
            true
        }
        Err(SendError::Timeout((number, _))) => {
            assert_eq!(number, *next);
            false
        }
        Err(error) => panic!("a stopped peer is not gone: {error:?}"),
    }
}

/// A side that spins must give way to the one that it waits for.
fn both_sides_get_on_with_one_processor(_: &mut Chance) {
    let all = sched_getaffinity(Pid::from_raw(0)).expect("the processors of this thread");
    let one = (0..CpuSet::count()).find(|cpu| all.is_set(*cpu) == Ok(true));
    let mut set = CpuSet::new();
    set.set(one.expect("a processor")).expect("it exists");
    // Those that this thread starts inherit it.
    sched_setaffinity(Pid::from_raw(0), &set).expect("fewer processors can be had");
    let folder = tempfile::tempdir().expect("a folder");
    for address in addresses(folder.path()) {
        alternate(&address);
    }
    sched_setaffinity(Pid::from_raw(0), &all).expect("they were allowed before");
}

fn alternate(address: &Address) {
    const TRIPS: u32 = 1000;
    let (session, mut duct) = peer(address);
    let begun = Instant::now();
    for number in 0..u64::from(TRIPS) {
        duct.send_timeout((number, Vec::new()), SOON)
            .expect("the peer lives");
        assert_eq!(duct.recv_timeout(SOON).expect("an echo").0, number);
    }
    let each = begun.elapsed() / TRIPS;
    println!("{address}: {each:?} a round trip on one processor");
    // A side that spun to the end of its time slice would need milliseconds.
    assert!(each < Duration::from_millis(2), "{address}: {each:?}");
    part(session, duct, &address.to_string());
}
