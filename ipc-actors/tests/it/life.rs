//! Starting, ending and coming back, in every placement.

use ipc_actors::{
    ArbiterLoop, ArbiterOptions, AskError, ExitReason, Placement, Proxy, Restart, SendError,
    SpawnError, Spec,
};

use crate::actors::{Add, Counter, Harm, Read, Start};
use crate::support::{LIMIT, PLACEMENTS, eventually, spawn, with_arbiter, within};

#[test]
fn a_start_that_fails_is_the_spawners_error() {
    with_arbiter(|arbiter| {
        for placement in PLACEMENTS {
            let fail = Start {
                fail: Some("no coffee".to_owned()),
                ..Start::default()
            };
            let spec = Spec::<Counter>::new(fail)
                .placement(placement)
                .name("failing");
            let error = arbiter.spawn(spec.clone()).wait().unwrap_err();
            let reason = ExitReason::StartFailed("no coffee".to_owned());
            assert_eq!(error, SpawnError::Start(reason), "{placement}");
            assert_eq!(
                arbiter.get_actor::<Counter>("failing"),
                None,
                "the name is free again"
            );
            let panic = Start {
                panic: true,
                ..Start::default()
            };
            let error = arbiter
                .spawn(Spec::<Counter>::new(panic).placement(placement))
                .wait();
            let reason = ExitReason::Panicked("told to panic".to_owned());
            assert_eq!(error, Err(SpawnError::Start(reason)), "{placement}");
        }
    });
}

#[test]
fn names_are_unique_and_lead_to_the_actor() {
    with_arbiter(|arbiter| {
        let spec = Spec::<Counter>::new(Start::default()).local().name("desk");
        let counter = spawn(arbiter, spec.clone());
        let taken = SpawnError::NameTaken("desk".to_owned());
        assert_eq!(arbiter.spawn(spec.clone()).wait(), Err(taken));
        assert_eq!(arbiter.get_actor("desk"), Some(counter.clone()));
        let end = arbiter.stop_actor(counter.id()).wait();
        assert_eq!(end, Ok(Some(ExitReason::Shutdown)));
        assert_eq!(arbiter.stop_actor(counter.id()).wait(), Ok(None));
        assert_eq!(counter.send(Add(1)), Err(SendError::Disconnected(Add(1))));
        assert_eq!(counter.ask(Read).wait(), Err(AskError::NotStarted));
        spawn(arbiter, spec);
    });
}

#[test]
fn a_panic_ends_the_incarnation_and_not_the_mailbox() {
    with_arbiter(|arbiter| {
        for placement in PLACEMENTS {
            let start = Start {
                from: 100,
                ..Start::default()
            };
            let counter = spawn(arbiter, Spec::<Counter>::new(start).placement(placement));
            counter.send(Add(1)).unwrap();
            let harmed = counter.ask(Harm::Panic);
            let next = counter.ask(Add(5));
            assert_eq!(harmed.wait(), Err(AskError::Started), "{placement}");
            match placement {
                // What had left for the process is lost with it; the asker knows that asking again
                // does no harm.
                Placement::Process => {
                    assert_eq!(next.wait(), Err(AskError::NotStarted));
                    assert_eq!(
                        counter.ask_timeout(Add(5), LIMIT),
                        Ok(105),
                        "it begins again"
                    );
                }
                _ => assert_eq!(next.wait(), Ok(105), "and what waited is not lost"),
            }
            assert_eq!(counter.incarnation(), 1);
        }
    });
}

#[test]
fn restart_policies_are_kept() {
    with_arbiter(|arbiter| {
        for placement in PLACEMENTS {
            for (restart, harm, comes_back) in [
                (Restart::Permanent, Harm::Stop, true),
                (Restart::Transient, Harm::Stop, false),
                (Restart::Transient, Harm::Panic, true),
                (Restart::Temporary, Harm::Panic, false),
            ] {
                let spec = Spec::<Counter>::new(Start::default()).placement(placement);
                let counter = spawn(arbiter, spec.restart(restart));
                let case = format!("{placement} {restart:?} {harm:?}");
                let _ = counter.ask(harm).wait();
                if comes_back {
                    eventually(|| counter.incarnation() == 1);
                    assert_eq!(counter.ask_timeout(Add(1), LIMIT), Ok(1), "{case}");
                } else if restart == Restart::Temporary {
                    eventually(|| counter.ask(Read).try_wait().is_ok());
                    assert_eq!(
                        counter.ask(Read).wait(),
                        Err(AskError::NotStarted),
                        "{case}"
                    );
                }
                arbiter.stop_actor(counter.id()).wait().unwrap();
            }
        }
    });
}

#[test]
fn a_thread_that_is_stuck_is_abandoned() {
    with_arbiter(|arbiter| {
        let counter = spawn(arbiter, Spec::<Counter>::new(Start::default()).thread());
        let stuck = counter.ask(Harm::Busy(300));
        eventually(|| counter.waiting() == 0);
        arbiter.kill_actor(counter.id());
        assert_eq!(
            counter.ask_timeout(Add(2), LIMIT),
            Ok(2),
            "the successor answers"
        );
        // The old one still finishes what it has begun, and no more.
        assert_eq!(stuck.wait(), Ok(()));
        assert_eq!(counter.ask_timeout(Add(2), LIMIT), Ok(4));
    });
}

#[test]
fn the_arbiter_gives_up_when_crashes_come_too_fast() {
    within(3 * LIMIT, || {
        let mut root = ArbiterLoop::new(ArbiterOptions::default()).unwrap();
        let spawning = root
            .arbiter()
            .spawn(Spec::<Counter>::new(Start::default()).local());
        let counter: Proxy<Counter> = root.wait(spawning.into_deferred()).unwrap().unwrap();
        for _ in 0..11 {
            counter.send(Harm::Panic).unwrap();
        }
        assert_eq!(root.run().unwrap(), 1, "the exit status tells the truth");
        assert_eq!(root.exit_reason(), Some(&ExitReason::Shutdown));
        assert_eq!(counter.send(Add(1)), Err(SendError::Disconnected(Add(1))));
    });
}

#[test]
fn the_callers_own_loop_will_do() {
    within(LIMIT, || {
        let mut root = ArbiterLoop::new(ArbiterOptions::default()).unwrap();
        let arbiter = root.arbiter();
        let spec = Spec::<Counter>::new(Start::default()).local();
        let spawning = arbiter.spawn(spec);
        let id = spawning.id();
        let counter = root.wait(spawning.into_deferred()).unwrap().unwrap();
        assert_eq!(counter.id(), id);
        assert_eq!(counter.ask_timeout(Add(1), LIMIT), Err(AskError::Deadlock));
        for _ in 0..1024 {
            counter.send(Add(1)).unwrap();
        }
        assert!(
            counter.send(Add(1)).is_err(),
            "full, and nobody to wait for"
        );
        assert_eq!(root.wait(counter.ask(Read)).unwrap(), Err(AskError::Full));
        arbiter.stop();
        assert_eq!(root.run().unwrap(), 0);
    });
}
