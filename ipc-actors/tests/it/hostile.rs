//! Peers that mean no good: on the wire between two, or in their place.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ipc_actors::{Access, Arbiter, AskError, Listener, Proxy, RemoteArbiter, RemoteOptions, Spec};
use ipc_core::Address;
use ipc_marshal::AuthKey;

use crate::actors::{Add, Counter, Harm, Read as ReadCount, Start};
use crate::support::{LIMIT, eventually, spawn, with_arbiter};

fn key() -> AuthKey {
    AuthKey::new(b"a key that both know")
}

/// A desk behind TCP whose callers may do everything.
fn open(arbiter: &Arbiter, options: RemoteOptions) -> (Listener, Proxy<Counter>) {
    let spec = Spec::<Counter>::new(Start::default()).thread().name("desk");
    let desk = spawn(arbiter, spec);
    let address: Address = "tcp:127.0.0.1:0".parse().expect("an address");
    let options = options.key_for(key(), Access::Peer);
    (arbiter.listen(&address, options).expect("a listener"), desk)
}

fn connect(address: &Address) -> Proxy<Counter> {
    RemoteArbiter::connect(address, Some(&key()))
        .expect("welcome")
        .get_actor("desk")
        .expect("the desk")
}

fn socket(address: &Address) -> TcpStream {
    let text = address.to_string();
    let stream = TcpStream::connect(text.strip_prefix("tcp:").expect("TCP")).expect("a connection");
    stream.set_read_timeout(Some(LIMIT)).expect("a time-out");
    stream
}

/// What a wiretapper does with bytes on their way to the arbiter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Tap {
    Pass,
    /// Flips a bit of the last byte.
    Change,
    Repeat,
    Swallow,
    /// Sends them back to where they came from, too.
    Reflect,
}

/// Sits between a caller and the arbiter.
pub(crate) struct Wiretapper {
    pub(crate) address: Address,
    pub(crate) orders: mpsc::Sender<Tap>,
    pub(crate) heard: mpsc::Receiver<Vec<u8>>,
}

impl Wiretapper {
    pub(crate) fn before(listener: &Address) -> Self {
        let own = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("tcp:{}", own.local_addr().expect("an address"));
        let mut there = socket(listener);
        let (orders, taps) = mpsc::channel();
        let (tell, heard) = mpsc::channel();
        thread::spawn(move || {
            let (mut here, _) = own.accept().expect("the caller");
            let (mut back, mut from) = (here.try_clone().expect("a copy"), there.try_clone());
            thread::spawn(move || {
                if let Ok(from) = &mut from {
                    drop(std::io::copy(from, &mut back));
                }
                drop(back.shutdown(Shutdown::Both));
            });
            let mut buf = [0; 4096];
            while let Ok(len @ 1..) = here.read(&mut buf) {
                let chunk = &mut buf[..len];
                drop(tell.send(chunk.to_vec()));
                let times = match taps.try_recv().unwrap_or(Tap::Pass) {
                    Tap::Pass => 1,
                    Tap::Change => {
                        chunk[len - 1] ^= 1;
                        1
                    }
                    Tap::Repeat => 2,
                    Tap::Swallow => 0,
                    Tap::Reflect => {
                        drop(here.write_all(chunk));
                        1
                    }
                };
                for _ in 0..times {
                    drop(there.write_all(chunk));
                }
            }
            drop(there.shutdown(Shutdown::Both));
        });
        Self {
            address: address.parse().expect("an address"),
            orders,
            heard,
        }
    }
}

