//! Supervisors below supervisors, with actors in every placement.

use ipc_actors::{
    AskError, Proxy, Restart, SpawnError, Spec, Strategy, SupervisorOptions, SupervisorSpec,
};

use crate::actors::{Add, Counter, Harm, Read, Start};
use crate::support::{LIMIT, PLACEMENTS, eventually, with_arbiter};

fn child(name: &str) -> Spec<Counter> {
    Spec::<Counter>::new(Start::default()).name(name)
}

fn options(strategy: Strategy, intensity: u32) -> SupervisorOptions {
    SupervisorOptions {
        strategy,
        intensity,
        ..SupervisorOptions::default()
    }
}

#[test]
fn strategies_hold_for_real_actors() {
    with_arbiter(|arbiter| {
        for (strategy, restarted) in [
            (Strategy::OneForOne, [0, 1, 0]),
            (Strategy::OneForAll, [1, 1, 1]),
            (Strategy::RestForOne, [0, 1, 1]),
        ] {
            for placement in PLACEMENTS {
                let names = ["a", "b", "c"].map(|name| format!("{strategy:?} {placement} {name}"));
                let mut spec = SupervisorSpec::new(&names[0], options(strategy, 3));
                for name in &names {
                    spec = spec.child(child(name).placement(placement));
                }
                arbiter.supervise(spec).wait().unwrap();
                let proxies: Vec<Proxy<Counter>> = names
                    .iter()
                    .map(|name| arbiter.get_actor(name).unwrap())
                    .collect();
                let _ = proxies[1].ask(Harm::Panic).wait();
                eventually(|| proxies[1].incarnation() == 1);
                assert_eq!(proxies[1].ask_timeout(Add(1), LIMIT), Ok(1));
                for (proxy, count) in proxies.iter().zip(restarted) {
                    eventually(|| proxy.incarnation() == count);
                    assert!(
                        proxy.ask_timeout(Read, LIMIT).is_ok(),
                        "{strategy:?} {placement}"
                    );
                }
            }
        }
    });
}

#[test]
fn a_supervisor_that_gives_up_is_restarted_by_its_own() {
    with_arbiter(|arbiter| {
        let inner = SupervisorSpec::new("inner", options(Strategy::OneForOne, 0))
            .child(child("leaf").process());
        let outer = SupervisorSpec::new("outer", options(Strategy::OneForAll, 3))
            .child(child("sibling").thread())
            .supervisor(inner);
        arbiter.supervise(outer).wait().unwrap();
        let sibling: Proxy<Counter> = arbiter.get_actor("sibling").unwrap();
        let leaf: Proxy<Counter> = arbiter.get_actor("leaf").unwrap();
        assert_eq!(leaf.ask(Harm::Abort).wait(), Err(AskError::Started));
        eventually(|| {
            arbiter
                .get_actor::<Counter>("leaf")
                .is_some_and(|new| new != leaf)
        });
        let new: Proxy<Counter> = arbiter.get_actor("leaf").unwrap();
        assert_eq!(new.ask_timeout(Add(3), LIMIT), Ok(3));
        eventually(|| sibling.incarnation() == 1);
    });
}

#[test]
fn a_tree_that_cannot_start_is_taken_down_again() {
    with_arbiter(|arbiter| {
        let broken = Start {
            fail: Some("no coffee".to_owned()),
            ..Start::default()
        };
        let spec = SupervisorSpec::new("broken", options(Strategy::OneForOne, 3))
            .child(child("fine").process())
            .child(Spec::<Counter>::new(broken).name("broken").thread());
        let error = arbiter.supervise(spec).wait().unwrap_err();
        assert!(matches!(&error, SpawnError::Start(_)), "{error}");
        assert!(error.to_string().contains("no coffee"), "{error}");
        assert_eq!(arbiter.get_actor::<Counter>("fine"), None);
    });
}

#[test]
fn temporary_actors_come_in_great_numbers() {
    with_arbiter(|arbiter| {
        let spec = Spec::<Counter>::new(Start::default())
            .local()
            .restart(Restart::Temporary);
        let spawning: Vec<_> = (0..20_000).map(|_| arbiter.spawn(spec.clone())).collect();
        let actors: Vec<_> = spawning
            .into_iter()
            .map(|actor| actor.wait().unwrap())
            .collect();
        for actor in &actors {
            actor.send(Add(1)).unwrap();
        }
        assert_eq!(actors[19_999].ask_timeout(Read, LIMIT), Ok(1));
        let gone = arbiter.stop_actor(actors[7].id()).wait().unwrap();
        assert!(gone.is_some());
        assert_eq!(actors[7].ask(Read).wait(), Err(AskError::NotStarted));
    });
}
