//! Pools with real workers.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use ipc_actors::{
    Arbiter, ArbiterLoop, ArbiterOptions, AskError, Monitor, MonitorSpec, Placement, SpawnError,
    Spec,
};

use crate::actors::{Add, Counter, Harm, Pid, Start};
use crate::support::{LIMIT, PLACEMENTS, eventually, is_alive, signal, with_arbiter, within};

fn pool(arbiter: &Arbiter, spec: MonitorSpec<Counter>) -> Monitor<Counter> {
    arbiter
        .monitor(spec)
        .wait_timeout(LIMIT)
        .expect("in time")
        .expect("a pool")
}

fn workers(size: usize) -> MonitorSpec<Counter> {
    MonitorSpec::new("workers", Spec::new(Start::default()).process(), size)
}

fn pids(pool: &Monitor<Counter>) -> BTreeSet<u32> {
    pool.workers()
        .iter()
        .filter_map(|worker| Some(worker.info().wait().ok()?.pid))
        .collect()
}

#[test]
fn every_worker_works_and_every_message_is_answered_once() {
    with_arbiter(|arbiter| {
        for placement in PLACEMENTS {
            let spec = Spec::<Counter>::new(Start::default()).placement(placement);
            let pool = pool(arbiter, MonitorSpec::new(placement.to_string(), spec, 3));
            let asks: Vec<_> = (0..500).map(|_| pool.ask(Add(1))).collect();
            let answers = asks.into_iter().map(|ask| ask.wait().expect("an answer"));
            let mut counts = BTreeMap::new();
            answers.for_each(|answer| *counts.entry(answer).or_insert(0_u64) += 1);
            // Each worker counts from one without a gap.
            assert_eq!(counts.values().sum::<u64>(), 500, "{placement}");
            assert_eq!(counts[&1], 3, "{placement}");
            let info = pool.info().wait().expect("an arbiter").expect("a pool");
            assert_eq!((info.size, info.up, info.total), (3, 3, 3));
        }
    });
}

/// Nobody reads for an answer that comes by a callback, and the sign of life that would have the loop
/// look is seconds away.
#[test]
fn a_single_question_to_an_idle_pool_is_answered_at_once() {
    with_arbiter(|arbiter| {
        let pool = pool(arbiter, workers(1));
        for _ in 0..100 {
            let begun = std::time::Instant::now();
            assert!(pool.ask_timeout(Pid, LIMIT).is_ok());
            assert!(begun.elapsed() < LIMIT / 10, "{:?}", begun.elapsed());
        }
    });
}

#[test]
fn killed_workers_are_replaced_and_their_work_is_done_by_others() {
    with_arbiter(|arbiter| {
        let pool = pool(arbiter, workers(2));
        let before = pids(&pool);
        assert_eq!(before.len(), 2);
        let asks: Vec<_> = (0..40).map(|_| pool.ask(Harm::Busy(5))).collect();
        signal(*before.first().expect("a worker"), "KILL");
        for ask in asks {
            assert_eq!(
                ask.wait_timeout(LIMIT).expect("in time"),
                Ok(()),
                "none is lost"
            );
        }
        eventually(|| pids(&pool).len() == 2);
        let after = pids(&pool);
        assert_eq!(after.intersection(&before).count(), 1);
    });
}

#[test]
fn a_message_that_kills_whoever_takes_it_is_given_up() {
    with_arbiter(|arbiter| {
        let pool = pool(arbiter, workers(2).deliveries_max(3));
        let poison = pool.ask(Harm::Abort);
        assert_eq!(
            poison.wait_timeout(LIMIT).expect("in time"),
            Err(AskError::Started)
        );
        assert_eq!(pool.ask_timeout(Add(1), LIMIT), Ok(1), "the pool goes on");
    });
}

