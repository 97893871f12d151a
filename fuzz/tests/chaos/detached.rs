//! Background tasks, whose starters, readers and servers are killed: each result is given until it was
//! acknowledged.

use std::fs;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use ipc_core::Address;
use ipc_exchange::{Reader, ReaderError, start_persistent};
use nix::sys::signal::Signal;

use crate::chance::Chance;
use crate::scenario::scenarios;
use crate::session::{Session, eventually, signal};
use crate::tasks::{self, PID_BASE};

scenarios![
    a_starter_dies,
    readers_die_at_every_step,
    readers_die_at_any_moment,
    a_server_dies,
];

/// The role that starts a background task.
pub(crate) const STARTER: &str = "starter";

/// The role that reads some of its results.
pub(crate) const READER: &str = "reader";

/// How many results a background task has besides its process id.
const COUNT: u64 = 200;

fn place() -> (tempfile::TempDir, Address) {
    let folder = tempfile::tempdir().expect("a folder");
    let address = Address::unix(folder.path().join("results")).expect("it is short enough");
    (folder, address)
}

/// The role: starts the task, says so, and waits to be killed.
pub(crate) fn starter(words: &[String]) -> ExitCode {
    let address = words[0].parse().expect("an address");
    if start_persistent(&address, tasks::publish, &(COUNT, 100)).is_err() {
        return ExitCode::FAILURE;
    }
    say("started");
    tasks::pause(Duration::MAX);
    ExitCode::SUCCESS
}

/// The role: takes so many results, does with the last what it is told, and waits to be killed.
pub(crate) fn reader(words: &[String]) -> ExitCode {
    let address = words[0].parse().expect("an address");
    let (count, then): (u64, &str) = (words[1].parse().expect("a number"), &words[2]);
    let mut reader = Reader::<u64>::connect(&address).expect("it listens");
    say("connected");
    for _ in 0..count {
        let Some(item) = reader.recv().expect("a result") else {
            break;
        };
        say(&item.to_string());
    }
    if then == "acknowledge" {
        reader.acknowledge().expect("it listens");
    }
    say("done");
    tasks::pause(Duration::MAX);
    ExitCode::SUCCESS
}

/// Each line is out before the next step.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let said = writeln!(out, "{line}").and_then(|()| out.flush());
    said.expect("the scenario listens");
}

/// What is left for a reader that stays: the process id, if it comes first, and the numbers.
fn rest(address: &Address) -> Vec<u64> {
    let reader = Reader::<u64>::connect(address).expect("it listens");
    reader.map(|item| item.expect("a result")).collect()
}

/// At any moment of the start, and after it: it works or it does not, and never by half.
fn a_starter_dies(chance: &mut Chance) {
    let mut served = 0;
    for round in 0..12 {
        let (folder, address) = place();
        let mut starter = Session::start(STARTER, &[&address.to_string()]);
        if round == 11 {
            assert_eq!(starter.line(), "started");
        } else {
            tasks::pause(Duration::from_micros(round * 1500 + chance.below(1500)));
        }
        starter.kill();
        // What was being started decides for itself in a moment.
        let mut connected = None;
        eventually("it listens or is gone", || {
            connected = Reader::<u64>::connect(&address).ok();
            connected.is_some() || starter.members().is_empty()
        });
        if let Some(reader) = connected {
            // It may have been about to learn that nobody waits for it.
            let items: Vec<u64> = reader.map_while(Result::ok).collect();
            if !items.is_empty() {
                assert_eq!(items[1..], (0..COUNT).collect::<Vec<_>>());
                served += 1;
            }
        }
        starter.assert_gone("starter");
        assert_no_file(&folder);
    }
    assert!(served > 0, "the last was started");
}

/// Asserts that this is the item with this index: the process id is the first.
#[track_caller]
fn assert_item(item: u64, index: u64) {
    match index.checked_sub(1) {
        Some(number) => assert_eq!(item, number, "in order, none left out"),
        None => assert!(item > PID_BASE, "{item} is no process id"),
    }
}

fn index_of(item: u64) -> u64 {
    if item > PID_BASE { 0 } else { item + 1 }
}

