//! Actors that take too much: only they end, and why is told.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ipc_actors::{Arbiter, AskError, ExitReason, Restart, SpawnError, Spec};
use ipc_exchange::Budget;

use super::b02_faults::{end_of, victim};
use super::victim::{Deed, Victim};
use super::{alone, skipped};
use crate::support::{LIMIT, eventually, has_ended, is_alive, spawn, with_arbiter};

/// A control group in which others can be made, removed in the end.
struct Delegated(PathBuf);

impl Delegated {
    /// With the file that limits what is to be limited; the reason is printed if there is none.
    fn new(files: [&str; 2], controller: &str) -> Option<Self> {
        let name = format!("ipc-actors-test-{}", std::process::id());
        let first = Path::new("/sys/fs/cgroup").join(controller);
        let made = [(first, files[0]), ("/sys/fs/cgroup".into(), files[1])];
        let made = made.iter().find_map(|(root, file)| {
            let group = Self(root.join(&name));
            fs::create_dir(&group.0).ok()?;
            let inner = group.0.join("probe");
            let _ = fs::write(group.0.join("cgroup.subtree_control"), "+memory +cpu +pids");
            fs::create_dir(&inner).ok()?;
            let is_there = inner.join(file).exists();
            fs::remove_dir(inner).expect("it is empty");
            is_there.then_some(group)
        });
        if made.is_none() {
            skipped(&format!(
                "no control group with {} can be made here",
                files[1]
            ));
        }
        made
    }

    fn inner(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).expect("a folder").flatten();
        let entries = entries.map(|entry| entry.path());
        entries.filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        eventually(|| fs::remove_dir(&self.0).is_ok());
    }
}

fn memory() -> Option<Delegated> {
    Delegated::new(["memory.limit_in_bytes", "memory.max"], "memory")
}

/// One that takes more memory than it may is killed by the kernel, and that is what is told, also when
/// it is another process in its group; one that is killed otherwise is told of otherwise.
#[test]
fn a13_want_of_memory_is_told() {
    let test = "behaviours::b13_limits::a13_want_of_memory_is_told";
    alone(test, 2 * LIMIT, || {
        let Some(group) = memory() else { return };
        let folder = group.0.clone();
        with_arbiter(move |arbiter| {
            let budget = Budget::new().memory(64 << 20).group(folder);
            let victim = spawn(arbiter, victim().budget(budget));
            let sibling = spawn(arbiter, super::b02_faults::victim());
            for _ in 0..2 {
                let down = end_of(arbiter, &victim, Deed::Hoard(256 << 20));
                assert_eq!(down.reason, ExitReason::OutOfMemory);
                assert_eq!(down.at_hand.as_deref(), Some("deed"));
                let killed = end_of(arbiter, &victim, Deed::Raise("-KILL".into()));
                let (signal, core) = (9, false);
                assert_eq!(killed.reason, ExitReason::Signalled { signal, core });
            }
            assert_eq!(sibling.incarnation(), 0);
        });
        assert_eq!(group.inner(), Vec::<PathBuf>::new());
    });
}

/// A whole tree in one small group: the worker that grows is the one that dies.
#[test]
fn a13_a_shared_group_out_of_memory_leaves_the_arbiter() {
    let test = "behaviours::b13_limits::a13_a_shared_group_out_of_memory_leaves_the_arbiter";
    alone(test, 2 * LIMIT, || {
        let Some(group) = memory() else { return };
        let own = group.0.join("own");
        fs::create_dir(&own).expect("a group");
        let files = ["memory.limit_in_bytes", "memory.max"].map(|file| own.join(file));
        let file = files.iter().find(|file| file.exists()).expect("a limit");
        fs::write(file, (128 << 20).to_string()).expect("a limit");
        let mut child = std::process::Command::new("sh")
            .args(["-c", "echo $$ > \"$0\"/cgroup.procs && exec \"$@\""])
            .arg(&own)
            .arg(std::env::current_exe().expect("a path"))
            .args(["behaviours::b13_limits::a_tree_in_a_small_group", "--exact"])
            .env(SMALL, "1")
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("a start");
        assert!(child.wait().expect("an end").success());
        eventually(|| fs::remove_dir(&own).is_ok());
    });
}

/// Set in the process that [`a13_a_shared_group_out_of_memory_leaves_the_arbiter`] starts.
const SMALL: &str = "IPC_ACTORS_TEST_SMALL";

