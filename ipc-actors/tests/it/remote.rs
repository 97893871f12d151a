//! Actors reached from other programs: keys, rights, limits, and peers that mean no good.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use ipc_actors::{
    Arbiter, AskError, Listener, Placement, Proxy, Reference, RemoteArbiter, RemoteError,
    RemoteOptions, Spec,
};
use ipc_core::Address;
use ipc_marshal::AuthKey;

use crate::actors::{Add, Counter, Harm, Pid, Read as ReadCount, Start};
use crate::support::{LIMIT, PLACEMENTS, eventually, signal, spawn, with_arbiter, works};

fn loopback() -> Address {
    "tcp:127.0.0.1:0".parse().expect("an address")
}

fn key() -> AuthKey {
    AuthKey::new(b"a key that both know")
}

fn listen(arbiter: &Arbiter, options: RemoteOptions) -> Listener {
    arbiter
        .listen(&loopback(), options.key(key()))
        .expect("a listener")
}

/// A socket of this test's own, in the abstract namespace.
fn unix(name: &str) -> Address {
    format!("unix:@ipc-actors-{}-{name}", std::process::id())
        .parse()
        .expect("an address")
}

fn counter(arbiter: &Arbiter, placement: Placement, name: &str) -> Proxy<Counter> {
    let spec = Spec::<Counter>::new(Start::default())
        .placement(placement)
        .name(name);
    spawn(arbiter, spec)
}

#[test]
fn the_same_proxy_and_errors_over_a_socket() {
    with_arbiter(|arbiter| {
        let listener = arbiter
            .listen(&unix("same"), RemoteOptions::new().abstract_names(true))
            .expect("a listener");
        let remote = RemoteArbiter::connect(listener.address(), None).expect("a connection");
        for placement in PLACEMENTS {
            let name = placement.to_string();
            let here = counter(arbiter, placement, &name);
            let there: Proxy<Counter> = remote.get_actor(&name).expect("the actor");
            assert_eq!(there, here);
            assert_eq!(there.placement(), placement);
            for _ in 0..100 {
                there.send(Add(1)).unwrap();
            }
            assert_eq!(there.ask_timeout(Add(1), LIMIT), Ok(101), "{placement}");
            assert_eq!(there.ping().wait(), Ok(()));
            assert_eq!(there.echo(Some(0_u8)).wait(), Ok(Some(0)));
            assert_eq!(there.info().wait().unwrap().id, here.id());
            // What was asked behind a slow message by somebody else is not held up by its caller.
            let slow = there.ask(Harm::Busy(200));
            assert_eq!(there.echo(1).wait(), Ok(1));
            assert!(!slow.is_ready());
            assert_eq!(slow.wait(), Ok(()));
        }
        let missing = remote.get_actor::<Counter>("nobody");
        assert!(matches!(missing, Err(RemoteError::NotFound(_))));
    });
}

#[test]
fn over_tcp_a_key_is_needed_and_gives_no_more_than_was_granted() {
    with_arbiter(|arbiter| {
        let refused = arbiter.listen(&loopback(), RemoteOptions::new());
        assert_eq!(
            refused.unwrap_err().kind(),
            std::io::ErrorKind::InvalidInput
        );
        let listener = listen(arbiter, RemoteOptions::new());
        let here = counter(arbiter, Placement::Thread, "desk");
        for wrong in [None, Some(AuthKey::new(b"another key"))] {
            let connected = RemoteArbiter::connect(listener.address(), wrong.as_ref());
            let used = connected.and_then(|remote| remote.get_actor::<Counter>("desk"));
            assert!(used.is_err(), "{used:?}");
        }
        let remote = RemoteArbiter::connect(listener.address(), Some(&key())).expect("welcome");
        let there: Proxy<Counter> = remote.get_actor("desk").expect("the actor");
        assert_eq!(there.ping().wait(), Ok(()));
        assert!(there.info().wait().is_ok());
        let forbidden = AskError::Forbidden("add".to_owned());
        assert_eq!(
            there.ask_timeout(Add(1), LIMIT),
            Err(forbidden),
            "for peers only"
        );
        assert_eq!(
            there.ask_timeout(ReadCount, LIMIT),
            Ok(0),
            "registered for everybody with a key"
        );
        assert!(
            there.stop(ipc_actors::ExitReason::Normal),
            "it is sent, and not heeded"
        );
        assert_eq!(there.ask_timeout(ReadCount, LIMIT), Ok(0));
        assert_eq!(here.incarnation(), 0);
    });
}

#[test]
fn an_allow_list_narrows_what_a_level_grants() {
    with_arbiter(|arbiter| {
        let spec = Spec::<Counter>::new(Start::default())
            .thread()
            .name("desk")
            .allow(["read"]);
        spawn(arbiter, spec);
        let listener = arbiter
            .listen(&unix("allow"), RemoteOptions::new().abstract_names(true))
            .expect("a listener");
        let remote = RemoteArbiter::connect(listener.address(), None).expect("a connection");
        let there: Proxy<Counter> = remote.get_actor("desk").expect("the actor");
        assert_eq!(there.ask_timeout(ReadCount, LIMIT), Ok(0));
        let forbidden = AskError::Forbidden("add".to_owned());
        assert_eq!(there.ask_timeout(Add(1), LIMIT), Err(forbidden));
    });
}

