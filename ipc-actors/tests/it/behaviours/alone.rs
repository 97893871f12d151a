//! Behaviours are shown alone in a process of their own, and leave nothing behind.

#![expect(clippy::print_stdout, reason = "says what was measured or skipped")]

use std::env;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_actors::{LeakGuard, Spec};

use crate::actors::{Counter, Pid, Start};
use crate::support::{LIMIT, set_up, spawn, with_arbiter, within};

/// Set in the process that shows a behaviour, to what is different for each: whoever bears it was
/// started by that process, or by one that it started.
const ALONE: &str = "IPC_ACTORS_TEST_ALONE_IN";

/// What that process says at the end.
const SHOWN: &str = "all rounds shown";

/// How often each behaviour is shown, in one process, unless once.
const ROUNDS: &str = "IPC_ACTORS_ROUNDS";

/// Shows a behaviour in a process of its own, where no other test is, within `limit`: `test` is the path
/// of the test that calls this. After each round nothing may be left: no process, wherever its parent
/// is, no zombie, thread, descriptor, shared memory or file.
#[track_caller]
pub(crate) fn alone(test: &str, limit: Duration, show: impl Fn() + Send + Sync + 'static) {
    alone_by(test, limit, &[], show);
}

/// Like [`alone`], by a command that runs the command behind it: one that changes how it is run.
#[track_caller]
pub(crate) fn alone_by(
    test: &str,
    limit: Duration,
    by: &[&str],
    show: impl Fn() + Send + Sync + 'static,
) {
    let rounds: u32 = env::var(ROUNDS).map_or(1, |text| text.parse().expect("a count"));
    if let Ok(mark) = env::var(ALONE) {
        return go_round(&mark, rounds, limit, show);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = env::current_exe().expect("a path");
    let mut command = match by {
        [] => Command::new(path),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(path);
            command
        }
    };
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE, folder.path())
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let told = run(command, limit * rounds + LIMIT);
    // A name that is wrong would show nothing, and pass.
    assert!(
        told.contains(SHOWN) && told.contains("1 passed"),
        "{test}: {told}"
    );
    for note in told.lines().filter_map(|line| line.split_once("note: ")) {
        println!("{test}: {}", note.1);
    }
}

/// What the process says, which is not let live longer than it may.
fn run(mut command: Command, limit: Duration) -> String {
    let mut child = command.spawn().expect("a start");
    let (mut stdout, mut stderr) = (
        child.stdout.take().expect("piped"),
        child.stderr.take().expect("piped"),
    );
    let begun = Instant::now();
    let errors = std::thread::spawn(move || {
        let mut text = Vec::new();
        drop(stderr.read_to_end(&mut text));
        text
    });
    let words = std::thread::spawn(move || {
        let mut text = Vec::new();
        drop(stdout.read_to_end(&mut text));
        text
    });
    let status = loop {
        match child.try_wait().expect("a child") {
            Some(status) => break status.to_string(),
            None if begun.elapsed() > limit => {
                drop(child.kill());
                drop(child.wait());
                break format!("killed after {limit:?}");
            }
            None => std::thread::park_timeout(Duration::from_millis(5)),
        }
    };
    let mut told = words.join().expect("a reader");
    told.extend(errors.join().expect("a reader"));
    format!("{}\n{status}", String::from_utf8_lossy(&told))
}

fn go_round(mark: &str, rounds: u32, limit: Duration, show: impl Fn() + Send + Sync + 'static) {
    set_up();
    let show = Arc::new(show);
    for round in 1..=rounds {
        let guard = LeakGuard::new().folder(Path::new(mark)).mark(ALONE, mark);
        let show = Arc::clone(&show);
        within(limit, move || show());
        if let Err(leaks) = guard.check(LIMIT) {
            panic!("round {round}: {leaks}");
        }
    }
    println!("\n{SHOWN}");
}

/// Whether this command can run another here. Behind it that is known.
pub(crate) fn runs(by: &[&str]) -> bool {
    let tried = || Command::new(by[0]).args(&by[1..]).arg("true").output();
    env::var_os(ALONE).is_some() || tried().is_ok_and(|tried| tried.status.success())
}

/// The command that runs the one behind it as the first process of a namespace of its own, if it may.
pub(crate) fn namespace() -> Option<Vec<&'static str>> {
    let all = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    let candidates = [&[][..], &["--user", "--map-root-user"]];
    let mut commands = candidates
        .into_iter()
        .map(|who| [&["unshare"], who, &all].concat());
    commands.find(|command| runs(command))
}

/// Says something that is of interest although nothing fails.
pub(crate) fn note(text: &str) {
    println!("note: {text}");
}

/// Says why something cannot be shown here.
pub(crate) fn skipped(why: &str) {
    note(&format!("skipped: {why}"));
}

/// Notes how long something took. More than twenty times what it shall take on a machine of its own is
/// wrong on a busy one as well.
#[track_caller]
pub(crate) fn figure(what: &str, took: Duration, bar: Duration) {
    note(&format!("{what}: {took:?} (bar {bar:?})"));
    assert!(took < bar * 20, "{what}: {took:?}");
}

#[test]
fn what_shows_a_behaviour_is_told_from_others_by_its_mark() {
    let test = "behaviours::alone::what_shows_a_behaviour_is_told_from_others_by_its_mark";
    alone(test, LIMIT, || {
        let mark = env::var(ALONE).expect("it is set");
        let guard = LeakGuard::new().mark(ALONE, &mark);
        with_arbiter(move |arbiter| {
            let counter = spawn(arbiter, Spec::<Counter>::new(Start::default()).process());
            let pid = counter.ask_timeout(Pid, LIMIT).expect("an answer");
            let left = guard.check(Duration::ZERO).expect_err("it lives");
            assert_eq!(left.processes, [pid]);
        });
    });
}
