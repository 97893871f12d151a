//! What it costs to begin an actor, to see one die, to have it replaced, and to have many of them idle.

use std::time::{Duration, Instant};

use ipc_actors::{Arbiter, ArbiterOptions, ArbiterThread, Placement, Proxy, Restart, Spec};

use crate::actors::{Add, Crash, Sum};
use crate::{Cell, emit, emit_percentile};

/// How many idle actors the memory of one is told from.
const IDLE: usize = 100_000;

/// As many on one loop: what grows with more than their number shows.
const MILLION: usize = 1_000_000;

pub(crate) fn list() -> Vec<Cell> {
    let cell = |peer: &str, case, size| Cell {
        group: "actors",
        peer: peer.to_owned(),
        case,
        size,
    };
    vec![
        cell("local", "actor_spawn", 1),
        cell("thread", "actor_spawn", 1),
        cell("process", "actor_spawn", 1),
        cell("process", "actor_death_seen", 1),
        cell("process", "actor_replaced", 1),
        cell("local", "actor_memory", IDLE),
        cell("local", "actor_million", MILLION),
        cell("local-permanent", "actor_million", MILLION),
    ]
}

/// Measures the cell, if there is one of this name.
pub(crate) fn cell(peer: &str, case: &str, size: usize, ms: u64) -> bool {
    let known = list()
        .iter()
        .any(|cell| cell.peer == peer && cell.case == case && cell.size == size);
    if !known {
        return false;
    }
    let mut options = ArbiterOptions::default();
    // They crash on purpose here, and soon after each other.
    options.supervisor.intensity = 1_000_000;
    let thread = ArbiterThread::start(options).expect("an arbiter starts");
    let arbiter = thread.arbiter();
    let time = Duration::from_millis(ms);
    match (peer, case) {
        ("local", "actor_spawn") => spawns(&arbiter, Placement::Local, time),
        ("thread", "actor_spawn") => spawns(&arbiter, Placement::Thread, time),
        ("process", "actor_spawn") => spawns(&arbiter, Placement::Process, time),
        ("local", "actor_memory") => memory(&arbiter, size),
        ("local", "actor_million") => many(&arbiter, size, Restart::Temporary),
        ("local-permanent", "actor_million") => many(&arbiter, size, Restart::Permanent),
        _ => deaths(&arbiter, case == "actor_replaced", time),
    }
    thread.finish().expect("it ends well");
    true
}

fn start(arbiter: &Arbiter, spec: Spec<Sum>) -> Proxy<Sum> {
    arbiter.spawn(spec).wait().expect("it starts")
}

/// Runs again and again until `time` is over, and at least ten times.
fn samples(time: Duration, mut one: impl FnMut() -> Duration) -> Vec<u64> {
    let started = Instant::now();
    let mut times = Vec::new();
    while started.elapsed() < time || times.len() < 10 {
        times.push(one().as_nanos() as u64);
    }
    times
}

/// From asking for an actor to its first answer.
fn spawns(arbiter: &Arbiter, placement: Placement, time: Duration) {
    let mut times = samples(time, || {
        let started = Instant::now();
        let sum = start(arbiter, Spec::new(()).placement(placement));
        assert_eq!(sum.ask(Add(1)).wait().expect("it answers"), 1);
        let took = started.elapsed();
        arbiter.stop_actor(sum.id()).wait().expect("it stops");
        took
    });
    emit_percentile("ns_per_op", &mut times, 50, 1.0);
}

/// From the message that kills an actor to the answer that says so, or to the first one that its
/// replacement gives.
fn deaths(arbiter: &Arbiter, replaced: bool, time: Duration) {
    let mut times = samples(time, || {
        let spec = Spec::new(()).restart(Restart::Transient).process();
        let sum = start(arbiter, spec);
        let asked = sum.ask(Crash);
        let started = Instant::now();
        assert!(asked.wait().is_err(), "nobody answers that");
        let mut took = started.elapsed();
        while sum.ask(Add(1)).wait().is_err() {}
        if replaced {
            took = started.elapsed();
        }
        arbiter.stop_actor(sum.id()).wait().expect("it stops");
        took
    });
    emit_percentile("us_p50", &mut times, 50, 1000.0);
    emit_percentile("us_p99", &mut times, 99, 1000.0);
}

fn memory(arbiter: &Arbiter, count: usize) {
    let before = resident();
    let spec = Spec::<Sum>::new(()).local().restart(Restart::Temporary);
    let actors = spawned(arbiter, &spec, count);
    let grown = resident().saturating_sub(before);
    emit("bytes_per_actor", grown as f64 / actors.len() as f64);
}

/// Spawns so many, and waits for a thousand at a time.
fn spawned(arbiter: &Arbiter, spec: &Spec<Sum>, count: usize) -> Vec<Proxy<Sum>> {
    let mut actors = Vec::with_capacity(count);
    while actors.len() < count {
        let spawning: Vec<_> = (0..BATCH).map(|_| arbiter.spawn(spec.clone())).collect();
        let up = spawning.into_iter();
        actors.extend(up.map(|one| one.wait().expect("it starts")));
    }
    actors
}

/// Spawns many actors on the loop, finds and tells each once, and ends them one by one.
fn many(arbiter: &Arbiter, count: usize, restart: Restart) {
    let spec = Spec::<Sum>::new(()).local().restart(restart);
    let before = resident();
    let started = Instant::now();
    let actors = spawned(arbiter, &spec, count);
    let each = |time: Instant| time.elapsed().as_nanos() as f64 / actors.len() as f64;
    emit("spawn_ns_per_actor", each(started));
    let grown = resident().saturating_sub(before);
    emit("bytes_per_actor", grown as f64 / actors.len() as f64);
    let started = Instant::now();
    for actor in &actors {
        let found = arbiter.get_actor::<Sum>(actor.name());
        assert!(found.as_ref() == Some(actor), "it is found by its name");
    }
    emit("find_ns_per_actor", each(started));
    let started = Instant::now();
    for actor in &actors {
        actor.send(Add(1)).expect("it lives");
    }
    // They are given their turns in the order in which they were told.
    for actor in actors.iter().rev().step_by(BATCH) {
        assert_eq!(actor.ask(Add(1)).wait().expect("it answers"), 2);
    }
    emit("tell_ns_per_actor", each(started));
    let started = Instant::now();
    for batch in actors.chunks(BATCH) {
        let gone: Vec<_> = batch
            .iter()
            .map(|actor| arbiter.stop_actor(actor.id()))
            .collect();
        for one in gone {
            assert!(one.wait().expect("it stops").is_some(), "it was there");
        }
    }
    emit("stop_ns_per_actor", each(started));
    assert!(arbiter.names().is_empty(), "all are forgotten");
}

/// How many are spawned or stopped before the first of them is waited for.
const BATCH: usize = 1000;

/// The memory of this process that is in use, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("processes have a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kib.expect("the kernel tells it in KiB") * 1024
}
