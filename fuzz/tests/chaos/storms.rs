//! Signals by the thousand at a process that sends, receives and runs a loop.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use ipc_core::{Address, Port};
use ipc_dispatch::{Context, Selector};
use ipc_marshal::{Duct, DuctOptions, TryRecvError};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::calls::{Message, addresses};
use crate::chance::Chance;
use crate::scenario::scenarios;
use crate::session::{SOON, Session};
use crate::tasks::{pattern, pause};

scenarios![
    signals_by_the_thousand_lose_nothing,
    signals_that_interrupt_every_call_lose_nothing,
];

pub(crate) const STORMED: &str = "stormed";
pub(crate) const INTERRUPTED: &str = "interrupted";

const SIGNALS: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCHLD,
    Signal::SIGALRM,
    Signal::SIGURG,
    Signal::SIGWINCH,
];
const COUNT: u64 = 10_000;

type End = Duct<Message, Message>;

/// The process in the storm: a loop that echoes one duct and counts signals, and a thread that blocks
/// in the calls of another.
pub(crate) fn stormed(words: &[String]) -> ExitCode {
    let [address] = words else {
        return ExitCode::FAILURE;
    };
    let address: Address = address.parse().expect("an address");
    let mut selector = Selector::<[u64; SIGNALS.len()]>::new().expect("a selector");
    for (index, signal) in SIGNALS.into_iter().enumerate() {
        let count = move |ctx: &mut Context<'_, [u64; SIGNALS.len()]>| ctx.state[index] += 1;
        selector
            .on_signal(signal as i32, count)
            .expect("it can be handled");
    }
    let looped = End::connect(&address).expect("the scenario lives");
    let mut blocked = End::connect(&address).expect("the scenario lives");
    let key = selector.add(looped);
    let echo = |duct: &mut End, message: Result<Message, TryRecvError>, _: &mut Context<'_, _>| {
        if let Ok(message) = message {
            duct.send(message).expect("the scenario lives");
        }
    };
    selector.on_message(key, echo).expect("the duct is there");
    let thread = thread::spawn(move || {
        while let Ok(message) = blocked.recv() {
            blocked.send(message).expect("the scenario lives");
        }
    });
    println!("handles");
    let mut counts = [0; SIGNALS.len()];
    // Ends when the duct does.
    selector.run(&mut counts).expect("signals are no errors");
    thread.join().expect("signals are no errors");
    println!("{counts:?}");
    ExitCode::SUCCESS
}

/// No call fails for a signal, no message is lost or doubled, and no kind of signal is overlooked.
fn signals_by_the_thousand_lose_nothing(chance: &mut Chance) {
    let folder = tempfile::tempdir().expect("a folder");
    for address in addresses(folder.path()) {
        let mut port = Port::bind(&address).expect("it is free");
        let mut session = Session::start(STORMED, &[&port.address().to_string()]);
        let ducts = [(); 2].map(|()| {
            let channel = port.accept_timeout(SOON).expect("the peer");
            DuctOptions::new().handshake(true).from_channel(channel)
        });
        assert_eq!(session.line(), "handles");
        let threads = ducts.map(|duct| {
            let seed = chance.below(u64::MAX);
            thread::spawn(move || converse(duct, &mut Chance::new(seed)))
        });
        for index in 0..COUNT {
            session.signal(SIGNALS[index as usize % SIGNALS.len()]);
            if index % 100 == 0 {
                pause(Duration::from_micros(chance.below(2000)));
            }
        }
        for thread in threads {
            thread.join().expect("nothing is lost");
        }
        let (status, told) = session.wait();
        assert!(status.success(), "{address}: {status}");
        let counts = told.trim_matches(|c| "[]\n".contains(c)).split(", ");
        let counts: Vec<u64> = counts
            .map(|count| count.parse().expect("a number"))
            .collect();
        assert!(
            counts.iter().all(|count| *count > 0),
            "{address}: overlooked: {counts:?}"
        );
        let most = COUNT / SIGNALS.len() as u64 + 1;
        assert!(
            counts.iter().all(|count| *count <= most),
            "{address}: {counts:?}"
        );
        session.assert_gone("stormed");
    }
}

