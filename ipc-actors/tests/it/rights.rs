//! What callers may do, how they come to it, and how they share what there is.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ipc_actors::{
    Access, AskError, Caller, Deed, Proxy, Reference, RemoteArbiter, RemoteError, RemoteOptions,
    Rights, Spec,
};
use ipc_core::Address;
use ipc_marshal::{AuthKey, Bincode, Codec};

use crate::desk::{
    Desk, Look, Note, Read, Work, Write, allowed, clerk, enter, journal, missing, open, open_with,
    operator, plain, read,
};
use crate::hostile::{Tap, Wiretapper};
use crate::support::{LIMIT, eventually, spawn, with_arbiter};

const STRANGER: [&str; 1] = ["look"];
const CLERK: [&str; 4] = ["look", "read", "info", "tree"];
const OPERATOR: [&str; 6] = ["look", "read", "write", "info", "tree", "kill"];

#[test]
fn a_key_that_is_proved_later_raises_this_connection_alone() {
    with_arbiter(|arbiter| {
        let (listener, _) = open(arbiter, RemoteOptions::new());
        let (remote, desk) = enter(&listener, None);
        let (other, others) = enter(&listener, None);
        assert_eq!(allowed(&remote, &desk), STRANGER);
        assert_eq!(remote.auth(&clerk()).expect("known"), Access::Authenticated);
        assert_eq!(allowed(&remote, &desk), CLERK);
        assert_eq!(remote.auth(&operator()).expect("known"), Access::Peer);
        assert_eq!(
            (remote.access(), allowed(&remote, &desk)),
            (Access::Peer, OPERATOR.to_vec())
        );
        assert_eq!(allowed(&other, &others), STRANGER);
        // A wrong one takes back what was proved later, not what the connection came with.
        let wrong = AuthKey::new(b"a guess");
        assert!(matches!(remote.auth(&wrong), Err(RemoteError::Refused)));
        assert_eq!(
            (remote.access(), allowed(&remote, &desk)),
            (Access::Public, STRANGER.to_vec())
        );
        let (known, desk) = enter(&listener, Some(&clerk()));
        assert_eq!(known.auth(&operator()).expect("known"), Access::Peer);
        assert!(known.auth(&wrong).is_err());
        assert_eq!(allowed(&known, &desk), CLERK);
        // And a connection that is made anew begins anew.
        assert_eq!(enter(&listener, None).0.access(), Access::Public);
    });
}

#[test]
fn a_wrong_key_is_slow_counted_and_held_against_the_connection() {
    with_arbiter(|arbiter| {
        let (listener, desk) = open(arbiter, RemoteOptions::new().strikes_max(3));
        let (remote, there) = enter(&listener, None);
        let (calm, calmly) = enter(&listener, None);
        let mut tries = 0;
        let (mut told, mut slow) = (Vec::new(), Duration::MAX);
        loop {
            let begun = Instant::now();
            let guess = AuthKey::new(format!("guess {tries}"));
            match remote.auth(&guess) {
                Err(RemoteError::Refused) => told.push(begun.elapsed()),
                Err(_) => break,
                Ok(access) => panic!("{access:?}"),
            }
            slow = slow.min(begun.elapsed());
            tries += 1;
            assert_eq!(calmly.ask_timeout(Look, LIMIT), Ok(()), "nobody else waits");
        }
        assert!((2..8).contains(&tries), "{tries}");
        assert!(slow >= Duration::from_millis(250), "{slow:?}");
        assert!(listener.stats().failed >= tries);
        eventually(|| listener.stats().cut == 1);
        assert!(there.ask_timeout(Look, LIMIT).is_err());
        assert_eq!(calm.access(), Access::Public);
        assert_eq!(desk.ask_timeout(Look, LIMIT), Ok(()));
    });
}

#[test]
fn what_follows_a_later_proof_is_signed() {
    with_arbiter(|arbiter| {
        let (listener, _) = open(arbiter, RemoteOptions::new());
        let wire = Wiretapper::before(listener.address());
        let remote = RemoteArbiter::connect(&wire.address, None).expect("welcome");
        let desk: Proxy<Desk> = remote.get_actor("desk").expect("the desk");
        // As a stranger nothing is signed: what is changed is answered somehow.
        remote.auth(&operator()).expect("known");
        assert_eq!(desk.ask_timeout(Write, LIMIT), Ok(()));
        wire.orders.send(Tap::Change).expect("it listens");
        let changed = desk.ask(Write).wait_timeout(LIMIT).expect("an end");
        assert_eq!(changed, Err(AskError::Lost));
        eventually(|| listener.stats().forged == 1);

        // A claim that somebody has heard is worth nothing elsewhere, nor here again.
        let wire = Wiretapper::before(listener.address());
        let remote = RemoteArbiter::connect(&wire.address, None).expect("welcome");
        wire.orders.send(Tap::Repeat).expect("it listens");
        assert!(remote.auth(&operator()).is_ok());
        eventually(|| listener.stats().forged == 2);
    });
}

