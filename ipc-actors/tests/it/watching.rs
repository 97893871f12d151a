//! Watches, links and groups, in every placement.

use ipc_actors::{Down, ExitReason, Placement, Proxy, Restart, Spec};

use crate::actors::{Add, Counter, Harm, Start};
use crate::support::{LIMIT, PLACEMENTS, eventually, spawn, with_arbiter};

fn spec() -> Spec<Counter> {
    Spec::new(Start::default())
}

#[test]
fn a_watch_tells_of_the_end_of_an_incarnation_once() {
    with_arbiter(|arbiter| {
        for placement in PLACEMENTS {
            let counter = spawn(arbiter, spec().placement(placement));
            let id = counter.id();
            let (first, second) = (arbiter.watch(id), arbiter.watch(id));
            let _ = counter.ask(Harm::Panic).wait();
            let reason = ExitReason::Panicked("told to panic".to_owned());
            // Threads say why they end; of a process it is known what it had not answered.
            let at_hand = (placement == Placement::Process).then(|| "harm".to_owned());
            for watch in [first, second] {
                let told = watch.wait_timeout(LIMIT).expect("in time").expect("an end");
                // A process says something to everybody, too.
                let said = told.output.contains("told to panic");
                assert_eq!(said, placement == Placement::Process);
                let down = Down {
                    id,
                    name: counter.name().to_owned(),
                    incarnation: 0,
                    reason: reason.clone(),
                    lost: 0,
                    at_hand: at_hand.clone(),
                    output: told.output.clone(),
                };
                assert_eq!(told, down, "{placement}");
            }
            eventually(|| counter.incarnation() == 1);
            let next = arbiter.watch(id);
            assert_eq!(counter.ask_timeout(Add(1), LIMIT), Ok(1));
            assert!(!next.is_ready());
            arbiter.stop_actor(id).wait().expect("an end");
            let down = next.wait().expect("an end");
            assert_eq!((down.incarnation, down.reason), (1, ExitReason::Shutdown));
            let late = arbiter.watch(id).wait().expect("an answer at once");
            assert_eq!(late.reason, ExitReason::NoSuchActor);
        }
    });
}

#[test]
fn linked_actors_end_together_and_their_policies_decide() {
    with_arbiter(|arbiter| {
        for placement in PLACEMENTS {
            let one = spawn(
                arbiter,
                spec().placement(placement).restart(Restart::Temporary),
            );
            let other = spawn(arbiter, spec().placement(placement));
            arbiter.link(one.id(), other.id());
            let end = arbiter.watch(other.id());
            let _ = one.ask(Harm::Panic).wait();
            let why = ExitReason::Panicked("told to panic".to_owned());
            let down = end.wait_timeout(LIMIT).expect("in time").expect("an end");
            assert_eq!(
                down.reason,
                ExitReason::Linked(Box::new(why)),
                "{placement}"
            );
            eventually(|| other.incarnation() == 1);
            assert_eq!(
                other.ask_timeout(Add(1), LIMIT),
                Ok(1),
                "permanent, and not linked any more"
            );
        }
    });
}

#[test]
fn a_normal_end_and_a_link_taken_away_end_nobody_else() {
    with_arbiter(|arbiter| {
        for (harm, unlink) in [(Harm::Stop, false), (Harm::Panic, true)] {
            let one = spawn(arbiter, spec().thread().restart(Restart::Temporary));
            let other = spawn(arbiter, spec().process());
            arbiter.link(one.id(), other.id());
            if unlink {
                arbiter.unlink(other.id(), one.id());
            }
            let end = arbiter.watch(one.id());
            let _ = one.ask(harm).wait();
            end.wait().expect("an end");
            assert_eq!(other.ask_timeout(Add(1), LIMIT), Ok(1));
            assert_eq!(other.incarnation(), 0);
        }
    });
}

#[test]
fn groups_hold_those_who_live() {
    with_arbiter(|arbiter| {
        let actors: Vec<_> = PLACEMENTS
            .map(|placement| spawn(arbiter, spec().placement(placement)))
            .into();
        for actor in &actors {
            arbiter.join("all", actor);
            arbiter.join("all", actor);
        }
        let members = || -> Vec<Proxy<Counter>> { arbiter.members("all") };
        assert_eq!(members(), actors);
        for member in members() {
            assert_eq!(member.ask_timeout(Add(1), LIMIT), Ok(1));
        }
        arbiter.leave("all", actors[0].id());
        arbiter.stop_actor(actors[1].id()).wait().expect("an end");
        assert_eq!(members(), actors[2..]);
    });
}
