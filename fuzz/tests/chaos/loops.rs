//! A loop whose peers die all at once.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use ipc_core::{Address, AnyChannel, Port};
use ipc_dispatch::{Context, Control, Exit, Selector};
use ipc_marshal::{Duct, DuctOptions, TryRecvError};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::account::Ledger;
use crate::calls::{Message, addresses};
use crate::chance::Chance;
use crate::scenario::scenarios;
use crate::session::{SOON, Session};
use crate::tasks::pattern;

scenarios![a_thousand_peers_die_at_once];

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
