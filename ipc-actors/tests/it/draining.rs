//! Actors that finish what they have, and then end.

use std::time::Duration;

use ipc_actors::{AskError, ExitReason, MonitorSpec, Placement, SendError, Shutdown, Spec};

use crate::actors::{Add, Counter, Harm, Pid, Start};
use crate::support::{LIMIT, PLACEMENTS, eventually, is_alive, signal, spawn, with_arbiter, works};

fn counter(placement: Placement) -> Spec<Counter> {
    let spec = Spec::<Counter>::new(Start::default()).placement(placement);
    spec.name(placement.to_string())
}

#[test]
fn what_waits_is_handled_and_nothing_more_is_taken() {
    with_arbiter(|arbiter| {
        for placement in PLACEMENTS {
            let counter = spawn(arbiter, counter(placement));
            let busy = counter.ask(Harm::Busy(200));
            let asks: Vec<_> = (0..10).map(|_| counter.ask(Add(1))).collect();
            let gone = arbiter.drain_actor(counter.id(), LIMIT);
            if placement != Placement::Local {
                // The loop turns meanwhile.
                eventually(|| counter.try_send(Add(0)) == Err(SendError::Draining(Add(0))));
                assert_eq!(counter.ask(Add(1)).wait(), Err(AskError::Draining));
                assert!(!gone.is_ready(), "{placement}");
            }
            assert_eq!(busy.wait(), Ok(()), "{placement}");
            for (number, ask) in (1..).zip(asks) {
                let answer = ask.wait_timeout(LIMIT).expect("in time");
                assert_eq!(answer, Ok(number), "{placement}");
            }
            let gone = gone.wait_timeout(LIMIT).expect("in time");
            assert_eq!(gone, Ok(Some(ExitReason::Shutdown)), "{placement}");
            assert_eq!(counter.send(Add(1)), Err(SendError::Disconnected(Add(1))));
            assert_eq!((counter.lost(), counter.incarnation()), (0, 0));
            let again = arbiter.drain_actor(counter.id(), LIMIT);
            assert_eq!(again.wait(), Ok(None));
        }
        assert!(arbiter.names().is_empty());
    });
}

#[test]
fn the_next_incarnation_goes_on_with_what_waits() {
    with_arbiter(|arbiter| {
        for placement in PLACEMENTS {
            let counter = spawn(arbiter, counter(placement));
            let harm = counter.ask(Harm::Panic);
            let gone = arbiter.drain_actor(counter.id(), LIMIT);
            assert_eq!(harm.wait(), Err(AskError::Started), "{placement}");
            let gone = gone.wait_timeout(LIMIT).expect("in time");
            assert!(gone.is_ok_and(|gone| gone.is_some()), "{placement}");
            let refused = counter.send(Add(1));
            assert_eq!(refused, Err(SendError::Disconnected(Add(1))), "{placement}");
        }
        let counter = spawn(arbiter, counter(Placement::Process));
        let pid = counter.ask_timeout(Pid, LIMIT).expect("a process");
        let busy = counter.ask(Harm::Busy(600_000));
        eventually(|| works(&counter));
        let gone = arbiter.drain_actor(counter.id(), LIMIT);
        eventually(|| counter.try_send(Add(0)) == Err(SendError::Draining(Add(0))));
        signal(pid, "KILL");
        assert_eq!(busy.wait(), Err(AskError::Started));
        let gone = gone.wait_timeout(LIMIT).expect("in time");
        assert!(gone.is_ok_and(|gone| gone.is_some()));
        eventually(|| !is_alive(pid));
    });
}

#[test]
fn one_that_takes_too_long_is_stopped() {
    with_arbiter(|arbiter| {
        let spec = counter(Placement::Process).shutdown(Shutdown::Kill);
        let counter = spawn(arbiter, spec);
        let busy = counter.ask(Harm::Busy(600_000));
        eventually(|| works(&counter));
        let behind = counter.ask(Add(1));
        let gone = arbiter.drain_actor(counter.id(), Duration::from_millis(50));
        let gone = gone.wait_timeout(LIMIT).expect("in time");
        assert_eq!(gone, Ok(Some(ExitReason::Killed)));
        assert_eq!(busy.wait(), Err(AskError::Started));
        assert_eq!(behind.wait(), Err(AskError::NotStarted));
    });
}

#[test]
fn a_worker_of_a_pool_is_replaced() {
    with_arbiter(|arbiter| {
        let pool = MonitorSpec::new("crew", counter(Placement::Process), 1);
        let pool = arbiter.monitor(pool).wait().expect("a pool");
        let first = pool.ask_timeout(Pid, LIMIT).expect("a worker");
        let tree = arbiter.tree().wait().expect("the tree");
        let worker = tree.actors[0].info.id;
        assert!(arbiter.drain_actor(worker, LIMIT).wait().is_ok());
        let second = pool.ask_timeout(Pid, LIMIT).expect("a worker");
        assert_ne!(first, second);
    });
}
