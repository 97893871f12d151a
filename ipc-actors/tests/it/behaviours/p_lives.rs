//! How actors start, live and end.

use std::time::{Duration, Instant};

use ipc_actors::{ExitReason, MonitorSpec, Placement, Proxy, Shutdown, SpawnError, Spec, State};

use super::alone;
use super::witness::{Does, Job, Plan, Witness};
use crate::actors::{Add, Call, Counter, Harm, Pid, Start};
use crate::support::{LIMIT, eventually, is_alive, pid, signal, spawn, with_arbiter};

fn counter() -> Spec<Counter> {
    Spec::<Counter>::new(Start::default()).process()
}

#[test]
fn p01_a_spawn_is_done_when_the_actor_serves() {
    let test = "behaviours::p_lives::p01_a_spawn_is_done_when_the_actor_serves";
    alone(test, 2 * LIMIT, || {
        with_arbiter(|arbiter| {
            let spawning = arbiter.spawn(counter().name("first"));
            let id = spawning.id();
            let first = spawning.wait().expect("a start");
            assert_eq!((first.id(), first.state()), (id, State::Running));
            let second = spawn(arbiter, counter());
            assert_ne!(first.id(), second.id());
            let (one, other) = (pid(&first), pid(&second));
            assert!(one != other && one != std::process::id() && other != std::process::id());
            assert_eq!(first.ping().wait(), Ok(()));
            assert_eq!(first.echo(vec![1, 2, 3]).wait(), Ok(vec![1, 2, 3]));
            let info = first.info().wait().expect("an answer");
            assert_eq!((info.id, info.pid, info.name.as_str()), (id, one, "first"));
            assert_eq!(info.placement, Placement::Process);
            // A third process asks one of them by the proxy that it is given.
            let third = spawn(arbiter, counter());
            let answer = third.ask_timeout(Call(first.clone()), LIMIT).unwrap();
            assert_eq!(answer, Ok((pid(&third), one)));
        });
    });
}

#[test]
fn p03_starts_that_crash_or_hang_end_in_time_and_a_pool_reaches_its_size() {
    let test = "behaviours::p_lives::p03_starts_that_crash_or_hang_end_in_time_and_a_pool_reaches_its_size";
    alone(test, 2 * LIMIT, || {
        with_arbiter(|arbiter| {
            let folder = tempfile::tempdir().expect("a folder");
            let limit = Duration::from_millis(300);
            for (does, within, reason) in [
                (Does::Exit(4), LIMIT, ExitReason::Exited(4)),
                (Does::Hang, limit, ExitReason::StartTimeout),
            ] {
                let plan = Plan {
                    then: does,
                    ..Plan::new(folder.path())
                };
                let begun = Instant::now();
                let spawning = arbiter.spawn(plan.spec("never").start_timeout(within));
                let refused = spawning.wait_timeout(LIMIT).expect("in time");
                assert_eq!(refused.err(), Some(SpawnError::Start(reason)));
                super::figure("refused", begun.elapsed(), limit);
            }
            for crashes in [
                vec![Does::Exit(4), Does::Nothing, Does::Panic],
                vec![Does::Hang],
            ] {
                let folder = tempfile::tempdir().expect("a folder");
                let plan = Plan {
                    inits: crashes,
                    ..Plan::new(folder.path())
                };
                let spec = MonitorSpec::new(
                    format!("{:?}", plan.inits),
                    plan.spec("worker").start_timeout(10 * limit),
                    3,
                );
                let spec = spec.options(|options| options.start_timeout = Some(10 * limit));
                let pool = arbiter.monitor(spec).wait_timeout(LIMIT).expect("in time");
                let pool = pool.expect("they come up in the end");
                assert_eq!(pool.workers().len(), 3);
                assert!(pool.ask_timeout(Job(1, 0), LIMIT).is_ok());
                pool.resize(0);
                eventually(|| pool.workers().is_empty());
            }
        });
    });
}

#[test]
fn p05_one_that_falls_silent_after_it_was_heard_of_is_replaced() {
    let test = "behaviours::p_lives::p05_one_that_falls_silent_after_it_was_heard_of_is_replaced";
    alone(test, 3 * LIMIT, || {
        with_arbiter(|arbiter| {
            let timeout = Duration::from_millis(500);
            let root = spawn(arbiter, counter().timeout(timeout));
            let spec = MonitorSpec::new("pool", counter().timeout(timeout), 1);
            let pool = arbiter.monitor(spec).wait().expect("a pool");
            let worker = || -> Option<Proxy<Counter>> { pool.workers().first().cloned() };
            for in_pool in [false, true] {
                let victim = match in_pool {
                    true => worker().expect("a worker"),
                    false => root.clone(),
                };
                let old = victim.info().wait().expect("an answer").pid;
                // At work for some time, so that it has given signs of life.
                let busy = match in_pool {
                    true => pool.ask(Harm::Busy(200)),
                    false => victim.ask(Harm::Busy(200)),
                };
                assert_eq!(busy.wait_timeout(LIMIT).unwrap(), Ok(()));
                let watch = arbiter.watch(victim.id());
                signal(old, "STOP");
                let stopped = Instant::now();
                let down = watch.wait_timeout(LIMIT).expect("in time").expect("an end");
                assert_eq!(down.reason, ExitReason::Silent, "in a pool: {in_pool}");
                super::figure("found", stopped.elapsed(), timeout + timeout / 10);
                assert!(!is_alive(old));
                match in_pool {
                    true => assert!(pool.ask_timeout(Pid, LIMIT).is_ok_and(|pid| pid != old)),
                    false => assert_ne!(pid(&root), old),
                }
            }
        });
    });
}

#[test]
fn p08_hooks_run_once_in_their_order_and_a_stop_ends_in_time() {
    let test = "behaviours::p_lives::p08_hooks_run_once_in_their_order_and_a_stop_ends_in_time";
    alone(test, 2 * LIMIT, || {
        with_arbiter(|arbiter| {
            let limit = Duration::from_millis(300);
            for (stop, within, reason, seen) in [
                (
                    Does::Nothing,
                    LIMIT,
                    ExitReason::Shutdown,
                    &["init w", "+w", "-w", "exit w"][..],
                ),
                (
                    Does::Panic,
                    LIMIT,
                    ExitReason::Panicked("as planned".to_owned()),
                    &["init w", "+w", "-w"],
                ),
                (
                    Does::Hang,
                    limit,
                    ExitReason::Killed,
                    &["init w", "+w", "-w"],
                ),
            ] {
                let folder = tempfile::tempdir().expect("a folder");
                let plan = Plan {
                    stop,
                    ..Plan::new(folder.path())
                };
                let spec = plan.spec("w").shutdown(Shutdown::After(within));
                let witness: Proxy<Witness> = spawn(arbiter, spec);
                let process = witness.info().wait().expect("an answer").pid;
                let begun = Instant::now();
                let gone = arbiter.stop_actor(witness.id()).wait_timeout(LIMIT);
                assert_eq!(gone.expect("in time"), Ok(Some(reason)), "{stop:?}");
                super::figure("stopped", begun.elapsed(), limit);
                assert!(!is_alive(process));
                assert_eq!(plan.seen(&[""]), seen);
                assert_eq!(
                    witness.ask(Job(1, 0)).wait().err(),
                    Some(ipc_actors::AskError::NotStarted)
                );
            }
            // In a thread the same hooks run.
            let counter = spawn(arbiter, Spec::<Counter>::new(Start::default()).thread());
            assert_eq!(counter.ask_timeout(Add(1), LIMIT), Ok(1));
        });
    });
}
