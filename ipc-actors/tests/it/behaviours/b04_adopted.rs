//! Arbiters that are killed, whose workers are to outlive them: the next arbiter takes them over.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use ipc_actors::{
    Arbiter, ArbiterOptions, ArbiterThread, ExitReason, MonitorSpec, OnArbiterDeath, Proxy,
    Shutdown, Spec,
};
use ipc_exchange::Budget;

use super::b02_faults::victim;
use super::b04_orphans::{say, workers};
use super::victim::{Deed, Victim};
use super::{alone, figure};
use crate::support::{LIMIT, eventually, has_ended, is_alive, set_up, signal, spawn, within};

/// The folder of an arbiter that may be killed.
const FOLDER: &str = "IPC_ACTORS_TEST_FOLDER";

fn arbiter_in(folder: &Path, at_most: Duration) -> std::io::Result<ArbiterThread> {
    set_up();
    let folder = folder.to_owned();
    ArbiterThread::start(ArbiterOptions {
        on_death: OnArbiterDeath::Wait { folder, at_most },
        ..ArbiterOptions::default()
    })
}

fn named(number: usize) -> Spec<Victim> {
    let soon = Shutdown::After(Duration::from_millis(100));
    let spec = victim().timeout(None).shutdown(soon);
    spec.name(format!("victim-{number}"))
}

fn crew() -> MonitorSpec<Victim> {
    MonitorSpec::new("crew", victim().timeout(None), 2)
}

fn ask(victim: &Proxy<Victim>, deed: Deed) -> String {
    let answer = victim.ask_timeout(deed, LIMIT).expect("an answer");
    answer.expect("something to tell")
}

/// What an arbiter that is to be killed does before.
const SCENE: &str = "IPC_ACTORS_TEST_SCENE";

/// How many messages are told to one that is busy.
const TOLD: u64 = 100;

/// An arbiter whose workers count, and that has still something to do when it is killed.
#[test]
fn an_arbiter_to_be_followed() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let at_most = std::env::var("IPC_ACTORS_TEST_WAIT").expect("a time");
    let at_most = Duration::from_millis(at_most.parse().expect("a time"));
    let thread = arbiter_in(Path::new(&folder), at_most).expect("an arbiter");
    let arbiter = thread.arbiter();
    let victims: Vec<_> = (0..workers()).map(|n| spawn(&arbiter, named(n))).collect();
    let pool = arbiter.monitor(crew()).wait().expect("a pool");
    let mut told: Vec<_> = victims
        .iter()
        .map(|victim| ask(victim, Deed::Pid))
        .collect();
    for victim in &victims {
        ask(victim, Deed::Count);
    }
    let stuck: Vec<_> = match std::env::var(SCENE).expect("a scene").as_str() {
        "stuck" => {
            let every = victims.iter().step_by(5);
            every.map(|victim| victim.ask(Deed::Loop)).collect()
        }
        "told" => {
            let busy = victims[0].ask(Deed::Burn(1500));
            for _ in 0..TOLD {
                victims[0].send(Deed::Tally).expect("it lives");
            }
            vec![busy]
        }
        _ => Vec::new(),
    };
    // Two turns of the loop: what was told has left.
    arbiter.tree().wait().expect("the tree");
    let tree = arbiter.tree().wait().expect("the tree");
    let crew = tree.actors.iter().filter(|actor| actor.parent == "crew");
    told.extend(crew.map(|actor| actor.info.pid.to_string()));
    told.extend(victims.iter().map(|victim| victim.id().to_string()));
    say(&format!("pids {}", told.join(" ")));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a line");
    drop((pool, stuck));
}

/// Starts one and kills it; answers the process ids of its workers and the ids of those with a name.
fn leave(folder: &Path, at_most: Duration, scene: &str) -> (Vec<u32>, Vec<String>) {
    let program = std::env::current_exe().expect("a path");
    leave_by(&program, folder, at_most, scene)
}