#[test]
fn references_give_rights_that_only_shrink() {
    with_arbiter(|arbiter| {
        let (listener, desk) = open_with(arbiter, RemoteOptions::new(), plain());
        spawn(arbiter, plain().name("other"));
        let travelled = |reference: &Reference<Desk>| -> Reference<Desk> {
            let mut bytes = Vec::new();
            Bincode.encode(reference, &mut bytes).expect("it travels");
            Bincode.decode(&bytes).expect("it arrives")
        };
        let can = |reference: &Reference<Desk>| {
            let there = travelled(reference).connect(None).expect("welcome");
            let forbidden = |answer| matches!(answer, Err(AskError::Forbidden(_)));
            assert!(there.ping().wait().is_ok());
            let names = [
                ("look", forbidden(there.ask_timeout(Look, LIMIT))),
                ("read", forbidden(there.ask_timeout(Read, LIMIT))),
                ("write", forbidden(there.ask_timeout(Write, LIMIT))),
                ("info", forbidden(there.info().wait().map(drop))),
            ];
            let allowed = names.into_iter().filter(|(_, forbidden)| !forbidden);
            allowed.map(|(name, _)| name).collect::<Vec<_>>()
        };
        let plain = listener.grant(&desk, Rights::new());
        assert_eq!(can(&plain), ["look"]);
        let wide = listener.grant(&desk, Rights::all());
        assert_eq!(can(&wide), ["look", "read", "write", "info"]);
        let less = wide
            .clone()
            .narrow(Rights::all().commands(["read", "info"]));
        assert_eq!(can(&less), ["read", "info"]);
        let least = less
            .clone()
            .narrow(Rights::new().access(Access::Authenticated));
        let least = least.narrow(Rights::all().commands(["read", "write"]));
        assert_eq!(can(&least), ["read"]);
        // Nothing but the actor, and nothing of the arbiter.
        let there = wide.connect(None).expect("welcome");
        assert!(there.stop(ipc_actors::ExitReason::Normal), "a peer may");
        eventually(|| desk.incarnation() == 1);
        assert_eq!(
            can(&wide.clone().narrow(Rights::all().incarnation(1))).len(),
            4
        );
        let old = wide.clone().narrow(Rights::all().incarnation(0));
        let gone = old.connect(None).expect("welcome").ask_timeout(Look, LIMIT);
        assert_eq!(gone, Err(AskError::NotStarted));
        assert!(!format!("{wide:?}").contains("key"), "{wide:?}");
    });
}

#[test]
fn references_end_and_cannot_be_forged() {
    with_arbiter(|arbiter| {
        let (listener, desk) = open(arbiter, RemoteOptions::new());
        let short = Rights::all().lifetime(Duration::from_millis(1500));
        let reference = listener.grant(&desk, short);
        let there = reference.connect(None).expect("welcome");
        assert_eq!(there.ask_timeout(Write, LIMIT), Ok(()));
        eventually(|| matches!(there.ask_timeout(Write, LIMIT), Err(AskError::Forbidden(_))));
        assert!(
            reference.connect(None).is_err(),
            "nor does it let anybody in"
        );
        let failed = listener.stats().failed;
        // Bytes that say more than was granted.
        let honest = listener.grant(&desk, Rights::new());
        let mut bytes = Vec::new();
        Bincode.encode(&honest, &mut bytes).expect("it travels");
        let mut refused = 0;
        for at in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 2;
            let Ok(forged) = Bincode.decode::<Reference<Desk>>(&forged) else {
                continue;
            };
            if let Ok(there) = forged.connect(None) {
                // Its address, name or id beside the ticket say nothing about rights.
                assert!(there.ask_timeout(Write, LIMIT).is_err(), "byte {at}");
            } else {
                refused += 1;
            }
            // Each failure is slow: the rest is left to the unit tests.
            if refused > 5 {
                break;
            }
        }
        assert!(listener.stats().failed > failed || refused > 0);
        let address = listener.address().clone();
        drop(listener);
        let options = RemoteOptions::new().strangers(true).key(clerk());
        let next = arbiter.listen(&address, options).expect("a listener");
        assert!(
            honest.connect(None).is_err(),
            "it has ended with its listener"
        );
        drop(next);
    });
}

