//! Who spawns an actor may be gone before it.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ipc_actors::{ArbiterOptions, ArbiterThread, Proxy, Spec};

use super::alone;
use crate::actors::{Counter, Hire, Start};
use crate::support::{LIMIT, pid, spawn, with_arbiter};

fn counter() -> Spec<Counter> {
    Spec::<Counter>::new(Start::default()).process()
}

/// Each serves from the same process for a while: what the end of a thread does to the processes that it
/// started, it does at once.
fn all_live(counters: &[Proxy<Counter>]) {
    let pids: Vec<_> = counters.iter().map(pid).collect();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(200) {
        let now: Vec<_> = counters.iter().map(pid).collect();
        assert_eq!(now, pids);
    }
    assert!(counters.iter().all(|counter| counter.incarnation() == 0));
}

#[test]
fn a05_actors_outlive_the_threads_that_spawned_them() {
    let test = "behaviours::b05_spawners::a05_actors_outlive_the_threads_that_spawned_them";
    alone(test, 2 * LIMIT, || {
        // The arbiter's own thread was made by one that is gone.
        let starting = thread::spawn(|| ArbiterThread::start(ArbiterOptions::default()));
        let root = starting.join().expect("a thread").expect("an arbiter");
        let arbiter = root.arbiter();

        let brief = arbiter.clone();
        let brief = thread::spawn(move || spawn(&brief, counter()));
        // One of a pool's, which ends when there is nothing to do for a while.
        let (jobs, queue) = mpsc::channel::<()>();
        let pooled = arbiter.clone();
        let pooled = thread::spawn(move || {
            let mut done = Vec::new();
            while queue.recv_timeout(Duration::from_millis(100)).is_ok() {
                done.push(spawn(&pooled, counter()));
            }
            done
        });
        jobs.send(()).expect("a worker");
        jobs.send(()).expect("a worker");
        let mut counters = vec![brief.join().expect("a thread")];
        counters.extend(pooled.join().expect("a thread"));
        all_live(&counters);
        root.finish().expect("a clean end");
    });
}

#[test]
fn a05_actors_outlive_the_actor_that_spawned_them() {
    let test = "behaviours::b05_spawners::a05_actors_outlive_the_actor_that_spawned_them";
    alone(test, 2 * LIMIT, || {
        with_arbiter(|arbiter| {
            arbiter.allow_spawn::<Counter>();
            for spawner in [counter(), counter().thread()] {
                let spawner = spawn(arbiter, spawner);
                let hired = spawner.ask_timeout(Hire(Start::default()), LIMIT).unwrap();
                let hired = hired.expect("a start");
                let end = arbiter.stop_actor(spawner.id()).wait();
                assert!(end.is_ok());
                all_live(&[hired]);
            }
        });
    });
}
