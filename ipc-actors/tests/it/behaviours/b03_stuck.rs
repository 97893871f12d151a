//! Processes that hang, and some that only seem to.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use ipc_actors::{Down, ExitReason, Proxy};

use super::alone::alone_by;
use super::b02_faults::{CORES, end_of, victim};
use super::victim::{Deed, Victim};
use super::{alone, figure};
use crate::support::{LIMIT, eventually, signal, spawn, with_arbiter};

const TIMEOUT: Duration = Duration::from_secs(1);

/// How long a machine that is busy otherwise may keep everybody waiting.
const PATIENCE: Duration = Duration::from_millis(20);

fn pid(victim: &Proxy<Victim>) -> u32 {
    let answer = victim.ask_timeout(Deed::Pid, LIMIT).expect("an answer");
    answer.expect("an id").parse().expect("an id")
}

/// However a handler hangs, it is found when its time is up and a tenth of that later at most, and its
/// process is replaced.
#[test]
fn a03_what_hangs_is_found_in_time() {
    let test = "behaviours::b03_stuck::a03_what_hangs_is_found_in_time";
    alone(test, 2 * LIMIT, || {
        with_arbiter(|arbiter| {
            for deed in [Deed::Loop, Deed::Read, Deed::Deadlock] {
                let case = format!("{deed:?}");
                let victim = spawn(arbiter, victim().timeout(TIMEOUT));
                pid(&victim);
                let begun = Instant::now();
                let down = end_of(arbiter, &victim, deed);
                assert_eq!(down.reason, ExitReason::Stuck, "{case}");
                let found = begun.elapsed();
                assert!(found + PATIENCE >= TIMEOUT, "{case}: {found:?}");
                let late = found.saturating_sub(TIMEOUT);
                figure(&format!("{case} found late"), late, TIMEOUT / 10 + PATIENCE);
                pid(&victim);
            }
            for victim in [victim(), victim().cpu_bound()] {
                let victim = spawn(arbiter, victim.timeout(TIMEOUT));
                let stopped = pid(&victim);
                let watch = arbiter.watch(victim.id());
                let begun = Instant::now();
                signal(stopped, "STOP");
                let down = watch.wait_timeout(LIMIT).expect("in time").expect("an end");
                assert_eq!(down.reason, ExitReason::Silent);
                let found = begun.elapsed();
                let late = found.saturating_sub(TIMEOUT);
                figure("SIGSTOP found late", late, TIMEOUT / 10 + PATIENCE);
                assert_ne!(pid(&victim), stopped);
            }
        });
    });
}

/// Work that takes three times as long as a message may, with signs of progress, is let be.
#[test]
fn a03_work_that_shows_progress_is_let_be() {
    let test = "behaviours::b03_stuck::a03_work_that_shows_progress_is_let_be";
    alone(test, LIMIT, || {
        with_arbiter(|arbiter| {
            let victim = spawn(arbiter, victim().timeout(TIMEOUT));
            let ms = 3 * TIMEOUT.as_millis() as u64;
            assert_eq!(victim.ask(Deed::Progress(ms)).wait(), Ok(Ok(String::new())));
            assert_eq!(victim.incarnation(), 0);
        });
    });
}

/// One that is stuck is ended by SIGABRT and has the time to write a core file.
#[test]
fn a03_one_that_is_stuck_can_tell_where() {
    let test = "behaviours::b03_stuck::a03_one_that_is_stuck_can_tell_where";
    alone_by(test, LIMIT, &["sh", "-c", CORES, "sh"], || {
        with_arbiter(move |arbiter| {
            let grace = Duration::from_secs(15);
            let spec = victim().timeout(TIMEOUT).abort_grace(grace);
            let loops = spawn(arbiter, spec);
            let begun = Instant::now();
            let down = end_of(arbiter, &loops, Deed::Loop);
            assert_eq!(down.reason, ExitReason::Stuck);
            assert!(begun.elapsed() < grace, "it heeds SIGABRT");
        });
        let cores = std::fs::read_dir(".").expect("a folder").flatten();
        let cores: Vec<_> = cores.map(|entry| entry.path()).collect();
        let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern");
        if pattern.is_ok_and(|pattern| pattern.trim() == "core") {
            assert!(!cores.is_empty(), "a core file tells where it was stuck");
        }
        for core in cores {
            std::fs::remove_file(core).expect("a core file");
        }
    });
}