fn leave_by(
    program: &Path,
    folder: &Path,
    at_most: Duration,
    scene: &str,
) -> (Vec<u32>, Vec<String>) {
    let mut child = Command::new(program)
        .args([
            "behaviours::b04_adopted::an_arbiter_to_be_followed",
            "--exact",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .env(SCENE, scene)
        .env("IPC_ACTORS_TEST_WAIT", at_most.as_millis().to_string())
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
    child.kill().expect("it runs");
    child.wait().expect("an end");
    let told: Vec<_> = line.split_whitespace().skip(1).map(str::to_owned).collect();
    let (pids, ids) = told.split_at(workers() + 2);
    let pids = pids.iter().map(|pid| pid.parse().expect("a number"));
    (pids.collect(), ids.to_vec())
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

/// Workers that are to outlive their arbiter go on, and the next one takes them over: the same processes,
/// ids, names and states, none twice; those that are stuck, too. Then they are its own.
#[test]
fn a04_workers_are_taken_over_by_the_next_arbiter() {
    let test = "behaviours::b04_adopted::a04_workers_are_taken_over_by_the_next_arbiter";
    alone(test, 3 * LIMIT, || {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("refuge");
        let (pids, ids) = leave(&folder, 2 * LIMIT, "stuck");
        // Longer than those wait that end with their arbiter.
        park_timeout(Duration::from_millis(500));
        assert!(pids.iter().all(|&pid| is_alive(pid)));
        let thread = arbiter_in(&folder, LIMIT).expect("the folder is free");
        let refused = arbiter_in(&folder, LIMIT).expect_err("it is not");
        assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse);
        let arbiter = thread.arbiter();
        let begun = Instant::now();
        let spawning: Vec<_> = (0..workers()).map(|n| arbiter.spawn(named(n))).collect();
        let victims: Vec<_> = spawning
            .into_iter()
            .map(|spawning| {
                spawning
                    .wait_timeout(LIMIT)
                    .expect("in time")
                    .expect("a start")
            })
            .collect();
        figure("all taken over", begun.elapsed(), Duration::from_secs(1));
        let pool = arbiter.monitor(crew()).wait().expect("a pool");
        for (n, victim) in victims.iter().enumerate() {
            let info = victim.info().wait_timeout(LIMIT).expect("in time");
            if n % 5 != 0 {
                assert_eq!(info.expect("it answers").pid, pids[n]);
                let count: u64 = ask(victim, Deed::Count).parse().expect("a count");
                assert!(count >= 40, "it went on meanwhile: {count}");
            }
            assert_eq!(victim.ping().wait_timeout(LIMIT).expect("in time"), Ok(()));
            assert_eq!(victim.id().to_string(), ids[n]);
            assert_eq!(victim.incarnation(), 0);
            assert!(
                arbiter
                    .get_actor::<Victim>(&format!("victim-{n}"))
                    .is_some()
            );
        }
        let tree = arbiter.tree().wait().expect("the tree");
        let now: BTreeSet<_> = tree.actors.iter().map(|actor| actor.info.pid).collect();
        assert_eq!(now, pids.iter().copied().collect(), "none was started");
        assert!(
            pool.ask_timeout(Deed::Pid, LIMIT)
                .is_ok_and(|pid| pid.is_ok())
        );
        // From now on they are supervised as any other.
        let watch = arbiter.watch(victims[1].id());
        signal(pids[1], "KILL");
        let down = watch.wait_timeout(LIMIT).expect("in time").expect("an end");
        assert_eq!((down.incarnation, down.reason), (0, ExitReason::LinkLost));
        assert_ne!(ask(&victims[1], Deed::Pid), pids[1].to_string());
        assert_eq!(victims[1].incarnation(), 1);
        let watch = arbiter.watch(victims[0].id());
        arbiter.kill_actor(victims[0].id());
        let down = watch.wait_timeout(LIMIT).expect("in time").expect("an end");
        assert_eq!(down.reason, ExitReason::Killed);
        ask(&victims[0], Deed::Pid);
        drop((tree, pool, victims));
        thread.finish().expect("a clean end");
        eventually(|| pids.iter().all(|&pid| has_ended(pid)));
        eventually(|| is_empty(&folder));
    });
}

/// Those for whom nobody comes end when their time is over, whatever they do, and leave nothing.
#[test]
fn a04_workers_that_nobody_takes_over_end() {
    let test = "behaviours::b04_adopted::a04_workers_that_nobody_takes_over_end";
    alone(test, 3 * LIMIT, || {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("refuge");
        let (pids, _) = leave(&folder, Duration::from_millis(700), "stuck");
        let begun = Instant::now();
        eventually(|| pids.iter().all(|&pid| has_ended(pid)));
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(600), "{took:?}");
        figure("all gone", took, Duration::from_secs(2));
        eventually(|| is_empty(&folder));
    });
}

/// A folder that others can get into is refused.
#[test]
fn a04_a_folder_of_others_is_refused() {
    let place = tempfile::tempdir().expect("a folder");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place.path(), open).expect("it is ours");
    let refused = arbiter_in(place.path(), LIMIT).expect_err("it is open");
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    assert!(is_empty(place.path()));
}

