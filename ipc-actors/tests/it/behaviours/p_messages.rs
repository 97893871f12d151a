//! Who may say what, and what becomes of it.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use ipc_actors::{AskError, RemoteArbiter, RemoteError, RemoteOptions, Spec};
use ipc_core::Address;
use ipc_marshal::AuthKey;

use super::{alone, figure};
use crate::actors::{Add, Counter, Harm, Start};
use crate::application::{Server, say};
use crate::support::{LIMIT, eventually, pid, signal, spawn, with_arbiter, works};

const KEY: &str = "what operators know";

/// Where nobody listens.
fn free_port() -> Address {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    format!("tcp:127.0.0.1:{port}").parse().expect("an address")
}

#[test]
fn p12_each_connection_proves_the_key_and_nobody_sees_it() {
    let test = "behaviours::p_messages::p12_each_connection_proves_the_key_and_nobody_sees_it";
    alone(test, 2 * LIMIT, || {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("settings.toml");
        let address = free_port();
        fs::write(
            &path,
            format!("control = \"{address}\"\ncontrol_key = \"{KEY}\"\n"),
        )
        .expect("a file");
        let mut server = Server::start_plain(&["-w", "1", "-c", &path.display().to_string()], &[]);
        let key = AuthKey::new(KEY.as_bytes());
        let first = RemoteArbiter::connect(&address, Some(&key)).expect("welcome");
        for wrong in [None, Some(AuthKey::new(b"what they do not know"))] {
            let refused = RemoteArbiter::connect(&address, wrong.as_ref());
            // A stranger may come in where that is allowed, and gets to see nothing.
            let refused = refused.and_then(|stranger| {
                let tree = stranger.tree().wait();
                tree.map_err(|_| RemoteError::Disconnected)
            });
            assert!(refused.is_err(), "{refused:?}");
            // Whose connection was good before is none the wiser.
            assert!(first.tree().wait().is_ok());
        }
        let shown = first.config_get("control_key").wait().expect("an answer");
        assert_ne!(shown.as_deref(), Some(KEY));
        let tree = format!("{:?} {:?}", first.tree().wait(), first.config().wait());
        assert!(!tree.contains(KEY), "{tree}");
        // Neither this program's workers nor anybody who looks at them can read it.
        let worker = say(&mut server.client(), "hello");
        for process in [worker, server.child.id()] {
            for place in ["environ", "cmdline"] {
                let text = fs::read(format!("/proc/{process}/{place}")).expect("its own");
                let text = String::from_utf8_lossy(&text).into_owned();
                assert!(!text.contains(KEY), "{process} {place}");
            }
        }
        assert_eq!(first.shutdown().wait(), Ok(()));
        assert_eq!(server.wait(), Some(0));
        // A program that has it from its environment does not hand it on.
        let given = [
            ("ECHO_SERVER_CONTROL_KEY", KEY),
            ("ECHO_SERVER_WORKERS", "1"),
        ];
        let server = Server::start_plain(&["--control", &address.to_string()], &given);
        assert!(RemoteArbiter::connect(&address, Some(&key)).is_ok());
        let worker = say(&mut server.client(), "hello");
        let known = fs::read(format!("/proc/{worker}/environ")).expect("its own");
        let known = String::from_utf8_lossy(&known).into_owned();
        assert!(known.contains("ECHO_SERVER_WORKERS=1") && !known.contains(KEY));
    });
}

#[test]
fn p13_answers_wait_for_nobody_elses_and_nothing_is_nothing() {
    let test = "behaviours::p_messages::p13_answers_wait_for_nobody_elses_and_nothing_is_nothing";
    alone(test, 2 * LIMIT, || {
        with_arbiter(|arbiter| {
            let spec = |name: &str| Spec::<Counter>::new(Start::default()).process().name(name);
            let (slow, quick) = (spawn(arbiter, spec("slow")), spawn(arbiter, spec("quick")));
            let folder = tempfile::tempdir().expect("a folder");
            let address = format!("unix:{}/control", folder.path().display());
            let address = address.parse().expect("an address");
            let listener = arbiter
                .listen(&address, RemoteOptions::new())
                .expect("a listener");
            // One connection for both.
            let remote = RemoteArbiter::connect(listener.address(), None).expect("a connection");
            let there = |name: &str| {
                let found = remote.get_actor::<Counter>(name);
                found.expect("the actor")
            };
            let (far_slow, far_quick) = (there("slow"), there("quick"));
            let busy = far_slow.ask(Harm::Busy(60_000));
            eventually(|| works(&slow));
            let begun = Instant::now();
            for _ in 0..100 {
                assert_eq!(far_quick.ask_timeout(Add(1), LIMIT).map(drop), Ok(()));
            }
            figure(
                "a hundred answers",
                begun.elapsed(),
                Duration::from_millis(50),
            );
            let begun = Instant::now();
            for _ in 0..100 {
                assert_eq!(slow.ping().wait(), Ok(()));
            }
            figure(
                "a hundred pings near",
                begun.elapsed(),
                Duration::from_millis(50),
            );
            let begun = Instant::now();
            for _ in 0..100 {
                assert_eq!(far_slow.ping().wait(), Ok(()));
            }
            figure(
                "a hundred pings",
                begun.elapsed(),
                Duration::from_millis(50),
            );
            // A tell to a busy one is done when it is sent.
            let begun = Instant::now();
            far_slow.send(Add(1)).expect("it is sent");
            figure("a tell", begun.elapsed(), Duration::from_millis(1));
            assert!(!busy.is_ready());

            for actor in [&quick, &far_quick] {
                assert_eq!(actor.echo(0_u64).wait(), Ok(0));
                assert_eq!(actor.echo(false).wait(), Ok(false));
                assert_eq!(actor.echo(None::<u64>).wait(), Ok(None));
                assert_eq!(actor.echo(Some(())).wait(), Ok(Some(())));
                assert_eq!(actor.echo(String::new()).wait(), Ok(String::new()));
                assert_eq!(actor.echo(Vec::<u64>::new()).wait(), Ok(Vec::new()));
            }
            let nobody = remote.get_actor::<Counter>("nobody");
            assert!(
                matches!(nobody, Err(RemoteError::NotFound(_))),
                "{nobody:?}"
            );

            // Its death ends what waits for it, near and far.
            signal(pid_of(&slow), "KILL");
            assert_eq!(busy.wait_timeout(LIMIT).unwrap(), Err(AskError::Started));
            assert_ne!(pid(&slow), 0);
            drop((remote, far_slow, far_quick, listener));
        });
    });
}

/// The process of one that is busy.
fn pid_of(counter: &ipc_actors::Proxy<Counter>) -> u32 {
    let info = counter.info().wait_timeout(LIMIT).expect("in time");
    info.expect("an answer").pid
}