/// Not a test by itself.
#[test]
fn a_tree_in_a_small_group() {
    if std::env::var_os(SMALL).is_none() {
        return;
    }
    with_arbiter(|arbiter| {
        let (victim, sibling) = (spawn(arbiter, victim()), spawn(arbiter, victim()));
        for _ in 0..2 {
            let down = end_of(arbiter, &victim, Deed::Hoard(512 << 20));
            assert_eq!(down.reason, ExitReason::OutOfMemory);
            let killed = end_of(arbiter, &victim, Deed::Raise("-KILL".into()));
            let (signal, core) = (9, false);
            assert_eq!(killed.reason, ExitReason::Signalled { signal, core });
        }
        assert_eq!(sibling.incarnation(), 0);
    });
}

/// Limits of the process itself: time on a processor, descriptors, addresses.
#[test]
fn a13_a_process_is_held_to_its_limits() {
    let test = "behaviours::b13_limits::a13_a_process_is_held_to_its_limits";
    alone(test, 2 * LIMIT, || {
        with_arbiter(|arbiter| {
            let second = Duration::from_secs(1);
            let budget = Budget::new().cpu_time(second).core(0).open_files(40);
            let busy = spawn(arbiter, victim().budget(budget));
            let opened = busy.ask(Deed::Open).wait().expect("an answer");
            let opened: u32 = opened.expect("a count").parse().expect("a count");
            assert!((1..40).contains(&opened), "{opened}");
            let begun = Instant::now();
            let down = end_of(arbiter, &busy, Deed::Loop);
            let (signal, core) = (24, false);
            assert_eq!(down.reason, ExitReason::Signalled { signal, core });
            assert_eq!(
                down.reason.to_string(),
                "process ended by signal 24 (SIGXCPU)"
            );
            assert!(begun.elapsed() > second / 2);
            let budget = Budget::new().address_space(1 << 30).core(0);
            let large = spawn(arbiter, victim().budget(budget));
            let down = end_of(arbiter, &large, Deed::Hoard(2 << 30));
            let said = &down.output;
            assert!(said.contains("memory allocation of"), "{said:?}");
            let (signal, core) = (6, false);
            assert_eq!(down.reason, ExitReason::Signalled { signal, core });
        });
    });
}

/// Of its processor time a group gets no more than it may, and no more processes than it may; one that
/// forks without end harms nobody, and is replaced when all it has started is gone.
#[test]
fn a13_a_group_is_held_to_its_limits() {
    let test = "behaviours::b13_limits::a13_a_group_is_held_to_its_limits";
    alone(test, 2 * LIMIT, || {
        let Some(cpu) = Delegated::new(["cpu.cfs_quota_us", "cpu.max"], "cpu") else {
            return;
        };
        let folder = cpu.0.clone();
        with_arbiter(move |arbiter| {
            let budget = Budget::new().cpu_percent(20).group(folder);
            let slow = spawn(arbiter, victim().budget(budget).cpu_bound());
            let used = |pid: &str| {
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
                let after: Vec<_> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
                let ticks = |at: usize| after[at].parse::<u64>().expect("a number");
                Duration::from_millis((ticks(11) + ticks(12)) * 10)
            };
            let pid = slow.ask(Deed::Pid).wait().expect("it runs").expect("an id");
            let before = used(&pid);
            assert_eq!(slow.ask(Deed::Burn(1000)).wait(), Ok(Ok(String::new())));
            let used = used(&pid) - before;
            assert!(used < Duration::from_millis(400), "{used:?}");
        });
        drop(cpu);
        let Some(pids) = Delegated::new(["pids.max", "pids.max"], "pids") else {
            return;
        };
        let folder = pids.0.clone();
        with_arbiter(move |arbiter| {
            let budget = Budget::new().tasks(12).group(folder);
            let forks = spawn(arbiter, victim().budget(budget));
            let started = forks.ask(Deed::Fork(1000)).wait().expect("an answer");
            let started = started.expect("some").split(' ').count();
            assert!((1..12).contains(&started), "{started}");
            let sibling = spawn(arbiter, victim());
            assert!(sibling.ask(Deed::Fork(2)).wait().is_ok());
            arbiter.stop_actor(forks.id()).wait().expect("an end");
            arbiter.kill_actor(sibling.id());
        });
        assert_eq!(pids.inner(), Vec::<PathBuf>::new());
    });
}