#[test]
fn a_message_kills_two_workers_and_no_third() {
    with_arbiter(|arbiter| {
        let pool = pool(arbiter, workers(2));
        // Workers are numbered on.
        let last = || {
            let workers = pool.workers();
            let numbers = workers.iter().filter_map(|worker| {
                let (_, number) = worker.name().rsplit_once('-')?;
                number.parse::<u64>().ok()
            });
            (workers.len() == 2).then(|| numbers.max()).flatten()
        };
        let before = last().expect("both are up");
        let poison = pool.ask(Harm::Abort).wait_timeout(LIMIT);
        assert_eq!(poison.expect("in time"), Err(AskError::Started));
        eventually(|| last().is_some_and(|number| number >= before + 2));
        assert_eq!(pool.ask_timeout(Add(1), LIMIT), Ok(1));
        assert_eq!(last(), Some(before + 2));
    });
}

#[test]
fn it_is_resized_while_it_works() {
    with_arbiter(|arbiter| {
        let pool = pool(arbiter, workers(1));
        let first = pids(&pool);
        pool.resize(4);
        eventually(|| pool.workers().len() == 4);
        let four = pids(&pool);
        assert!(first.is_subset(&four));
        pool.resize(2);
        eventually(|| {
            pool.workers().len() == 2 && four.iter().filter(|&&p| is_alive(p)).count() == 2
        });
        assert!(pids(&pool).is_disjoint(&first), "the oldest go first");
        pool.resize(0);
        eventually(|| pool.workers().is_empty());
        let waits = pool.ask(Add(1));
        assert!(!waits.is_ready());
        pool.resize(1);
        assert_eq!(waits.wait_timeout(LIMIT).expect("in time"), Ok(1));
    });
}

#[test]
fn each_worker_serves_exactly_so_many_and_no_message_is_lost() {
    with_arbiter(|arbiter| {
        let pool = pool(arbiter, workers(2).requests_max(5, 0));
        let asks: Vec<_> = (0..50).map(|_| pool.ask(Pid)).collect();
        let mut served = BTreeMap::new();
        for ask in asks {
            let pid = ask
                .wait_timeout(LIMIT)
                .expect("in time")
                .expect("an answer");
            *served.entry(pid).or_insert(0) += 1;
        }
        assert_eq!(served.values().sum::<u64>(), 50);
        assert!(served.values().all(|&count| count <= 5), "{served:?}");
        assert!(served.len() >= 10);
    });
}

#[test]
fn a_reload_under_load_loses_nothing() {
    with_arbiter(|arbiter| {
        let pool = pool(arbiter, workers(2));
        let before = pids(&pool);
        let asker = pool.clone();
        let load = thread::spawn(move || {
            for _ in 0..300 {
                assert_eq!(asker.ask(Harm::Busy(1)).wait(), Ok(()));
            }
        });
        for _ in 0..3 {
            pool.reload();
        }
        load.join().expect("no ask fails");
        eventually(|| pids(&pool).is_disjoint(&before) && pool.workers().len() == 2);
        eventually(|| before.iter().all(|&pid| !is_alive(pid)));
    });
}

#[test]
fn a_pool_whose_workers_never_start_gives_up() {
    with_arbiter(|arbiter| {
        let start = Start {
            fail: Some("no coffee".to_owned()),
            ..Start::default()
        };
        let spec = Spec::<Counter>::new(start).placement(Placement::Thread);
        let spec = MonitorSpec::new("failing", spec, 2).options(|options| options.intensity = 3);
        let failed = arbiter.monitor(spec).wait_timeout(LIMIT).expect("in time");
        let why = failed.expect_err("they cannot").to_string();
        assert!(why.contains("no coffee"), "{why}");
    });
}

#[test]
fn a_pool_does_not_try_for_ever_to_come_up() {
    within(LIMIT, || {
        let mut root = ArbiterLoop::simulated(ArbiterOptions::default());
        let start = Start {
            panic: true,
            ..Start::default()
        };
        // Alone, and put off longer and longer: no ten of its failures are within ten seconds.
        let spec = MonitorSpec::new("failing", Spec::<Counter>::new(start), 1);
        let begun = root.now();
        let failed = root.arbiter().monitor(spec);
        let failed = root.wait(failed).expect("a loop");
        assert!(matches!(failed, Err(SpawnError::Start(_))), "{failed:?}");
        let took = root.now() - begun;
        assert!(
            took > Duration::from_secs(5) && took < Duration::from_secs(60),
            "{took:?}"
        );
    });
}