#[test]
fn frames_that_are_changed_repeated_or_swallowed_end_the_connection() {
    with_arbiter(|arbiter| {
        let (listener, desk) = open(arbiter, RemoteOptions::new());
        let mut expected = 0;
        for (tap, counts) in [(Tap::Change, 0), (Tap::Repeat, 1), (Tap::Swallow, 0)] {
            let wire = Wiretapper::before(listener.address());
            let there = connect(&wire.address);
            assert_eq!(there.ask_timeout(Add(10), LIMIT), Ok(expected + 10));
            let before = listener.stats();
            wire.orders.send(tap).expect("it listens");
            let tapped = there.ask(Add(1));
            // The next frame shows the gap that a swallowed one leaves.
            if tap == Tap::Swallow {
                eventually(|| wire.orders.send(Tap::Pass).is_ok());
                eventually(|| tapped.is_ready() || there.ask(Add(100)).is_ready());
            }
            let answer = tapped.wait_timeout(LIMIT).expect("an end");
            if tap != Tap::Repeat {
                assert_eq!(answer, Err(AskError::Lost), "{tap:?}");
            }
            expected += 10 + counts;
            eventually(|| listener.stats().forged == before.forged + 1);
            assert_eq!(desk.ask_timeout(ReadCount, LIMIT), Ok(expected), "{tap:?}");
        }
    });
}

#[test]
fn a_recorded_session_is_worth_nothing() {
    with_arbiter(|arbiter| {
        let (listener, desk) = open(arbiter, RemoteOptions::new());
        let wire = Wiretapper::before(listener.address());
        assert_eq!(connect(&wire.address).ask_timeout(Add(1), LIMIT), Ok(1));
        let recording: Vec<u8> = wire.heard.try_iter().flatten().collect();
        for part in [recording.len(), recording.len() / 2] {
            let mut stream = socket(listener.address());
            drop(stream.write_all(&recording[..part]));
            drop(stream.shutdown(Shutdown::Write));
            let mut answer = Vec::new();
            drop(stream.read_to_end(&mut answer));
        }
        eventually(|| listener.stats().failed == 2);
        assert_eq!(desk.ask_timeout(ReadCount, LIMIT), Ok(1));
    });
}

#[test]
fn what_is_reflected_proves_nothing() {
    with_arbiter(|arbiter| {
        let (listener, desk) = open(arbiter, RemoteOptions::new());
        let wire = Wiretapper::before(listener.address());
        let there = connect(&wire.address);
        wire.orders.send(Tap::Reflect).expect("it listens");
        let answer = there.ask(Add(1)).wait_timeout(LIMIT).expect("an end");
        assert_eq!(answer, Err(AskError::Lost), "the caller hears itself");
        eventually(|| desk.ask_timeout(ReadCount, LIMIT) == Ok(1));
    });
}

/// Speaks the first frames of the protocol below and never the right proof.
#[test]
fn one_in_the_arbiters_place_learns_nothing_and_is_found_out() {
    let impostor = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("tcp:{}", impostor.local_addr().expect("an address"));
    let address: Address = address.parse().expect("an address");
    let heard = thread::spawn(move || {
        let (mut stream, _) = impostor.accept().expect("a caller");
        stream.set_read_timeout(Some(LIMIT)).expect("a time-out");
        let (mut heard, mut buf) = (Vec::new(), [0; 1024]);
        // Whatever it is told it says back.
        while let Ok(len @ 1..) = stream.read(&mut buf) {
            heard.extend_from_slice(&buf[..len]);
            if stream.write_all(&buf[..len]).is_err() {
                break;
            }
        }
        heard
    });
    let begun = Instant::now();
    assert!(RemoteArbiter::connect(&address, Some(&key())).is_err());
    assert!(begun.elapsed() < LIMIT);
    let heard = heard.join().expect("no panic");
    let secret = b"a key that both know";
    assert!(!heard.windows(secret.len()).any(|bytes| bytes == secret));
}