/// What its process has started and left behind is gone before it is replaced: it may hold what the next
/// one needs.
#[test]
fn a13_a_replacement_waits_for_what_is_left() {
    let test = "behaviours::b13_limits::a13_a_replacement_waits_for_what_is_left";
    alone(test, 2 * LIMIT, || {
        let Some(group) = memory() else { return };
        let folder = group.0.clone();
        with_arbiter(move |arbiter| {
            let budget = Budget::new().memory(256 << 20).group(folder);
            let victim = spawn(arbiter, victim().budget(budget));
            let left = victim.ask(Deed::Daemon).wait().expect("an answer");
            let left: u32 = left.expect("an id").parse().expect("an id");
            let watch = arbiter.watch(victim.id());
            assert_eq!(
                victim
                    .ask(Deed::Abort)
                    .wait_timeout(Duration::from_millis(300))
                    .ok(),
                None
            );
            assert!(!watch.is_ready() && is_alive(left));
            crate::support::signal(left, "KILL");
            let down = watch.wait_timeout(LIMIT).expect("in time").expect("an end");
            assert!(has_ended(left), "{}", down.reason);
            assert!(victim.ask(Deed::Pid).wait().is_ok_and(|pid| pid.is_ok()));
        });
    });
}

/// Limits that cannot be had fail the start, in words; unless that is said to be all right.
#[test]
fn a13_limits_that_cannot_be_had_are_refused() {
    with_arbiter(|arbiter| {
        let budget = Budget::new().memory(64 << 20);
        let refused = arbiter.spawn(victim().budget(budget.clone())).wait();
        let Err(SpawnError::Start(ExitReason::StartFailed(why))) = refused else {
            panic!("{refused:?}");
        };
        assert!(why.contains("no control group"), "{why}");
        let without = spawn(arbiter, victim().budget(budget.or_without_group()));
        assert_ne!(without.ask(Deed::Pid).wait(), Err(AskError::NotStarted));
    });
}

fn who(arbiter: &Arbiter, spec: Spec<Victim>) -> Vec<String> {
    let victim = spawn(arbiter, spec);
    let told = victim.ask_timeout(Deed::Who, LIMIT).expect("an answer");
    told.expect("text").lines().map(str::to_owned).collect()
}

/// A process can be somebody with fewer rights, for good, and be told less of the environment; what it has
/// with the arbiter it keeps, its end with it as well.
#[test]
fn a13_a_process_can_be_somebody_with_fewer_rights() {
    let test = "behaviours::b13_limits::a13_a_process_can_be_somebody_with_fewer_rights";
    alone(test, LIMIT, || {
        with_arbiter(|arbiter| {
            let has = |lines: &[String], line: &str| lines.iter().any(|known| known == line);
            let usual = who(arbiter, victim());
            assert!(
                has(&usual, "NoNewPrivs: 0") && has(&usual, "$PATH"),
                "{usual:?}"
            );
            let spec = victim().keep_variables(["PATH", "TMPDIR"]);
            let spec = spec.hide_variables(["TMPDIR", "NOTHING"]);
            let less = who(arbiter, spec.budget(Budget::new().no_new_privileges()));
            assert!(has(&less, "NoNewPrivs: 1"), "{less:?}");
            let mut names: Vec<_> = less.iter().filter(|line| line.starts_with('$')).collect();
            // By these two a process of this stack knows that it is one.
            names.retain(|name| !name.starts_with("$IPC_"));
            assert_eq!(names, ["$PATH"]);
            let budget = Budget::new().user("nobody-that-there-is");
            let refused = arbiter.spawn(victim().budget(budget)).wait();
            let why = refused.expect_err("there is no such user").to_string();
            assert!(why.contains("no user nobody-that-there-is"), "{why}");
            if !has(&usual, "Uid: 0 0 0 0") {
                return skipped("only root can become somebody else");
            }
            let budget = Budget::new().user("65533").user_group("65532");
            let spec = victim().budget(budget).restart(Restart::Temporary);
            let other = who(arbiter, spec.clone());
            assert!(has(&other, "Uid: 65533 65533 65533 65533"), "{other:?}");
            assert!(has(&other, "Gid: 65532 65532 65532 65532"), "{other:?}");
            assert!(has(&other, "Groups: 65532"), "{other:?}");
            // It is watched, ended and told of as any other.
            let other = spawn(arbiter, spec);
            let down = end_of(arbiter, &other, Deed::Abort);
            let (signal, core) = (6, false);
            assert_eq!(down.reason, ExitReason::Signalled { signal, core });
        });
    });
}