/// Sends messages of every size and has them back in order.
fn converse(mut duct: End, chance: &mut Chance) {
    for number in 0..400 {
        let len = [10, 5000, 300_000][(number % 41 / 20) as usize] >> chance.below(4);
        let body = pattern(number, len);
        duct.send_timeout((number, body.clone()), SOON)
            .expect("the peer lives");
        let (echoed, back) = duct.recv_timeout(SOON).expect("an echo");
        assert_eq!(echoed, number);
        assert!(back == body, "{number} is damaged");
    }
}

static CAUGHT: AtomicU64 = AtomicU64::new(0);

extern "C" fn count(_: nix::libc::c_int) {
    CAUGHT.fetch_add(1, Ordering::Relaxed);
}

/// Has every signal of the storm interrupt the system call that it comes in, as programs do that set
/// no SA_RESTART.
#[expect(
    unsafe_code,
    reason = "a handler that interrupts calls cannot be had otherwise"
)]
fn interrupt_calls() {
    let flags = SaFlags::empty();
    let action = SigAction::new(SigHandler::Handler(count), flags, SigSet::empty());
    for signal in SIGNALS {
        // SAFETY: the handler only adds to an atomic, and this process has no other for the signal.
        unsafe { sigaction(signal, &action) }.expect("it can be handled");
    }
}

/// The process in the storm: its main thread, which the system prefers for signals, blocks in the
/// calls of one duct, and then runs a loop that echoes another.
pub(crate) fn interrupted(words: &[String]) -> ExitCode {
    let address: Address = words[0].parse().expect("an address");
    interrupt_calls();
    println!("handles");
    let mut blocked = End::connect(&address).expect("the scenario lives");
    while let Ok(message) = blocked.recv() {
        blocked.send(message).expect("the scenario lives");
    }
    drop(blocked);
    let looped = End::connect(&address).expect("the scenario lives");
    let mut selector = Selector::<()>::new().expect("a selector");
    let key = selector.add(looped);
    let echo = |duct: &mut End, message: Result<Message, TryRecvError>, _: &mut Context<'_, _>| {
        if let Ok(message) = message {
            duct.send(message).expect("the scenario lives");
        }
    };
    selector.on_message(key, echo).expect("the duct is there");
    selector.run(&mut ()).expect("signals are no errors");
    println!("{}", CAUGHT.load(Ordering::Relaxed));
    ExitCode::SUCCESS
}

/// Connecting, the hand-shake, blocking calls and a loop, each in a storm.
fn signals_that_interrupt_every_call_lose_nothing(chance: &mut Chance) {
    let folder = tempfile::tempdir().expect("a folder");
    for address in addresses(folder.path()) {
        let mut port = Port::bind(&address).expect("it is free");
        let mut session = Session::start(INTERRUPTED, &[&port.address().to_string()]);
        assert_eq!(session.line(), "handles");
        let seed = chance.below(u64::MAX);
        let talk = thread::spawn(move || {
            let mut chance = Chance::new(seed);
            for _ in 0..2 {
                let channel = port.accept_timeout(SOON).expect("the peer");
                let duct = DuctOptions::new().handshake(true).from_channel(channel);
                converse(duct, &mut chance);
            }
        });
        let mut sent = 0;
        while !talk.is_finished() || sent < COUNT / 4 {
            session.signal(SIGNALS[sent as usize % SIGNALS.len()]);
            sent += 1;
            if sent % 20 == 0 {
                pause(Duration::from_micros(chance.below(2000)));
            }
        }
        talk.join().expect("nothing is lost");
        let (status, told) = session.wait();
        assert!(status.success(), "{address}: {status} {told}");
        let caught: u64 = told.trim().parse().expect("a number");
        assert!(caught > 100, "{address}: {caught} of {sent} signals");
        println!("{address}: {sent} signals, which interrupted {caught} times");
        session.assert_gone("interrupted");
    }
}
