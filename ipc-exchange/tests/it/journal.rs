//! Journals and resuming.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::path::Path;

use ipc_exchange::{Exchange, Journal};

use crate::harness::{eventually, kill, orphans, tests};
use crate::tasks;

tests![
    what_is_written_down_is_not_run_again,
    a_torn_line_is_dropped_and_a_damaged_one_told,
    chunks_are_written_down_task_by_task,
    a_program_that_submits_by_itself_keeps_a_journal,
];

fn runs(path: &std::path::Path) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

fn what_is_written_down_is_not_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let (log, trace) = (folder.path().join("journal"), folder.path().join("trace"));
    let exchange = Exchange::new(2).unwrap();
    let mut inputs: Vec<_> = (0..20).map(|n| (trace.clone(), n % 10)).collect();
    let run = |inputs: &Vec<(std::path::PathBuf, u64)>| -> Vec<Option<u64>> {
        let journal = Journal::open(&log).unwrap();
        let map = exchange
            .map(tasks::traces, inputs.clone())
            .journal(&journal);
        let results = map.map(Result::ok).collect();
        journal.sync().unwrap();
        results
    };
    // One in ten panics: it has no result, and is run again.
    let expected: Vec<_> = (0..20)
        .map(|n| n % 10)
        .map(|n| (n != 7).then_some(n * 2))
        .collect();
    assert_eq!(run(&inputs), expected);
    assert_eq!(runs(&trace), 20);
    assert_eq!(run(&inputs), expected);
    assert_eq!(runs(&trace), 22);
    // Another order and more inputs change nothing for those that were there.
    inputs.reverse();
    inputs.push((trace.clone(), 30));
    assert_eq!(run(&inputs).last(), Some(&Some(60)));
    assert_eq!(runs(&trace), 25);
    exchange.finish();
}

fn a_torn_line_is_dropped_and_a_damaged_one_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let exchange = Exchange::new(1).unwrap();
    let journal = Journal::open(&path).unwrap();
    assert_eq!(
        exchange.map(tasks::square, 0..3).journal(&journal).count(),
        3
    );
    exchange.finish();
    let whole = fs::read(&path).unwrap();
    let lines = whole.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(lines, 3);
    for torn in 1..40 {
        fs::write(&path, &whole[..whole.len() - torn]).unwrap();
        assert_eq!(Journal::open(&path).unwrap().len(), 2, "{torn}");
        assert!(fs::read(&path).unwrap().ends_with(b"\n"));
    }
    fs::write(&path, &whole).unwrap();
    OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(b"\xff\xfe")
        .unwrap();
    assert_eq!(Journal::open(&path).unwrap().len(), 3);
    let mut damaged = whole.clone();
    damaged[5] ^= 1;
    fs::write(&path, &damaged).unwrap();
    assert!(Journal::open(&path).is_err());
}

/// Kills a whole program twenty times, each time at another distance so that lines are torn
/// everywhere, and lets it finish: no task that has a result is run again.
pub(crate) fn killed_again_and_again(chunk: usize) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("journal");
    let trace = log.with_extension("trace");
    let exchange = Exchange::new(1).unwrap();
    let argument = || (log.clone(), 500, chunk);
    let (mut known, mut kills) = (HashSet::new(), 0);
    for round in 0..20 {
        let begun = fs::metadata(&trace).map_or(0, |file| file.len());
        let program = exchange.submit(tasks::journaled, argument()).unwrap();
        let distance = 1 + RandomState::new().hash_one(round) as usize % 10;
        let enough = || runs(&log) >= known.len() + distance;
        assert!(eventually(|| enough() || program.is_done()));
        if program.is_done() {
            break;
        }
        for pid in exchange.workers() {
            kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        // The journal belongs to one program at a time: its workers are gone with it.
        drop(program.wait());
        assert!(eventually(|| orphans() == exchange.workers()));
        kills += 1;
        assert_none_again(&trace, begun, &known);
        let (now, done) = (Journal::open(&log).unwrap(), finished(&log));
        assert_eq!(now.len(), done.len());
        assert!(done.is_superset(&known), "{done:?} after {known:?}");
        known = done;
    }
    assert!(kills > 2, "{kills}");
    let begun = fs::metadata(&trace).unwrap().len();
    let sum = exchange.submit(tasks::journaled, argument()).unwrap();
    assert_eq!(sum.wait().unwrap(), (0..500).map(|x| x * x).sum::<u64>());
    assert_none_again(&trace, begun, &known);
    assert_eq!(finished(&log), (0..500).map(|x| x * x).collect());
    exchange.finish();
}

