//! Messages over a socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ipc_actors::{AskError, Proxy, RemoteArbiter, RemoteError};

use super::served::Served;
use super::{alone, figure};
use crate::actors::{Counter, Harm};
use crate::desk::{Back, Desk, Look, Stranger, Work, operator};
use crate::support::{LIMIT, eventually};

/// What is slow holds up nothing else, empty answers are what they are, errors say what they mean, and
/// nobody waits for the dead.
#[test]
fn p13_messages_over_a_socket() {
    let test = "behaviours::p13_messaging::p13_messages_over_a_socket";
    alone(test, 2 * LIMIT, || {
        let folder = tempfile::tempdir().expect("a folder");
        let mut served = Served::start(folder.path());
        for address in served.addresses() {
            let remote = RemoteArbiter::connect(&address, Some(&operator()))
                .or_else(|_| RemoteArbiter::connect(&address, None))
                .expect("welcome");
            let desk: Proxy<Desk> = remote.get_actor("desk").expect("the desk");
            let other: Proxy<Desk> = remote.get_actor("other").expect("the other");
            slow_and_fast(&desk, &other);
            nothing_is_something(&desk);
            errors(&remote, &desk);
            long(&remote, &desk);
        }
        malformed(&served);
        let [address, ..] = served.addresses();
        let remote = RemoteArbiter::connect(&address, None).expect("welcome");
        let counter: Proxy<Counter> = remote.get_actor("counter").expect("the counter");
        let desk: Proxy<Desk> = remote.get_actor("desk").expect("the desk");
        let waits: Vec<_> = (0..10).map(|_| counter.ask(Harm::Busy(60_000))).collect();
        assert_eq!(desk.ask_timeout(Look, LIMIT), Ok(()), "they have arrived");
        served.kill();
        let killed = Instant::now();
        for wait in waits {
            assert_eq!(
                wait.wait_timeout(LIMIT).expect("an end"),
                Err(AskError::Lost)
            );
        }
        figure(
            "asks of a killed peer ended",
            killed.elapsed(),
            Duration::from_millis(20),
        );
        eventually(|| desk.send(Look).is_err());
        assert_eq!(desk.ask(Look).wait(), Err(AskError::NotStarted));
    });
}

fn slow_and_fast(desk: &Proxy<Desk>, other: &Proxy<Desk>) {
    let slow = desk.ask(Work(0, 300_000));
    let begun = Instant::now();
    assert_eq!(other.ask_timeout(Look, LIMIT), Ok(()));
    assert_eq!(desk.ping().wait(), Ok(()), "ahead of messages");
    assert_eq!(desk.echo(7).wait(), Ok(7));
    assert!(!slow.is_ready(), "{:?}", begun.elapsed());
    // A tell returns at once, whatever the actor does.
    let told = Instant::now();
    desk.send(Look).expect("room");
    assert!(
        told.elapsed() < Duration::from_millis(100),
        "{:?}",
        told.elapsed()
    );
    assert_eq!(slow.wait(), Ok(()));
}

fn nothing_is_something(desk: &Proxy<Desk>) {
    assert_eq!(desk.ask_timeout(Back(0_u64), LIMIT), Ok(0));
    assert_eq!(desk.ask_timeout(Back(None::<u8>), LIMIT), Ok(None));
    assert_eq!(desk.ask_timeout(Back(Some(0_u8)), LIMIT), Ok(Some(0)));
    assert_eq!(desk.ask_timeout(Back(false), LIMIT), Ok(false));
    assert_eq!(
        desk.ask_timeout(Back(Vec::new()), LIMIT),
        Ok(Vec::<u8>::new())
    );
    assert_eq!(
        desk.ask_timeout(Back(String::new()), LIMIT),
        Ok(String::new())
    );
    assert_eq!(desk.ask_timeout(Back(()), LIMIT), Ok(()));
}

fn errors(remote: &RemoteArbiter, desk: &Proxy<Desk>) {
    let unknown = desk.ask_timeout(Stranger, LIMIT);
    assert!(
        matches!(unknown, Err(AskError::UnknownCommand(_))),
        "{unknown:?}"
    );
    let nobody = remote.get_actor::<Desk>("nobody");
    assert!(matches!(nobody, Err(RemoteError::NotFound(_))));
    let another = remote.get_actor::<Counter>("desk");
    assert!(matches!(another, Err(RemoteError::Kind { .. })));
}

fn long(remote: &RemoteArbiter, desk: &Proxy<Desk>) {
    let fits = desk.ask_timeout(Back(vec![7_u8; 1_000_000]), LIMIT);
    assert_eq!(fits.map(|back| back.len()), Ok(1_000_000));
    // Beyond the limit the connection ends, and nothing is read of it.
    let error = desk.ask_timeout(Back(vec![7_u8; 5_000_000]), LIMIT);
    let ended = [AskError::Lost, AskError::NotStarted];
    let refused = error.expect_err("too long");
    assert!(
        ended.contains(&refused) || matches!(refused, AskError::Codec(_)),
        "{refused}"
    );
    drop(remote.clone());
}

fn malformed(served: &Served) {
    let text = served.tcp.to_string();
    let address = text.strip_prefix("tcp:").expect("TCP");
    for bytes in [&b"*-5\r\n"[..], &[0xff; 64], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(LIMIT)).expect("a time-out");
        drop(stream.write_all(bytes));
        let begun = Instant::now();
        drop(stream.read_to_end(&mut Vec::new()));
        assert!(begun.elapsed() < LIMIT / 2, "it ends");
    }
}
