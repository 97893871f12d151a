//! A loop whose peers die all at once.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use ipc_core::{Address, AnyChannel, Inherit, Port, Socket};
use ipc_dispatch::{Context, Control, Exit, Selector};
use ipc_marshal::{Duct, DuctOptions, TryRecvError};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use crate::account::Ledger;
use crate::calls::{Message, addresses};
use crate::chance::Chance;
use crate::scenario::{scenarios, skip, step};
use crate::session::{SOON, Session, signal};
use crate::tasks::pattern;

scenarios![
    a_thousand_peers_die_at_once,
    a_thousand_children_die_at_once
];

pub(crate) const CROWD: &str = "loop-crowd";

/// How many connections; a ring has more descriptors than a socket.
fn size(address: &Address) -> usize {
    match address {
        Address::Ring(_) => 100,
        _ => 1000,
    }
}

/// What a connection and its other end need at the most, in descriptors of one process.
const FILES: u64 = 1200;

type End = Duct<Message, Message>;

/// Many peers in one process, which talk until they are killed.
pub(crate) fn crowd(words: &[String]) -> ExitCode {
    let [address] = words else {
        return ExitCode::FAILURE;
    };
    allow(FILES);
    let address: Address = address.parse().expect("an address");
    let connect = |_| -> End {
        let channel = AnyChannel::connect(&address).expect("the scenario lives");
        DuctOptions::new().from_channel(channel)
    };
    let mut ends: Vec<_> = (0..size(&address)).map(connect).collect();
    for number in 0.. {
        for (index, end) in ends.iter_mut().enumerate() {
            let message = (number, pattern(number, index % 50));
            end.send(message)
                .expect("the scenario reads until this process is killed");
        }
    }
    ExitCode::SUCCESS
}

fn allow(files: u64) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, files.clamp(soft, hard), hard).expect("it is allowed");
}

struct Crowd {
    /// How many messages came of each peer.
    messages: Vec<u64>,
    /// Whose end was told.
    ends: Ledger,
    left: usize,
    session: Session,
    /// When it is killed.
    blow: Instant,
}

impl Crowd {
    fn heard(&mut self, index: usize, message: Result<Message, TryRecvError>) -> Control {
        match message {
            Ok((number, _)) => {
                assert_eq!(
                    number, self.messages[index],
                    "peer {index}: lost or doubled"
                );
                self.messages[index] += 1;
                Control::Keep
            }
            Err(TryRecvError::Disconnected | TryRecvError::Truncated { .. }) => {
                self.ends.delivered(index as u64);
                self.left -= 1;
                Control::Close
            }
            Err(error) => panic!("peer {index}: {error:?}"),
        }
    }
}

/// Every one of them is told once that its peer is gone, after everything that the peer had sent, and
/// the loop ends because it has nothing to wait for.
fn a_thousand_peers_die_at_once(chance: &mut Chance) {
    allow(FILES);
    let folder = tempfile::tempdir().expect("a folder");
    for address in &addresses(folder.path())[..3] {
        let mut port = Port::bind(address).expect("it is free");
        let session = Session::start(CROWD, &[&port.address().to_string()]);
        let count = size(address);
        let mut selector = Selector::<Crowd>::new().expect("a selector");
        let mut ends = Ledger::new();
        for index in 0..count {
            let channel = port.accept_timeout(SOON).expect("a peer");
            let duct: End = DuctOptions::new().from_channel(channel);
            let key = selector.add(duct);
            let hear = move |_: &mut End, message, ctx: &mut Context<'_, Crowd>| {
                ctx.state.heard(index, message)
            };
            selector.on_message(key, hear).expect("the duct is there");
            ends.accepted(index as u64);
        }
        let mut crowd = Crowd {
            messages: vec![0; count],
            ends,
            left: count,
            session,
            blow: Instant::now() + Duration::from_micros(chance.below(60_000)),
        };
        let wait = crowd.blow.saturating_duration_since(Instant::now());
        selector.alarm(wait, |ctx: &mut Context<'_, Crowd>| {
            ctx.state.session.kill()
        });
        let exit = selector
            .run_timeout(&mut crowd, SOON)
            .expect("deaths are no errors");
        assert_eq!((exit, crowd.left), (Exit::Idle, 0), "{address}");
        crowd.ends.check();
        let messages: u64 = crowd.messages.iter().sum();
        println!("{address}: {count} peers died at once, after {messages} messages");
        crowd.session.assert_gone("a crowd");
    }
}

