//! Arbiters that are killed: what becomes of their workers.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use ipc_actors::{Placement, Spec};

use super::b02_faults::victim;
use super::victim::{Deed, Victim};
use super::{alone, figure};
use crate::support::{LIMIT, eventually, has_ended, signal, spawn, with_arbiter};

/// How many workers there are, unless 24.
const WORKERS: &str = "IPC_ACTORS_WORKERS";

/// Set in the process of an arbiter that is to be killed.
const MORTAL: &str = "IPC_ACTORS_TEST_MORTAL";

pub(super) fn workers() -> usize {
    std::env::var(WORKERS).map_or(24, |text| text.parse().expect("a count"))
}

/// An arbiter with workers, some of which are stuck, waits to be killed.
#[test]
fn an_arbiter_to_be_killed() {
    if std::env::var_os(MORTAL).is_none() {
        return;
    }
    with_arbiter(|arbiter| {
        let spec = || -> Spec<Victim> { victim().timeout(None).placement(Placement::Process) };
        let victims: Vec<_> = (0..workers()).map(|_| spawn(arbiter, spec())).collect();
        let mut pids = Vec::new();
        for victim in &victims {
            pids.push(
                victim
                    .ask(Deed::Pid)
                    .wait()
                    .expect("it lives")
                    .expect("an id"),
            );
        }
        let mut hang: Vec<_> = victims
            .iter()
            .map(|victim| victim.ask(Deed::Burn(0)))
            .collect();
        for (index, victim) in victims.iter().enumerate() {
            match index % 4 {
                0 => hang.push(victim.ask(Deed::Loop)),
                1 => hang.push(victim.ask(Deed::Read)),
                _ => {}
            }
        }
        for (_, pid) in pids.iter().enumerate().filter(|(index, _)| index % 4 == 2) {
            signal(pid.parse().expect("an id"), "STOP");
        }
        say(&format!("pids {}", pids.join(" ")));
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).expect("a line");
    });
}

/// Says something to whoever started this process.
pub(super) fn say(text: &str) {
    writeln!(std::io::stderr(), "{text}").expect("a reader");
}

/// An arbiter in a process of its own, and its workers.
fn start(test: &str) -> (Child, ChildStdin, Vec<u32>) {
    let mut child = Command::new(std::env::current_exe().expect("a path"))
        .args([test, "--exact", "--nocapture"])
        .env(MORTAL, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a start");
    let mut errors = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.starts_with("pids ") {
        line.clear();
        assert_ne!(errors.read_line(&mut line).expect("a line"), 0, "it ended");
    }
    std::thread::spawn(move || std::io::copy(&mut errors, &mut std::io::stderr()));
    let pids = line.split_whitespace().skip(1);
    let pids = pids.map(|pid| pid.parse().expect("an id")).collect();
    let stdin = child.stdin.take().expect("piped");
    (child, stdin, pids)
}

/// Workers end with their arbiter, however that ends and whatever they do: compute, wait, or are stopped.
#[test]
fn a04_workers_end_with_a_killed_arbiter() {
    let test = "behaviours::b04_orphans::a04_workers_end_with_a_killed_arbiter";
    alone(test, 3 * LIMIT, || {
        let (mut child, _stdin, pids) = start("behaviours::b04_orphans::an_arbiter_to_be_killed");
        assert_eq!(pids.len(), workers());
        let begun = Instant::now();
        child.kill().expect("it runs");
        child.wait().expect("an end");
        eventually(|| pids.iter().all(|&pid| has_ended(pid)));
        figure("all workers gone", begun.elapsed(), Duration::from_secs(1));
    });
}

/// An arbiter that spawns without end, until it is killed.
#[test]
fn an_arbiter_that_spawns() {
    if std::env::var_os(MORTAL).is_none() {
        return;
    }
    with_arbiter(|arbiter| {
        let mut spawning = Vec::new();
        say("pids ");
        loop {
            spawning.push(arbiter.spawn(victim().timeout(None)));
            if spawning.len() >= 8 {
                drop(spawning.remove(0).wait());
            }
        }
    });
}

/// It is the same for a process that was just started: before it has come to its first instruction, to its
/// first message, to its actor.
#[test]
fn a04_an_arbiter_killed_while_it_spawns_leaves_nobody() {
    let test = "behaviours::b04_orphans::a04_an_arbiter_killed_while_it_spawns_leaves_nobody";
    // That nothing is left is looked at after each round.
    alone(test, 3 * LIMIT, || {
        for round in 0..10 {
            let (mut child, ..) = start("behaviours::b04_orphans::an_arbiter_that_spawns");
            let moment = Instant::now() + Duration::from_micros(20_000 + 1_700 * round);
            while Instant::now() < moment {
                std::hint::spin_loop();
            }
            child.kill().expect("it runs");
            child.wait().expect("an end");
        }
    });
}