/// The processes of all actors.
fn processes(arbiter: &Arbiter) -> BTreeSet<u32> {
    let tree = arbiter.tree().wait().expect("the tree");
    tree.actors.iter().map(|actor| actor.info.pid).collect()
}

/// One arbiter after the other is killed, and the workers stay the same.
#[test]
fn a04_workers_outlive_several_arbiters() {
    let test = "behaviours::b04_adopted::a04_workers_outlive_several_arbiters";
    alone(test, 4 * LIMIT, || {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("refuge");
        let (first, ids) = leave(&folder, 2 * LIMIT, "idle");
        let all: BTreeSet<_> = first.iter().copied().collect();
        for _ in 0..3 {
            let (pids, now) = leave(&folder, 2 * LIMIT, "idle");
            assert_eq!(pids[..workers()], first[..workers()]);
            assert_eq!(
                (pids.into_iter().collect(), now),
                (all.clone(), ids.clone())
            );
        }
        let thread = arbiter_in(&folder, LIMIT).expect("the folder is free");
        let arbiter = thread.arbiter();
        let victims: Vec<_> = (0..workers()).map(|n| spawn(&arbiter, named(n))).collect();
        let pool = arbiter.monitor(crew()).wait().expect("a pool");
        assert_eq!(processes(&arbiter), all, "none was started");
        drop((victims, pool));
        thread.finish().expect("a clean end");
        eventually(|| first.iter().all(|&pid| has_ended(pid)));
        eventually(|| is_empty(&folder));
    });
}

/// One that dies before the next arbiter comes, or when that has seen it and before it is asked for, is
/// started anew; one that is stopped is continued.
#[test]
fn a04_workers_that_die_while_they_wait_are_started_anew() {
    let test = "behaviours::b04_adopted::a04_workers_that_die_while_they_wait_are_started_anew";
    alone(test, 3 * LIMIT, || {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("refuge");
        let (pids, ids) = leave(&folder, 2 * LIMIT, "idle");
        signal(pids[1], "KILL");
        eventually(|| has_ended(pids[1]));
        signal(pids[2], "STOP");
        let thread = arbiter_in(&folder, LIMIT).expect("the folder is free");
        let arbiter = thread.arbiter();
        signal(pids[3], "KILL");
        eventually(|| has_ended(pids[3]));
        let victims: Vec<_> = (0..workers()).map(|n| spawn(&arbiter, named(n))).collect();
        let now: Vec<u32> = victims
            .iter()
            .map(|victim| ask(victim, Deed::Pid).parse().expect("a number"))
            .collect();
        for (n, victim) in victims.iter().enumerate() {
            let (is_same, incarnation) = (now[n] == pids[n], victim.incarnation());
            let expected = match n {
                // Nobody knew of it any more.
                1 => (false, 0, false),
                3 => (false, 1, true),
                _ => (true, 0, true),
            };
            let is_known = victim.id().to_string() == ids[n];
            assert_eq!((is_same, incarnation, is_known), expected, "{n}");
        }
        drop(victims);
        thread.finish().expect("a clean end");
        eventually(|| pids.iter().chain(&now).all(|&pid| has_ended(pid)));
        eventually(|| is_empty(&folder));
    });
}

/// Those that the next arbiter does not ask for in its time are ended by it, one that is stopped, too.
#[test]
fn a04_workers_that_nobody_asks_for_are_ended() {
    let test = "behaviours::b04_adopted::a04_workers_that_nobody_asks_for_are_ended";
    alone(test, 3 * LIMIT, || {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("refuge");
        let (pids, _) = leave(&folder, 3 * LIMIT, "stuck");
        let thread = arbiter_in(&folder, Duration::from_millis(200)).expect("the folder is free");
        let one = spawn(&thread.arbiter(), named(1));
        signal(pids[2], "STOP");
        eventually(|| (0..pids.len()).all(|n| has_ended(pids[n]) == (n != 1)));
        assert_eq!(ask(&one, Deed::Pid), pids[1].to_string());
        drop(one);
        thread.finish().expect("a clean end");
        eventually(|| has_ended(pids[1]));
        eventually(|| is_empty(&folder));
    });
}