/// What a loop knows of a thousand children.
#[derive(Default)]
struct Family {
    /// Echoes, which each child sends one of, by the child.
    echoes: Ledger,
    /// Whose channel has ended.
    ends: Ledger,
    /// Who was reaped.
    deaths: Ledger,
    echoed: usize,
    ended: usize,
    reaped: usize,
}

/// A loop that is told of each of its children twice, by the end of its channel and by its death, and
/// of each once.
fn a_thousand_children_die_at_once(chance: &mut Chance) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    // Each has a socket and a descriptor of its own here.
    allow(2600);
    let count = (hard.min(2600) as usize - 100) / 2;
    let count = count.min(1000);
    if count < 1000 {
        skip(&format!("only {count} children fit into this limit"));
    }
    let mut selector = Selector::<Family>::new().expect("a selector");
    let mut family = Family::default();
    let mut port = Port::bind(&"tcp:127.0.0.1:0".parse().expect("an address")).expect("a port");
    let mut pids = Vec::new();
    for index in 0..count {
        step(format!("starting child {index}"));
        let pid = adopt(&mut selector, &mut port, index);
        pids.push(pid);
        family.echoes.accepted(index as u64);
        family.ends.accepted(index as u64);
        family.deaths.accepted(index as u64);
    }
    drop(port);
    // All have echoed, or some are killed before.
    let patience = [SOON, Duration::from_millis(chance.below(40))][chance.below(2) as usize];
    let until = Instant::now() + patience;
    while family.echoed < count && Instant::now() < until {
        let short = Some(Duration::from_millis(5));
        selector.turn(&mut family, short).expect("no error");
    }
    step("the blow");
    pids.iter().for_each(|pid| signal(*pid, Signal::SIGKILL));
    let exit = selector.run_timeout(&mut family, SOON);
    let told = (family.ended, family.reaped);
    assert_eq!(
        (exit.expect("no error"), told),
        (Exit::Idle, (count, count))
    );
    family.ends.check();
    family.deaths.check();
    assert!(selector.sources().is_empty(), "sources are left");
    println!(
        "{count} children died at once, {} had echoed",
        family.echoed
    );
}

/// Starts a child that echoes bytes, sends it one message, and waits for its echo, its end and its death.
fn adopt(selector: &mut Selector<Family>, port: &mut Port, index: usize) -> u32 {
    let (ours, theirs): (AnyChannel, Socket) = if index.is_multiple_of(2) {
        let (ours, theirs) = Socket::pair().expect("a pair");
        (ours.into(), theirs)
    } else {
        let theirs = Socket::connect(port.address()).expect("a connection");
        (port.accept_timeout(SOON).expect("it has connected"), theirs)
    };
    let theirs = OwnedFd::from(theirs);
    let copy = theirs.try_clone().expect("a copy");
    let inherit = Inherit::new().give(0, theirs).give(1, copy);
    let child = inherit.spawn(&Command::new("cat")).expect("a child");
    let mut duct: End = DuctOptions::new().from_channel(ours);
    duct.send((index as u64, Vec::new()))
        .expect("there is room");
    let key = selector.add(duct);
    let hear = move |_: &mut End, message, ctx: &mut Context<'_, Family>| match message {
        Ok((number, _)) => {
            assert_eq!(number, index as u64);
            ctx.state.echoes.delivered(number);
            ctx.state.echoed += 1;
            Control::Keep
        }
        Err(TryRecvError::Disconnected | TryRecvError::Truncated { .. }) => {
            ctx.state.ends.delivered(index as u64);
            ctx.state.ended += 1;
            Control::Close
        }
        // What a child had not read when it was killed resets a connection.
        Err(TryRecvError::Io(error)) if error.kind() == ErrorKind::ConnectionReset => {
            ctx.state.ends.reported(index as u64);
            ctx.state.ended += 1;
            Control::Close
        }
        Err(error) => panic!("child {index}: {error:?}"),
    };
    selector.on_message(key, hear).expect("the duct is there");
    let watched = selector.on_child(child.id(), move |status, ctx: &mut Context<'_, Family>| {
        assert_eq!(status.expect("its end").signal(), Some(9));
        ctx.state.deaths.delivered(index as u64);
        ctx.state.reaped += 1;
    });
    watched.expect("it can be watched");
    child.id()
}