#[test]
fn slow_and_half_open_callers_are_dropped_and_bounded() {
    with_arbiter(|arbiter| {
        let options = RemoteOptions::new().half_open_max(8);
        let (listener, _) = open(arbiter, options);
        let there = connect(listener.address());
        let begun = Instant::now();
        let mut silent: Vec<_> = (0..32).map(|_| socket(listener.address())).collect();
        eventually(|| listener.stats().refused >= 24);
        // One that was let in before does not notice.
        assert_eq!(there.ask_timeout(Add(1), LIMIT), Ok(1));
        for stream in &mut silent {
            // A byte now and then does not keep it open.
            drop(stream.write_all(&[0]));
            drop(stream.read_to_end(&mut Vec::new()));
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
        eventually(|| RemoteArbiter::connect(listener.address(), Some(&key())).is_ok());
        assert!(listener.stats().failed >= 8);
    });
}

#[test]
fn who_fails_is_told_nothing_and_not_at_once() {
    with_arbiter(|arbiter| {
        let (listener, _) = open(arbiter, RemoteOptions::new());
        let mut told = Vec::new();
        for wrong in [None, Some(AuthKey::new(b"another key"))] {
            let begun = Instant::now();
            let refused = RemoteArbiter::connect(listener.address(), wrong.as_ref());
            told.push(refused.unwrap_err().to_string());
            assert!(begun.elapsed() >= Duration::from_millis(250));
        }
        assert_eq!(told[0], told[1]);
        assert_eq!(listener.stats().failed, 2);
    });
}

#[test]
fn asking_for_what_one_may_not_ends_after_some_strikes() {
    with_arbiter(|arbiter| {
        let options = RemoteOptions::new().strikes_max(3);
        let weak = AuthKey::new(b"a key for looking");
        let (listener, desk) = open(arbiter, options.key(weak.clone()));
        let remote = RemoteArbiter::connect(listener.address(), Some(&weak)).expect("welcome");
        assert_eq!(remote.access(), Access::Authenticated);
        let there: Proxy<Counter> = remote.get_actor("desk").expect("the desk");
        for _ in 0..3 {
            let forbidden = AskError::Forbidden("add".to_owned());
            assert_eq!(there.ask_timeout(Add(1), LIMIT), Err(forbidden));
        }
        let other = connect(listener.address());
        eventually(|| {
            let answer = there.ask_timeout(Add(1), LIMIT);
            matches!(answer, Err(AskError::Lost | AskError::NotStarted))
        });
        assert!(
            remote.get_actor::<Counter>("desk").is_err(),
            "it was cut off"
        );
        assert_eq!(other.ask_timeout(Add(1), LIMIT), Ok(1), "and nobody else");
        assert_eq!(desk.ask_timeout(ReadCount, LIMIT), Ok(1));
        assert_eq!(listener.stats().cut, 1);
    });
}

#[test]
fn each_key_has_its_rights_and_strangers_have_few() {
    with_arbiter(|arbiter| {
        let options = RemoteOptions::new().strangers(true);
        let weak = AuthKey::new(b"a key for looking");
        let (listener, _) = open(arbiter, options.key(weak.clone()));
        let connect = |key: Option<&AuthKey>| {
            let remote = RemoteArbiter::connect(listener.address(), key).expect("welcome");
            let there: Proxy<Counter> = remote.get_actor("desk").expect("the desk");
            (remote, there)
        };
        let (stranger, there) = connect(None);
        assert_eq!(stranger.access(), Access::Public);
        assert_eq!(there.ping().wait(), Ok(()));
        assert_eq!(there.echo(7).wait(), Ok(7));
        let forbidden = |name: &str| AskError::Forbidden(name.to_owned());
        assert_eq!(there.info().wait().unwrap_err(), forbidden("info"));
        assert_eq!(stranger.tree().wait().unwrap_err(), forbidden("tree"));
        assert_eq!(there.ask_timeout(ReadCount, LIMIT), Err(forbidden("read")));

        let (known, there) = connect(Some(&weak));
        assert!(known.tree().wait().is_ok());
        assert_eq!(there.ask_timeout(ReadCount, LIMIT), Ok(0));
        assert_eq!(there.ask_timeout(Add(1), LIMIT), Err(forbidden("add")));

        let (operator, there) = connect(Some(&key()));
        assert_eq!(operator.access(), Access::Peer);
        assert_eq!(there.ask_timeout(Add(1), LIMIT), Ok(1));
        // What another connection has proved changes nothing for this one.
        assert_eq!(stranger.tree().wait().unwrap_err(), forbidden("tree"));
    });
}

#[test]
fn a_flood_is_answered_with_full_and_other_callers_are_served() {
    with_arbiter(|arbiter| {
        let options = RemoteOptions::new().in_flight_max(16).bytes_max(64 << 10);
        let (listener, desk) = open(arbiter, options);
        let other = spawn(
            arbiter,
            Spec::<Counter>::new(Start::default())
                .thread()
                .name("other"),
        );
        let flooder = connect(listener.address());
        let slow = flooder.ask(Harm::Busy(500));
        let flood: Vec<_> = (0..2000).map(|_| flooder.ask(Add(1))).collect();
        let calm = RemoteArbiter::connect(listener.address(), Some(&key())).expect("welcome");
        let there: Proxy<Counter> = calm.get_actor("other").expect("the other");
        assert_eq!(there.ask_timeout(Add(1), LIMIT), Ok(1));
        assert_eq!(slow.wait(), Ok(()));
        let mut done = 0;
        for answer in flood {
            match answer.wait_timeout(LIMIT).expect("an end") {
                Ok(_) => done += 1,
                Err(error) => assert_eq!(error, AskError::Full),
            }
        }
        assert!(done < 2000);
        assert_eq!(desk.ask_timeout(ReadCount, LIMIT), Ok(done));
        assert_eq!(other.ask_timeout(ReadCount, LIMIT), Ok(1));
    });
}

#[test]
fn more_per_second_than_is_allowed_waits_with_the_caller() {
    with_arbiter(|arbiter| {
        let (listener, _) = open(arbiter, RemoteOptions::new().rate_max(50));
        let there = connect(listener.address());
        let begun = Instant::now();
        for count in 1..=75 {
            assert_eq!(there.ask_timeout(Add(1), LIMIT), Ok(count));
        }
        assert!(begun.elapsed() >= Duration::from_millis(450));
    });
}

#[test]
fn who_does_not_read_its_answers_is_cut_off() {
    with_arbiter(|arbiter| {
        let (listener, desk) = open(arbiter, RemoteOptions::new().bytes_max(256 << 10));
        // The wire to the caller is not read: nobody takes what the arbiter says.
        let own = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("tcp:{}", own.local_addr().expect("an address"));
        let mut there = socket(listener.address());
        let deaf = thread::spawn(move || {
            let (mut here, _) = own.accept().expect("the caller");
            let (mut from, mut back) = (
                there.try_clone().expect("a copy"),
                here.try_clone().expect("a copy"),
            );
            let answers = thread::spawn(move || {
                let mut buf = [0; 4096];
                // The greeting and what finding the desk takes, then nothing more.
                let mut passed = 0;
                while passed < 1024 {
                    let Ok(len @ 1..) = from.read(&mut buf) else {
                        return;
                    };
                    passed += len;
                    drop(back.write_all(&buf[..len]));
                }
                from.set_read_timeout(Some(LIMIT)).expect("a time-out");
                thread::park_timeout(Duration::from_secs(4));
            });
            drop(std::io::copy(&mut here, &mut there));
            drop(answers.join());
        });
        let address: Address = address.parse().expect("an address");
        let there = connect(&address);
        let load = vec![7_u8; 16 << 10];
        let waits: Vec<_> = (0..8192)
            .map(|_| there.echo(load.clone()))
            .take_while(|_| listener.stats().cut == 0)
            .collect();
        eventually(|| listener.stats().cut == 1);
        assert_eq!(desk.ask_timeout(Add(1), LIMIT), Ok(1));
        drop((there, waits));
        deaf.join().expect("no panic");
    });
}

#[test]
fn no_secret_is_shown() {
    with_arbiter(|arbiter| {
        let (listener, desk) = open(arbiter, RemoteOptions::new());
        let remote = RemoteArbiter::connect(listener.address(), Some(&key())).expect("welcome");
        let there: Proxy<Counter> = remote.get_actor("desk").expect("the desk");
        let options = RemoteOptions::new().key(key());
        let shown = format!(
            "{listener:?} {remote:?} {there:?} {desk:?} {options:?} {:?} {:?} {:?}",
            key(),
            there.info().wait(),
            remote.tree().wait()
        );
        assert!(!shown.contains("both know"), "{shown}");
        let bytes = format!("{:?}", b"a key that both know");
        assert!(!shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
        let reference = listener.reference(&desk);
        assert!(!format!("{reference:?}").contains("key"));
    });
}