/// What had come to the process before the arbiter died is handled, and what the next one tells it is
/// counted by itself.
#[test]
fn a04_messages_of_the_dead_are_handled_and_counted_apart() {
    let test = "behaviours::b04_adopted::a04_messages_of_the_dead_are_handled_and_counted_apart";
    alone(test, 3 * LIMIT, || {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("refuge");
        let (pids, _) = leave(&folder, 2 * LIMIT, "told");
        let thread = arbiter_in(&folder, LIMIT).expect("the folder is free");
        let arbiter = thread.arbiter();
        let victim = spawn(&arbiter, named(0));
        assert_eq!(victim.ping().wait_timeout(LIMIT).expect("in time"), Ok(()));
        for _ in 0..TOLD {
            victim.send(Deed::Tally).expect("it lives");
        }
        assert_eq!(ask(&victim, Deed::Pid), pids[0].to_string());
        assert_eq!(ask(&victim, Deed::Tally), (2 * TOLD + 1).to_string());
        let stuck = victim.ask(Deed::Loop);
        for _ in 0..7 {
            victim.send(Deed::Tally).expect("it lives");
        }
        let watch = arbiter.watch(victim.id());
        signal(pids[0], "KILL");
        let down = watch.wait_timeout(LIMIT).expect("in time").expect("an end");
        assert_eq!((down.lost, down.reason), (7, ExitReason::LinkLost));
        assert!(stuck.wait_timeout(LIMIT).expect("in time").is_err());
        drop(victim);
        thread.finish().expect("a clean end");
        eventually(|| pids.iter().all(|&pid| has_ended(pid)));
        eventually(|| is_empty(&folder));
    });
}

/// Of what was told last, one that ends by itself says what it has handled: of this arbiter's messages.
#[test]
fn a04_who_was_taken_over_takes_leave_with_true_counts() {
    let test = "behaviours::b04_adopted::a04_who_was_taken_over_takes_leave_with_true_counts";
    alone(test, 3 * LIMIT, || {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("refuge");
        let (pids, _) = leave(&folder, 2 * LIMIT, "told");
        let thread = arbiter_in(&folder, LIMIT).expect("the folder is free");
        let arbiter = thread.arbiter();
        let victim = spawn(&arbiter, named(0));
        // A hundred of the dead arbiter's still wait, and count for nobody.
        for _ in 0..TOLD {
            victim.send(Deed::Tally).expect("it lives");
        }
        let watch = arbiter.watch(victim.id());
        victim.send(Deed::Panic).expect("it lives");
        for _ in 0..5 {
            victim.send(Deed::Tally).expect("it lives");
        }
        let down = watch.wait_timeout(LIMIT).expect("in time").expect("an end");
        assert!(matches!(down.reason, ExitReason::Panicked(_)), "{down}");
        assert_eq!(down.lost, 5, "{down}");
        drop(victim);
        thread.finish().expect("a clean end");
        eventually(|| pids.iter().all(|&pid| has_ended(pid)));
        eventually(|| is_empty(&folder));
    });
}

/// Another program file may speak another way: its arbiter ends what it finds and starts its own.
#[test]
fn a04_workers_of_another_program_are_not_taken_over() {
    let test = "behaviours::b04_adopted::a04_workers_of_another_program_are_not_taken_over";
    alone(test, 3 * LIMIT, || {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("refuge");
        let other: PathBuf = place.path().join("other");
        std::fs::copy(std::env::current_exe().expect("a path"), &other).expect("a copy");
        let (old, _) = leave(&folder, 2 * LIMIT, "stuck");
        let (new, _) = leave_by(&other, &folder, 2 * LIMIT, "idle");
        eventually(|| old.iter().all(|&pid| has_ended(pid)));
        assert!(new.iter().all(|pid| !old.contains(pid)));
        // And the other way round.
        let thread = arbiter_in(&folder, LIMIT).expect("the folder is free");
        eventually(|| new.iter().all(|&pid| has_ended(pid)));
        thread.finish().expect("a clean end");
        eventually(|| is_empty(&folder));
    });
}

/// An actor without a name of its own could not be asked for, and one that is another user could not come:
/// they end with their arbiter.
#[test]
fn a04_workers_without_a_name_or_with_another_user_are_not_enrolled() {
    within(3 * LIMIT, || {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("refuge");
        let thread = arbiter_in(&folder, LIMIT).expect("an arbiter");
        let arbiter = thread.arbiter();
        let known = || std::fs::read_dir(&folder).expect("a folder").count();
        let before = known();
        let unnamed = spawn(&arbiter, victim().timeout(None));
        assert_eq!(known(), before);
        let nobody = Budget::new().user("65534");
        let other = arbiter.spawn(named(1).budget(nobody)).wait_timeout(LIMIT);
        match other.expect("in time") {
            Ok(_) => assert_eq!(known(), before),
            Err(error) => println!("skipped: another user cannot be had here: {error}"),
        }
        let own = spawn(&arbiter, named(0));
        assert_eq!(known(), before + 1);
        drop((unnamed, own));
        thread.finish().expect("a clean end");
        assert!(is_empty(&folder));
    });
}
