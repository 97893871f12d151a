//! Job logs of programs that are killed, and on disks that are full.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use ipc_exchange::{Exchange, Journal};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::chance::Chance;
use crate::scenario::{scenarios, skip};
use crate::session::{Session, eventually, is_alive};
use crate::tasks::{self, notes};

scenarios![
    a_program_killed_twenty_times_completes,
    a_full_disk_is_told_and_loses_nothing,
    a_limit_on_files_is_told_and_loses_nothing,
];

/// The role that works through its tasks with a job log.
pub(crate) const ROLE: &str = "journal";

/// The role that writes a job log until there is no room.
pub(crate) const FILLER: &str = "filler";

const COUNT: u64 = 500;

fn inputs(trace: &Path, us: u64) -> impl Iterator<Item = (PathBuf, u64, u64)> + Send + use<> {
    let trace = trace.to_owned();
    (0..COUNT).map(move |n| (trace.clone(), n, us))
}

/// The role: all tasks, those before already in the log not again; then how many results were right.
pub(crate) fn role(words: &[String]) -> ExitCode {
    let folder = Path::new(&words[0]);
    let exchange = Exchange::new(2).expect("an exchange");
    let journal = Journal::open(folder.join("log")).expect("a log that can be read");
    let map = exchange.map(tasks::number, inputs(&folder.join("trace"), 100));
    let results = map.journal(&journal);
    let right = results
        .zip(0..)
        .filter(|(result, n)| result == &Ok(n * n))
        .count();
    exchange.finish();
    journal.sync().expect("a disk with room");
    println!("{right} right");
    ExitCode::SUCCESS
}

/// What the log has is never lost, and never done again.
fn a_program_killed_twenty_times_completes(chance: &mut Chance) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let trace = folder.path().join("trace");
    let words = folder.path().display().to_string();
    // What the log has, and how much had been done by then.
    let mut done = BTreeSet::new();
    let mut seen = 0;
    let mut look = || {
        let journal = Journal::open(&log).expect("a log that can be read");
        let has = |n: &u64| {
            let claim = journal.claim(tasks::number, &(trace.clone(), *n, 100));
            claim.is_ok_and(|(_, before)| before == Some(n * n))
        };
        let now: BTreeSet<u64> = (0..COUNT).filter(has).collect();
        let ran = notes(&trace);
        let again = ran[seen..].iter().find(|n| done.contains(*n));
        assert_eq!(again, None, "it was in the log and ran again");
        assert!(now.is_superset(&done), "the log has lost something");
        assert!(
            now.iter().all(|n| ran.contains(n)),
            "the log is ahead of the work"
        );
        (seen, done) = (ran.len(), now);
        done.len() as u64
    };
    for round in 0..20 {
        let before = notes(&trace).len();
        let mut session = Session::start(ROLE, &[&words]);
        if round % 4 == 3 {
            // Anywhere in its start.
            tasks::pause(Duration::from_micros(chance.below(8000)));
        } else {
            let enough = 1 + chance.below(20) as usize;
            // It may also have come to its end before anybody looked.
            eventually("some progress", || {
                notes(&trace).len() >= before + enough || !is_alive(session.id())
            });
        }
        session.kill();
        session.assert_gone("a program with a job log");
        look();
    }
    let mut session = Session::start(ROLE, &[&words]);
    let (status, text) = session.wait();
    assert!(
        status.success() && text.trim() == format!("{COUNT} right"),
        "{status} {text}"
    );
    session.assert_gone("a program with a job log");
    assert_eq!(look(), COUNT);
}

/// The role: fills the folder's disk, or its own limit, with a log.
pub(crate) fn filler(words: &[String]) -> ExitCode {
    let folder = Path::new(&words[0]);
    let exchange = Exchange::new(2).expect("an exchange");
    let warm = exchange.map(tasks::square, 0..100).filter(Result::is_ok);
    assert_eq!(warm.count(), 100);
    if words[1] == "limit" {
        // Now that the workers are there: their shared memory is files, too.
        let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).expect("a limit");
        setrlimit(Resource::RLIMIT_FSIZE, 16 << 10, hard).expect("a lower limit");
    }
    let log = folder.join("log");
    for _ in 0..2 {
        let before = Journal::open(&log).expect("a log").len();
        let journal = Journal::open(&log).expect("a log");
        let map = exchange.map(tasks::square, 0..COUNT);
        let results = map.journal(&journal);
        let right = results.zip(0..).filter(|(result, n)| result == &Ok(n * n));
        assert_eq!(
            right.count() as u64,
            COUNT,
            "results are there, written down or not"
        );
        let error = journal.sync().expect_err("there is no room");
        assert!(
            error.to_string().contains(&log.display().to_string()),
            "{error}"
        );
        let after = Journal::open(&log).expect("a log that can be read").len();
        assert!(
            after >= before.max(1) && (after as u64) < COUNT,
            "{before} {after}"
        );
    }
    exchange.finish();
    println!("full");
    ExitCode::SUCCESS
}

#[track_caller]
fn assert_filled(mut session: Session) {
    let (status, text) = session.wait();
    assert!(status.success() && text.trim() == "full", "{status} {text}");
    session.assert_gone("a program that fills a disk");
}

/// A file system of a few pages, mounted where nobody else sees it.
fn a_full_disk_is_told_and_loses_nothing(_: &mut Chance) {
    let unshare = match nix::unistd::geteuid().is_root() {
        true => ["unshare", "-m"],
        false => ["unshare", "-rm"],
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display().to_string();
    let mount = "mount -t tmpfs -o size=16k none \"$0\"";
    let tried = Command::new(unshare[0])
        .args([unshare[1], "sh", "-c", mount, &path])
        .output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        return skip("file systems cannot be mounted here");
    }
    let script = format!("{mount} && shift && exec \"$@\"");
    let wrapper = [&unshare[..], &["sh", "-c", &script, &path, "-"]].concat();
    assert_filled(Session::start_under(&wrapper, FILLER, &[&path, "disk"]));
}

fn a_limit_on_files_is_told_and_loses_nothing(_: &mut Chance) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display().to_string();
    // Else the signal that tells of the limit would end the program.
    let wrapper = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "-"];
    assert_filled(Session::start_under(&wrapper, FILLER, &[&path, "limit"]));
    assert!(fs::metadata(folder.path().join("log")).is_ok_and(|log| log.len() <= 16 << 10));
}