#[test]
fn who_asks_much_does_not_starve_who_asks_little() {
    let (number, journal) = journal();
    with_arbiter(move |arbiter| {
        let options = RemoteOptions::new().at_once_max(8);
        let spec = Spec::new(number).thread();
        let (listener, desk) = open_with(arbiter, options, spec);
        let (_greedy, flooded) = enter(&listener, Some(&operator()));
        let (_modest, there) = enter(&listener, Some(&operator()));
        let flood: Vec<_> = (0..900).map(|_| flooded.ask(Work(1, 500))).collect();
        eventually(|| read(&journal).len() > 20);
        let asks: Vec<_> = (0..20).map(|_| there.ask(Work(2, 500))).collect();
        // A caller of the program itself finds room in the mailbox meanwhile.
        assert!(desk.try_ask(Look).wait().is_ok());
        for ask in asks {
            assert_eq!(ask.wait_timeout(LIMIT).expect("an end"), Ok(()));
        }
        for ask in flood {
            assert_eq!(ask.wait_timeout(LIMIT).expect("an end"), Ok(()));
        }
        let order = read(&journal);
        let first = order
            .iter()
            .position(|&caller| caller == 2)
            .expect("it came");
        let last = order
            .iter()
            .rposition(|&caller| caller == 2)
            .expect("it came");
        // One in two was the modest one's, give or take what was on its way.
        assert!(last - first < 80, "{first} to {last} of {}", order.len());
    });
}

#[test]
fn what_a_caller_was_told_is_done_before_it_is_gone() {
    let (number, journal) = journal();
    with_arbiter(move |arbiter| {
        let options = RemoteOptions::new().at_once_max(2);
        let (listener, _desk) = open_with(arbiter, options, Spec::new(number).thread());
        let (remote, there) = enter(&listener, Some(&operator()));
        for _ in 0..500 {
            there.send(Work(3, 100)).expect("room");
        }
        drop((there, remote));
        eventually(|| read(&journal).len() == 500);
    });
}

#[test]
fn what_others_have_done_is_audited() {
    with_arbiter(|arbiter| {
        let audits = arbiter.audit(64);
        let (listener, desk) = open(arbiter, RemoteOptions::new());
        arbiter.offer_run("greet", |name| Ok(format!("hello {name}")));
        arbiter.offer_spawn("desk", plain(), 1);
        let (remote, there) = enter(&listener, None);
        let next = || audits.recv_timeout(LIMIT).expect("an entry");
        assert!(remote.kill_actor(desk.id()).wait().is_err());
        let audit = next();
        assert_eq!((audit.deed, audit.allowed), (Deed::Kill(desk.id()), false));
        let Caller::Remote {
            connection,
            key: None,
            address: Some(address),
            ..
        } = audit.caller
        else {
            panic!("{:?}", audit.caller);
        };
        assert!(address.starts_with("tcp:127.0.0.1:"), "{address}");
        assert!(remote.auth(&AuthKey::new(b"a guess")).is_err());
        let audit = next();
        assert_eq!((audit.deed, audit.allowed), (Deed::Auth, false));
        remote.auth(&operator()).expect("known");
        assert_eq!(
            remote.run("greet", "a secret").wait(),
            Ok(Ok("hello a secret".to_owned()))
        );
        remote.spawn("desk").wait().expect("a start");
        assert!(there.stop(ipc_actors::ExitReason::Normal));
        let _unknown = remote.config_set("colour", "a secret").wait();
        let _missing = remote.stop_actor(missing()).wait();
        remote.reload().wait().expect("known");
        let expected = [
            Deed::Auth,
            Deed::Run("greet".to_owned()),
            Deed::Spawn("desk".to_owned()),
            Deed::Stop(desk.id()),
            Deed::Config("colour".to_owned()),
            Deed::Stop(missing()),
            Deed::Reload,
        ];
        for deed in expected {
            let audit = next();
            assert!(!format!("{audit:?}").contains("secret"), "{audit:?}");
            assert_eq!((audit.deed, audit.allowed), (deed, true));
            let by = Caller::Remote {
                connection,
                key: Some("operator".to_owned()),
                user: None,
                process: None,
                address: Some(address.clone()),
            };
            assert_eq!(audit.caller, by);
        }
        assert_eq!((audits.try_recv(), audits.missed()), (None, 0));
    });
}

#[test]
fn each_command_has_its_own_longest_message() {
    with_arbiter(|arbiter| {
        let (listener, desk) = open(arbiter, RemoteOptions::new());
        let (_stranger, there) = enter(&listener, None);
        assert_eq!(there.ask_timeout(Note(vec![1; 60]), LIMIT), Ok(60));
        let long = there.ask_timeout(Note(vec![1; 70]), LIMIT);
        assert!(matches!(long, Err(AskError::Codec(_))), "{long:?}");
        assert_eq!(listener.stats().strikes, 1);
        assert_eq!(there.ask_timeout(Note(vec![1; 60]), LIMIT), Ok(60));
        assert_eq!(
            desk.ask_timeout(Note(vec![1; 700]), LIMIT),
            Ok(700),
            "its own may"
        );
        // Peers may send longer messages than others, as soon as they are that.
        let (remote, there) = enter(&listener, None);
        remote.auth(&operator()).expect("known");
        assert_eq!(
            there.echo(vec![1; 500_000]).wait().map(|back| back.len()),
            Ok(500_000)
        );
        let (_stranger, there) = enter(&listener, None);
        assert!(there.echo(vec![1; 500_000]).wait().is_err());
    });
}