#[track_caller]
fn assert_no_file(folder: &tempfile::TempDir) {
    eventually("no file is left", || {
        fs::read_dir(folder.path()).is_ok_and(|left| left.count() == 0)
    });
}

/// Before the first result, between a result and its acknowledgement, and after that.
fn readers_die_at_every_step(_: &mut Chance) {
    let (folder, address) = place();
    start_persistent(&address, tasks::publish, &(COUNT, 0)).expect("a start");
    let mut first = 0;
    for (count, then) in [
        (0, "nothing"),
        (1, "nothing"),
        (1, "acknowledge"),
        (5, "nothing"),
        (64, "nothing"),
        (65, "acknowledge"),
    ] {
        let mut reader = Session::start(READER, &[&address.to_string(), &count.to_string(), then]);
        assert_eq!(reader.line(), "connected");
        for index in first..first + count {
            assert_item(reader.line().parse().expect("a number"), index);
        }
        assert_eq!(reader.line(), "done");
        reader.kill();
        reader.assert_gone("reader");
        // Asking for the next acknowledges the one before.
        first += match then {
            "acknowledge" => count,
            _ => count.saturating_sub(1),
        };
    }
    let rest = rest(&address);
    assert_eq!(rest, (first - 1..COUNT).collect::<Vec<_>>());
    assert_no_file(&folder);
}

/// In the middle of a frame, for one: the next gets everything from the first that was not
/// acknowledged.
fn readers_die_at_any_moment(chance: &mut Chance) {
    let (folder, address) = place();
    start_persistent(&address, tasks::publish, &(COUNT, 50)).expect("a start");
    let mut next = 0;
    // The last that one has said may have been acknowledged or not.
    let may_be = |index: u64, next: u64| index == next || index + 1 == next;
    for _ in 0..8 {
        let mut reader = Session::start(READER, &[&address.to_string(), "1000", "nothing"]);
        assert_eq!(reader.line(), "connected");
        tasks::pause(Duration::from_micros(chance.below(3000)));
        reader.kill();
        let (_, text) = reader.wait();
        let items = text.lines().filter_map(|line| line.parse().ok());
        for (place, item) in items.enumerate() {
            let index = index_of(item);
            assert!(
                index == next || (place == 0 && may_be(index, next)),
                "{index} after {next}"
            );
            next = index + 1;
        }
        reader.assert_gone("reader");
        if next > COUNT / 2 {
            break;
        }
    }
    // The last may have had everything.
    let reader = Reader::<u64>::connect(&address).into_iter().flatten();
    let rest: Vec<u64> = reader.map_while(Result::ok).collect();
    let first = rest.first().map_or(COUNT + 1, |item| index_of(*item));
    assert!(may_be(first, next), "{first} after {next}");
    for (index, item) in (first..).zip(rest) {
        assert_item(item, index);
    }
    assert_no_file(&folder);
}

/// Its reader is told, and its place can be taken, stale as it is.
fn a_server_dies(chance: &mut Chance) {
    let (folder, address) = place();
    for _ in 0..4 {
        start_persistent(&address, tasks::publish, &(COUNT, 50)).expect("a stale place is taken");
        let mut reader = Reader::<u64>::connect(&address).expect("it listens");
        let pid = reader.recv().expect("a result").expect("there are more");
        for n in 0..chance.below(COUNT / 2) {
            assert_eq!(reader.recv().expect("a result"), Some(n));
        }
        let pid = u32::try_from(pid - PID_BASE).expect("a process id");
        signal(pid, Signal::SIGKILL);
        let end = reader.find_map(Result::err);
        let told = matches!(end, Some(ReaderError::Disconnected | ReaderError::Recv(_)));
        assert!(told, "{end:?}");
        assert!(
            folder.path().join("results").exists(),
            "a killed one removes nothing"
        );
        assert!(Reader::<u64>::connect(&address).is_err());
    }
    start_persistent(&address, tasks::publish, &(3, 0)).expect("a stale place is taken");
    let items = rest(&address);
    assert_eq!(items[1..], [0, 1, 2]);
    assert_no_file(&folder);
}
