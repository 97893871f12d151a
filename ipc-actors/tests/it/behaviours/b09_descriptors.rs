//! Descriptors: none is left, none is handed on, and when there are no more nothing breaks.

use std::collections::BTreeSet;
use std::time::Duration;

use ipc_actors::{Arbiter, ExitReason, Proxy, Restart, SpawnError};
use ipc_core::descriptors;

use super::alone;
use super::alone::alone_by;
use super::b02_faults::victim;
use super::victim::{Deed, Victim};
use crate::support::{LIMIT, eventually, signal, spawn, with_arbiter};

/// How many processes live and die in [`a09_many_lives_leave_no_descriptor`], unless 200.
const LIVES: &str = "IPC_ACTORS_LIVES";

fn ask(victim: &Proxy<Victim>, deed: Deed) -> String {
    let answer = victim.ask_timeout(deed, LIMIT).expect("an answer");
    answer.expect("something to tell")
}

/// So many processes start and are killed one after the other; no descriptor is left of any.
#[test]
fn a09_many_lives_leave_no_descriptor() {
    let lives = std::env::var(LIVES).map_or(200, |text| text.parse().expect("a count"));
    let test = "behaviours::b09_descriptors::a09_many_lives_leave_no_descriptor";
    let limit = 2 * LIMIT + Duration::from_millis(100) * lives;
    alone(test, limit, move || {
        crate::support::within(limit, move || {
            let count = || descriptors().expect("a list").len();
            crate::support::set_up();
            let options = ipc_actors::ArbiterOptions::default();
            let thread = ipc_actors::ArbiterThread::start(options).expect("an arbiter");
            let arbiter = thread.arbiter();
            // Keeps what all share.
            let stays = spawn(&arbiter, victim());
            let before = count();
            for _ in 0..lives {
                let victim = spawn(&arbiter, victim().restart(Restart::Temporary));
                let end = arbiter.watch(victim.id());
                let pid: u32 = ask(&victim, Deed::Pid).parse().expect("an id");
                signal(pid, "KILL");
                end.wait_timeout(LIMIT).expect("in time").expect("an end");
            }
            eventually(|| count() <= before);
            assert_eq!(stays.incarnation(), 0);
            thread.finish().expect("a clean end");
        });
    });
}

/// Spawns until it fails, and answers those that live and why there are no more.
fn exhaust(arbiter: &Arbiter) -> (Vec<Proxy<Victim>>, SpawnError) {
    let mut live = Vec::new();
    loop {
        let spec = victim().restart(Restart::Temporary);
        match arbiter.spawn(spec).wait_timeout(LIMIT).expect("in time") {
            Ok(victim) => live.push(victim),
            Err(error) => return (live, error),
        }
    }
}

/// With 64 descriptors a spawn fails in words when there are no more; those who live go on, and when some
/// have ended there is room again.
#[test]
fn a09_without_descriptors_spawns_fail_and_the_rest_goes_on() {
    let test =
        "behaviours::b09_descriptors::a09_without_descriptors_spawns_fail_and_the_rest_goes_on";
    let few = ["sh", "-c", "ulimit -n 64; exec \"$@\"", "sh"];
    alone_by(test, 3 * LIMIT, &few, || {
        with_arbiter(|arbiter| {
            for _ in 0..3 {
                let (live, error) = exhaust(arbiter);
                let SpawnError::Start(ExitReason::StartFailed(why)) = &error else {
                    panic!("{error:?}");
                };
                assert!(why.contains("open files"), "{why}");
                assert!(live.len() > 2, "{}", live.len());
                for victim in &live {
                    assert_eq!(ask(victim, Deed::Burn(1)), "");
                    assert_eq!(victim.ping().wait(), Ok(()));
                }
                let (_, again) = exhaust(arbiter);
                assert_eq!(again, error);
                for victim in live {
                    arbiter.stop_actor(victim.id()).wait().expect("an end");
                }
            }
        });
    });
}

/// A process has its standard streams and its own ends of what leads to the arbiter: nothing of the
/// arbiter's own, and nothing of its siblings'.
#[test]
fn a09_a_process_has_its_own_descriptors_only() {
    let test = "behaviours::b09_descriptors::a09_a_process_has_its_own_descriptors_only";
    alone(test, LIMIT, || {
        let folder = tempfile::tempdir().expect("a folder");
        let _secret = std::fs::File::create(folder.path().join("secret")).expect("a file");
        with_arbiter(|arbiter| {
            let victims: Vec<_> = (0..8).map(|_| spawn(arbiter, victim())).collect();
            // Each kind with its numbers taken away: of sockets and pipes the rest is who it is.
            let own: Vec<BTreeSet<String>> = victims
                .iter()
                .map(|victim| {
                    let told = ask(victim, Deed::Descriptors);
                    let lines = told.lines().filter_map(|line| line.split_once(' '));
                    let lines = lines.filter(|(number, _)| !["0", "1", "2"].contains(number));
                    lines.map(|(_, target)| target.to_owned()).collect()
                })
                .collect();
            let counts: BTreeSet<_> = own.iter().map(BTreeSet::len).collect();
            assert_eq!(counts.len(), 1, "as many as the others: {own:?}");
            for (index, one) in own.iter().enumerate() {
                assert!(
                    one.iter().all(|target| !target.contains("secret")),
                    "{one:?}"
                );
                let sockets = one.iter().filter(|target| target.starts_with("socket:"));
                let sockets: BTreeSet<_> = sockets.cloned().collect();
                for other in &own[..index] {
                    assert!(sockets.is_disjoint(other), "{one:?} {other:?}");
                }
            }
        });
    });
}
