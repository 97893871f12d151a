//! Actors that find, call and spawn each other, and proxies in messages.

use ipc_actors::{Placement, Spec};

use crate::actors::{Add, Call, Counter, Find, Harm, Hire, Pid, Read, Start};
use crate::support::{LIMIT, PLACEMENTS, eventually, spawn, with_arbiter};

fn counter() -> Spec<Counter> {
    Spec::new(Start::default())
}

#[test]
fn a_proxy_in_a_message_is_the_same_actor_in_another_process() {
    with_arbiter(|arbiter| {
        let caller = spawn(arbiter, counter().process());
        let own = caller.ask_timeout(Pid, LIMIT).unwrap();
        for placement in PLACEMENTS {
            let called = spawn(arbiter, counter().placement(placement));
            let pid = called.ask_timeout(Pid, LIMIT).unwrap();
            let answer = caller.ask_timeout(Call(called.clone()), LIMIT).unwrap();
            assert_eq!(answer, Ok((own, pid)), "{placement}");
            // What it was told on the way, before it was asked.
            assert_eq!(called.ask_timeout(Read, LIMIT), Ok(1), "{placement}");
        }
        // From a thread as well, where nothing is encoded.
        let called = spawn(arbiter, counter().process());
        let thread = spawn(arbiter, counter().thread());
        let pid = called.ask_timeout(Pid, LIMIT).unwrap();
        let answer = thread.ask_timeout(Call(called), LIMIT).unwrap();
        assert_eq!(answer, Ok((std::process::id(), pid)));
    });
}

#[test]
fn a_process_finds_other_actors_by_their_names() {
    with_arbiter(|arbiter| {
        let seeker = spawn(arbiter, counter().process().name("seeker"));
        let sought = spawn(arbiter, counter().thread().name("sought"));
        let found = seeker
            .ask_timeout(Find("sought".to_owned()), LIMIT)
            .unwrap();
        assert_eq!(found, Some(sought));
        let none = seeker
            .ask_timeout(Find("nobody".to_owned()), LIMIT)
            .unwrap();
        assert_eq!(none, None);
        let itself = seeker
            .ask_timeout(Find("seeker".to_owned()), LIMIT)
            .unwrap();
        assert_eq!(itself, Some(seeker));
    });
}

/// Pulsar 2: the arbiter does it; both can address each other; the reply comes when it is ready.
#[test]
fn a_spawn_requested_by_a_process_is_done_by_the_arbiter() {
    with_arbiter(|arbiter| {
        let master = spawn(arbiter, counter().process());
        let own = master.ask_timeout(Pid, LIMIT).unwrap();
        let refused = master.ask_timeout(Hire(Start::default()), LIMIT).unwrap();
        assert!(refused.unwrap_err().contains("may not spawn a counter"));
        arbiter.allow_spawn::<Counter>();
        let start = Start {
            from: 5,
            ..Start::default()
        };
        let hired = master.ask_timeout(Hire(start), LIMIT).unwrap().unwrap();
        assert_eq!(hired.placement(), Placement::Process);
        let pid = hired.ask_timeout(Pid, LIMIT).unwrap();
        assert!(pid != own && pid != std::process::id());
        assert_eq!(hired.ask_timeout(Add(1), LIMIT), Ok(6));
        assert_eq!(
            master.ask_timeout(Call(hired.clone()), LIMIT).unwrap(),
            Ok((own, pid))
        );
        assert_eq!(
            hired.ask_timeout(Call(master), LIMIT).unwrap(),
            Ok((pid, own))
        );
        let failing = Start {
            fail: Some("no".to_owned()),
            ..Start::default()
        };
        let third = spawn(arbiter, counter().process());
        let failed = third.ask_timeout(Hire(failing), LIMIT).unwrap();
        assert!(failed.unwrap_err().contains("no"));
    });
}

#[test]
fn one_that_traps_exits_is_told_of_them() {
    with_arbiter(|arbiter| {
        for placement in PLACEMENTS {
            let trapper = spawn(arbiter, counter().placement(placement).trap_exits());
            let other = spawn(arbiter, counter().thread());
            arbiter.link(trapper.id(), other.id());
            let _ = other.ask_timeout(Harm::Panic, LIMIT);
            eventually(|| trapper.ask_timeout(Read, LIMIT) == Ok(7));
            assert_eq!(trapper.incarnation(), 0, "{placement}");
            // The other does not trap the end of this one.
            arbiter.link(trapper.id(), other.id());
            arbiter.kill_actor(trapper.id());
            eventually(|| trapper.incarnation() > 0 && other.incarnation() > 1);
        }
    });
}
