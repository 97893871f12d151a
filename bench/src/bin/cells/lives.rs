//! What it costs to begin an actor, to see one die, to have it replaced, and to have many of them idle.

use std::time::{Duration, Instant};

use ipc_actors::{Arbiter, ArbiterOptions, ArbiterThread, Placement, Proxy, Restart, Spec};

use crate::actors::{Add, Crash, Sum};
use crate::{Cell, emit, emit_percentile};

/// How many idle actors the memory of one is told from.
const IDLE: usize = 100_000;

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
        ("process", "actor_memory") | ("local", "actor_memory") => memory(&arbiter, size),
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
    let spawning: Vec<_> = (0..count).map(|_| arbiter.spawn(spec.clone())).collect();
    let actors: Vec<Proxy<Sum>> = spawning
        .into_iter()
        .map(|spawning| spawning.wait().expect("it starts"))
        .collect();
    let grown = resident().saturating_sub(before);
    emit("bytes_per_actor", grown as f64 / actors.len() as f64);
}

/// The memory of this process that is in use, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("processes have a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kib.expect("the kernel tells it in KiB") * 1024
}