/// One that heeds no SIGABRT is killed when its time for that is over, and not before.
#[test]
fn a03_one_that_heeds_nothing_is_killed() {
    let test = "behaviours::b03_stuck::a03_one_that_heeds_nothing_is_killed";
    let deaf = ["sh", "-c", "trap '' ABRT; exec \"$@\"", "sh"];
    alone_by(test, LIMIT, &deaf, || {
        with_arbiter(move |arbiter| {
            let grace = Duration::from_millis(300);
            let spec = victim().timeout(TIMEOUT).abort_grace(grace);
            let deaf = spawn(arbiter, spec);
            let begun = Instant::now();
            let down = end_of(arbiter, &deaf, Deed::Loop);
            assert_eq!(down.reason, ExitReason::Stuck);
            assert!(begun.elapsed() + PATIENCE >= TIMEOUT + grace);
            pid(&deaf);
        });
    });
}

/// Set in the process that [`a03_a_suspended_machine_kills_nobody`] starts.
const SUSPENDED: &str = "IPC_ACTORS_TEST_SUSPENDED";

/// An arbiter and workers, some idle and some at work, tell who they are and wait to be told to end.
#[test]
fn a_tree_to_be_suspended() {
    if std::env::var_os(SUSPENDED).is_none() {
        return;
    }
    with_arbiter(|arbiter| {
        arbiter.on_end(|down| drop(writeln!(std::io::stderr(), "{down}")));
        let victims: Vec<_> = (0..4)
            .map(|_| spawn(arbiter, victim().timeout(TIMEOUT)))
            .collect();
        let pids: Vec<_> = victims
            .iter()
            .map(|victim| pid(victim).to_string())
            .collect();
        let mut errors = std::io::stderr();
        writeln!(errors, "pids {}", pids.join(" ")).expect("a reader");
        let ends: Vec<_> = victims
            .iter()
            .map(|victim| arbiter.watch(victim.id()))
            .collect();
        // They work whenever they can; with what is in between it takes longer than it may.
        let works = std::thread::scope(|scope| {
            scope.spawn(|| work(&victims[0]));
            scope.spawn(|| work(&victims[1]));
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).expect("a line");
            tell();
            line
        });
        assert_eq!(works, "end\n");
        for (victim, end) in victims.iter().zip(ends) {
            let end: Option<Down> = end.wait_timeout(Duration::ZERO).ok().and_then(Result::ok);
            assert_eq!((victim.incarnation(), end), (0, None));
        }
    });
}

fn work(victim: &Proxy<Victim>) {
    let ms = TIMEOUT.as_millis() as u64 / 2;
    while !is_told() {
        assert_eq!(victim.ask(Deed::Burn(ms)).wait(), Ok(Ok(String::new())));
    }
}

static TOLD: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

fn is_told() -> bool {
    TOLD.load(std::sync::atomic::Ordering::Relaxed)
}

fn tell() {
    TOLD.store(true, std::sync::atomic::Ordering::Relaxed);
}

/// A tree of its own, its process ids, the workers first, and what it is told by.
fn tree() -> (Child, Vec<u32>, ChildStdin) {
    let mut child = Command::new(std::env::current_exe().expect("a path"))
        .args(["behaviours::b03_stuck::a_tree_to_be_suspended", "--exact"])
        .arg("--nocapture")
        .env(SUSPENDED, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a start");
    let mut errors = BufReader::new(child.stderr.take().expect("piped"));
    let mut pids = Vec::new();
    let mut line = String::new();
    while errors.read_line(&mut line).expect("a line") > 0 {
        if let Some(told) = line.strip_prefix("pids ") {
            let told = told.split_whitespace();
            pids.extend(told.map(|pid| pid.parse::<u32>().expect("an id")));
            break;
        }
        line.clear();
    }
    std::thread::spawn(move || std::io::copy(&mut errors, &mut std::io::stderr()));
    pids.push(child.id());
    let stdin = child.stdin.take().expect("piped");
    (child, pids, stdin)
}

/// Neither a machine that was suspended, nor an arbiter that did not run for a while, kills anybody.
#[test]
fn a03_a_suspended_machine_kills_nobody() {
    let test = "behaviours::b03_stuck::a03_a_suspended_machine_kills_nobody";
    alone(test, 2 * LIMIT, || {
        let (mut child, pids, mut stdin) = tree();
        assert_eq!(pids.len(), 5);
        let arbiter = &pids[4..];
        for stopped in [&pids[..], arbiter, &pids[..]] {
            signal_all(stopped, "-STOP");
            pause(TIMEOUT * 2);
            signal_all(stopped, "-CONT");
            // Long enough for whoever would be killed wrongly.
            pause(TIMEOUT * 3 / 2);
        }
        stdin.write_all(b"end\n").expect("it listens");
        eventually(|| child.try_wait().expect("a child").is_some());
        assert!(child.wait().expect("an end").success());
    });
}

/// In one go, as a machine is suspended.
fn signal_all(pids: &[u32], signal: &str) {
    let pids = pids.iter().map(u32::to_string);
    let status = Command::new("kill").arg(signal).args(pids).status();
    assert!(status.expect("a start").success(), "one of them is gone");
}

fn pause(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}
