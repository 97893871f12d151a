//! The arbiter's processes and those of the program around it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ipc_actors::{Arbiter, ExitReason, Proxy, Restart, Spec};
use ipc_dispatch::{Context, Selector};

use super::{alone, alone_by, figure, namespace, note, runs, skipped};
use crate::actors::{Counter, Start};
use crate::support::{LIMIT, eventually, is_alive, pid, signal, spawn, with_arbiter};

const CHLD: i32 = 17;

/// How many actors at once: a thousand, or as many as there is room for.
fn crowd() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name))?;
        line[name.len()..].split_whitespace().next()?.parse().ok()
    };
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free = memory.lines().find_map(|line| {
        let kib = line.strip_prefix("MemAvailable:")?.trim();
        kib.trim_end_matches(" kB").parse::<usize>().ok()
    });
    // Each has five descriptors here and, not optimised, four megabytes of its own.
    let descriptors = soft("Max open files").map_or(usize::MAX, |count: usize| count / 6);
    let processes = soft("Max processes").map_or(usize::MAX, |count: usize| count / 4);
    let memory = free.map_or(100, |kib| kib / 2 / 4096);
    descriptors.min(processes).min(memory).clamp(10, 1000)
}

/// A child of this program's own that lives for a while, and the number of what it has left to nobody.
fn foreign() -> (Child, u32) {
    let mut child = Command::new("sh")
        .args(["-c", "sleep 600 & echo $!; exit 3"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut line = String::new();
    let told = child.stdout.take().expect("piped");
    BufReader::new(told).read_line(&mut line).expect("a line");
    (child, line.trim().parse().expect("a number"))
}

fn spawn_many(arbiter: &Arbiter, count: usize) -> Vec<Proxy<Counter>> {
    let spec = Spec::<Counter>::new(Start::default()).process();
    let spec = spec.restart(Restart::Temporary).start_timeout(6 * LIMIT);
    let spawning: Vec<_> = (0..count).map(|_| arbiter.spawn(spec.clone())).collect();
    spawning
        .into_iter()
        .map(|spawning| spawning.wait().expect("a start"))
        .collect()
}

#[test]
fn a06_a_thousand_end_at_once_and_other_children_are_left_alone() {
    let test =
        "behaviours::b06_children::a06_a_thousand_end_at_once_and_other_children_are_left_alone";
    let again = AtomicBool::new(false);
    alone(test, 12 * LIMIT, move || {
        let crowd = if again.swap(true, Ordering::Relaxed) {
            50
        } else {
            crowd()
        };
        let (mut child, grandchild) = foreign();
        with_arbiter(move |arbiter| {
            let begun = Instant::now();
            let counters = spawn_many(arbiter, crowd);
            note(&format!("{crowd} actors in {:?}", begun.elapsed()));
            let pids: Vec<_> = counters.iter().map(pid).collect();
            let watches: Vec<_> = counters.iter().map(|one| arbiter.watch(one.id())).collect();
            let killed = Instant::now();
            let list = pids.iter().map(u32::to_string);
            let kill = Command::new("kill").arg("-KILL").args(list).status();
            assert!(kill.expect("a kill").success());
            for watch in watches {
                let down = watch.wait_timeout(LIMIT).expect("in time").expect("an end");
                let reason = ExitReason::Signalled {
                    signal: 9,
                    core: false,
                };
                assert_eq!(down.reason, reason);
            }
            figure("all ends told", killed.elapsed(), Duration::from_secs(1));
            assert!(pids.iter().all(|&pid| !is_alive(pid)), "reaped by then");
            spawn(arbiter, Spec::<Counter>::new(Start::default()).process());
        });
        assert_eq!(child.wait().expect("still ours").code(), Some(3));
        assert!(is_alive(grandchild));
        signal(grandchild, "KILL");
    });
}

/// Actors come, crash, come back and go.
fn lives(arbiter: &Arbiter) {
    let counter = spawn(arbiter, Spec::<Counter>::new(Start::default()).process());
    for _ in 0..3 {
        let old = pid(&counter);
        arbiter.kill_actor(counter.id());
        eventually(|| pid(&counter) != old);
        eventually(|| !is_alive(old));
    }
    let last = pid(&counter);
    let gone = arbiter.stop_actor(counter.id()).wait_timeout(LIMIT);
    assert!(gone.expect("in time").is_ok());
    assert!(!is_alive(last));
}

#[test]
fn a06_it_works_while_sigchld_is_ignored() {
    let test = "behaviours::b06_children::a06_it_works_while_sigchld_is_ignored";
    // What is ignored stays so in what is run.
    let ignoring = ["env", "--ignore-signal=CHLD"];
    if !runs(&ignoring) {
        return skipped("env cannot ignore signals here");
    }
    alone_by(test, 2 * LIMIT, &ignoring, || {
        let status = fs::read_to_string("/proc/self/status").expect("a status");
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored = u64::from_str_radix(ignored.expect("a set").trim(), 16).expect("bits");
        assert_ne!(ignored & (1 << (CHLD - 1)), 0);
        with_arbiter(lives);
    });
}

#[test]
fn a06_it_works_beside_another_handler_of_sigchld() {
    let test = "behaviours::b06_children::a06_it_works_beside_another_handler_of_sigchld";
    alone(test, 2 * LIMIT, || {
        static SEEN: AtomicU32 = AtomicU32::new(0);
        SEEN.store(0, Ordering::Relaxed);
        let mut selector = Selector::<()>::new().expect("a selector");
        selector
            .on_signal(CHLD, |_: &mut Context<'_, ()>| {
                SEEN.fetch_add(1, Ordering::Relaxed);
            })
            .expect("a handler");
        with_arbiter(lives);
        eventually(|| {
            selector
                .turn(&mut (), Some(Duration::ZERO))
                .expect("a turn");
            SEEN.load(Ordering::Relaxed) > 0
        });
    });
}

#[test]
fn a06_it_works_as_the_first_process_of_a_container() {
    let test = "behaviours::b06_children::a06_it_works_as_the_first_process_of_a_container";
    let Some(namespace) = namespace() else {
        return skipped("process namespaces cannot be made here");
    };
    alone_by(test, 2 * LIMIT, &namespace, || {
        assert_eq!(std::process::id(), 1);
        with_arbiter(lives);
    });
}
