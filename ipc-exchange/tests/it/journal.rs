//! Journals and resuming.

use std::fs::{self, OpenOptions};
use std::io::Write;

use ipc_exchange::{Exchange, Journal};

use crate::harness::{eventually, kill, tests};
use crate::tasks;

tests![
    what_is_written_down_is_not_run_again,
    a_torn_line_is_dropped_and_a_damaged_one_told,
    a_program_killed_again_and_again_completes,
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

fn a_program_killed_again_and_again_completes() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("journal");
    let exchange = Exchange::new(1).unwrap();
    let mut done = 0;
    for round in 0..20 {
        let argument = (log.clone(), 500);
        let program = exchange.submit(tasks::journaled, argument).unwrap();
        // At another distance each time, so that lines are torn everywhere.
        let enough = || runs(&log) >= done + 1 + round % 5;
        assert!(eventually(|| enough() || program.is_done()));
        if program.is_done() {
            break;
        }
        for pid in exchange.workers() {
            kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        drop(program);
        let now = Journal::open(&log).unwrap().len();
        assert!(now >= done, "{now} after {done}");
        done = now;
    }
    assert!(done > 0);
    let sum = exchange
        .submit(tasks::journaled, (log.clone(), 500))
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(sum, (0..500).map(|x| x * x).sum::<u64>());
    assert_eq!(Journal::open(&log).unwrap().len(), 500);
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