/// The results in a journal of tasks with a number as their result: a byte, or a byte that says how
/// many follow, lowest first.
fn finished(log: &Path) -> HashSet<u64> {
    let text = fs::read_to_string(log).unwrap();
    let result = |line: &str| {
        let fields: Vec<_> = line.split('\t').collect();
        let bytes: Vec<u8> = (0..fields[8].len() / 2)
            .map(|at| u8::from_str_radix(&fields[8][at * 2..at * 2 + 2], 16).unwrap())
            .collect();
        let number = bytes[usize::from(bytes.len() > 1)..].iter().rev();
        number.fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    text.lines().map(result).collect()
}

/// No task whose result was `known` has left a line behind the first `begun` bytes.
fn assert_none_again(trace: &Path, begun: u64, known: &HashSet<u64>) {
    let text = fs::read_to_string(trace).unwrap();
    for line in text[usize::try_from(begun).unwrap()..].lines() {
        let x: u64 = line.parse().unwrap();
        assert!(!known.contains(&(x * x)), "{x} ran again");
    }
}

fn chunks_are_written_down_task_by_task() {
    let folder = tempfile::tempdir().unwrap();
    let (log, trace) = (folder.path().join("journal"), folder.path().join("trace"));
    let exchange = Exchange::new(2).unwrap();
    let run = |numbers: &[u64], chunk: usize| -> Vec<Option<u64>> {
        let journal = Journal::open(&log).unwrap();
        let inputs: Vec<_> = numbers.iter().map(|n| (trace.clone(), *n)).collect();
        let map = exchange.map(tasks::traces, inputs).chunk(chunk);
        let results = map.journal(&journal).map(Result::ok).collect();
        journal.sync().unwrap();
        results
    };
    let expected = |numbers: &[u64]| -> Vec<_> {
        numbers.iter().map(|n| (*n != 7).then_some(n * 2)).collect()
    };
    // Some one by one, and then all in chunks, with one that panics.
    let some: Vec<u64> = (0..100).filter(|n| n % 3 == 0).collect();
    let all: Vec<u64> = (0..100).collect();
    assert_eq!(run(&some, 1), expected(&some));
    assert_eq!(run(&all, 8), expected(&all));
    assert_eq!(runs(&trace), 100, "each once");
    assert_eq!((runs(&log), Journal::open(&log).unwrap().len()), (100, 99));
    let text = fs::read_to_string(&log).unwrap();
    let statuses = |status: &str| text.lines().filter(|line| line.contains(status)).count();
    assert_eq!((statuses("\tok\t"), statuses("\tpanicked\t")), (99, 1));
    // Only the one without a result is run again, whatever the chunks.
    for (round, chunk) in [1, 3, 1000].into_iter().enumerate() {
        assert_eq!(run(&all, chunk), expected(&all));
        assert_eq!(runs(&trace), 101 + round);
    }
    exchange.finish();
}

fn a_program_that_submits_by_itself_keeps_a_journal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let claim = |journal: &Journal, n: u64| {
        let argument = std::path::PathBuf::from(n.to_string());
        journal.claim(tasks::fail, &argument).unwrap()
    };
    let journal = Journal::open(&path).unwrap();
    let values: [Result<String, String>; 2] = [Ok("two".into()), Err("odd".into())];
    for (n, value) in (1..).zip(&values) {
        let (place, before) = claim(&journal, n);
        assert_eq!(before, None);
        journal.record(&place, value, 7, std::time::Duration::from_millis(1));
    }
    journal.sync().unwrap();
    let journal = Journal::open(&path).unwrap();
    assert_eq!(claim(&journal, 1).1.as_ref(), Some(&values[0]));
    // What failed is to be run again, and so is what comes once more than it was recorded.
    assert_eq!((claim(&journal, 2).1, claim(&journal, 1).1), (None, None));
}