#[test]
fn ended_connections_leave_their_place_at_once() {
    with_arbiter(|arbiter| {
        let options = RemoteOptions::new().connections_max(2);
        let (listener, desk) = open(arbiter, options);
        let begun = Instant::now();
        for _ in 0..500 {
            let (_remote, there) = enter(&listener, Some(&operator()));
            assert_eq!(there.ask_timeout(Look, LIMIT), Ok(()));
        }
        assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
        assert_eq!(listener.stats().refused, 0);
        drop(desk);
        // When there is no place, nobody is told that he is welcome.
        let (_one, _two) = (
            enter(&listener, Some(&operator())),
            enter(&listener, Some(&operator())),
        );
        assert!(RemoteArbiter::connect(listener.address(), Some(&operator())).is_err());
        assert_eq!(listener.stats().refused, 1);
    });
}

#[test]
fn strangers_do_not_take_all_places() {
    with_arbiter(|arbiter| {
        let options = RemoteOptions::new().connections_max(4);
        let (listener, _desk) = open(arbiter, options);
        let strangers: Vec<_> = (0..4)
            .filter_map(|_| RemoteArbiter::connect(listener.address(), None).ok())
            .collect();
        assert_eq!(strangers.len(), 2);
        let (_known, there) = enter(&listener, Some(&clerk()));
        assert_eq!(there.ask_timeout(Look, LIMIT), Ok(()));
    });
}

#[test]
fn an_abstract_name_must_be_allowed() {
    with_arbiter(|arbiter| {
        for kind in ["unix", "ring"] {
            let text = format!("{kind}:@ipc-actors-abstract-{}", std::process::id());
            let address: Address = text.parse().expect("an address");
            let refused = arbiter.listen(&address, RemoteOptions::new()).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
        }
    });
}

/// Where another user shall connect.
const KNOCK: &str = "IPC_ACTORS_TEST_KNOCK";

/// Not a test by itself: what another user does.
#[test]
fn as_another_user() {
    if let Ok(address) = std::env::var(KNOCK) {
        let address: Address = address.parse().expect("an address");
        let strange = RemoteArbiter::connect(&address, None).is_err();
        let known = RemoteArbiter::connect(&address, Some(&clerk()));
        let level = known.map(|known| known.access());
        std::process::exit(match (strange, level) {
            (true, Ok(Access::Authenticated)) => 40,
            (true, Err(_)) => 41,
            _ => 42,
        });
    }
}

fn knock(address: &Address) -> Option<i32> {
    let program = std::env::current_exe().expect("a path");
    let mut command = Command::new(program);
    command
        .args(["rights::as_another_user", "--exact"])
        .env(KNOCK, address.to_string())
        .uid(65534)
        .gid(65534);
    command.output().ok()?.status.code()
}

#[test]
fn a_path_is_open_to_its_own_user_alone() {
    with_arbiter(|arbiter| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run/actors");
        let address: Address = format!("unix:{}", path.display())
            .parse()
            .expect("an address");
        let listener = arbiter
            .listen(&address, RemoteOptions::new())
            .expect("a listener");
        let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode(path.parent().expect("a folder")), 0o700);
        assert_eq!(mode(&path), 0o600);
        let own = RemoteArbiter::connect(&address, None).expect("its own user");
        assert_eq!(own.access(), Access::Peer);
        // Others cannot connect; and where somebody has opened the way, the kernel says who they are.
        let open = |path: &Path, mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(path, permissions).expect("our own");
        };
        match knock(&address) {
            None => return skipped("needs to become another user"),
            Some(status) => assert_eq!(status, 41, "no way in"),
        }
        open(folder.path(), 0o755);
        open(path.parent().expect("a folder"), 0o755);
        open(&path, 0o666);
        assert_eq!(knock(&address), Some(41), "not welcome without a key");
        drop((own, listener));
        let listener = arbiter
            .listen(&address, RemoteOptions::new().key(clerk()))
            .expect("a listener");
        open(&path, 0o666);
        assert_eq!(knock(&address), Some(40), "no more than the key gives");
        drop(listener);
    });
}

#[expect(clippy::print_stdout, reason = "says what was skipped")]
fn skipped(why: &str) {
    println!("note: skipped: {why}");
}