#[test]
fn an_actor_in_a_process_reaches_another_by_reference() {
    with_arbiter(|arbiter| {
        let listener = arbiter
            .listen(&unix("third"), RemoteOptions::new().abstract_names(true))
            .expect("a listener");
        let target = counter(arbiter, Placement::Process, "target");
        let caller = counter(arbiter, Placement::Process, "caller");
        let reference: Reference<Counter> = listener.reference(&target);
        let pids = caller
            .ask_timeout(crate::actors::Visit(reference), LIMIT)
            .unwrap();
        let own = caller.ask_timeout(Pid, LIMIT).unwrap();
        let other = target.ask_timeout(Pid, LIMIT).unwrap();
        assert_eq!(pids, Ok((own, other)));
    });
}

#[test]
fn its_death_ends_what_a_remote_caller_waits_for() {
    with_arbiter(|arbiter| {
        let listener = arbiter
            .listen(&unix("death"), RemoteOptions::new().abstract_names(true))
            .expect("a listener");
        let here = counter(arbiter, Placement::Process, "mortal");
        let pid = here.ask_timeout(Pid, LIMIT).unwrap();
        let remote = RemoteArbiter::connect(listener.address(), None).expect("a connection");
        let there: Proxy<Counter> = remote.get_actor("mortal").expect("the actor");
        let busy = there.ask(Harm::Busy(60_000));
        eventually(|| works(&here));
        signal(pid, "KILL");
        assert_eq!(busy.wait_timeout(LIMIT).unwrap(), Err(AskError::Started));
        assert_eq!(
            there.ask_timeout(Add(1), LIMIT),
            Ok(1),
            "the next incarnation"
        );
        let waits = there.ask(Harm::Busy(60_000));
        drop(listener);
        assert_eq!(waits.wait_timeout(LIMIT).unwrap(), Err(AskError::Lost));
        arbiter.kill_actor(here.id());
    });
}

#[test]
fn hostile_callers_hold_up_nobody() {
    with_arbiter(|arbiter| {
        let listener = listen(arbiter, RemoteOptions::new().connections_max(40));
        counter(arbiter, Placement::Thread, "desk");
        let text = listener.address().to_string();
        let address = text.strip_prefix("tcp:").expect("TCP");
        // Silent ones, one that claims four gigabytes, one that sends noise.
        let mut silent: Vec<_> = (0..20)
            .map(|_| TcpStream::connect(address).expect("a connection"))
            .collect();
        let mut noise = vec![0xff_u8; 64];
        for round in 0..20_u8 {
            let mut stream = TcpStream::connect(address).expect("a connection");
            noise
                .iter_mut()
                .enumerate()
                .for_each(|(index, byte)| *byte = round ^ index as u8);
            if round == 0 {
                noise[..8].copy_from_slice(&[0xff; 8]);
            }
            drop(stream.write_all(&noise));
        }
        let begun = Instant::now();
        let there = loop {
            // There are no more than forty at a time.
            let remote = RemoteArbiter::connect(listener.address(), Some(&key()));
            match remote.and_then(|remote| remote.get_actor::<Counter>("desk")) {
                Ok(there) => break there,
                Err(_) => assert!(begun.elapsed() < LIMIT),
            }
        };
        assert_eq!(there.ask_timeout(ReadCount, LIMIT), Ok(0));
        for stream in &mut silent {
            stream.set_read_timeout(Some(LIMIT)).expect("a time-out");
            let mut rest = Vec::new();
            // What the hand-shake said, and then the end: it was dropped at its deadline.
            drop(stream.read_to_end(&mut rest));
            assert!(rest.len() < 4096);
        }
        assert_eq!(
            there.ask_timeout(ReadCount, LIMIT),
            Ok(0),
            "others do not notice"
        );
    });
}

#[test]
fn a_message_that_is_too_long_is_refused() {
    with_arbiter(|arbiter| {
        let options = RemoteOptions::new()
            .abstract_names(true)
            .payload_len_max(4096)
            .peer_payload_len_max(4096);
        let listener = arbiter.listen(&unix("long"), options).expect("a listener");
        counter(arbiter, Placement::Thread, "desk");
        let remote = RemoteArbiter::connect(listener.address(), None).expect("a connection");
        let there: Proxy<Counter> = remote.get_actor("desk").expect("the actor");
        let error = there.echo(vec![7_u8; 10_000]).wait().unwrap_err();
        assert!(
            matches!(
                error,
                AskError::Codec(_) | AskError::Lost | AskError::NotStarted
            ),
            "{error}"
        );
    });
}
