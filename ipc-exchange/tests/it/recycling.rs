//! Streaming tasks, captured output, workers that are replaced.

use std::collections::HashMap;
use std::collections::HashSet;
use std::time::Duration;

use ipc_exchange::{Exchange, ExchangeOptions, Start};
use nix::sys::signal::Signal;

use crate::harness::{children, eventually, kill, tests};
use crate::tasks;

tests![
    streams_interleave_and_keep_their_order,
    a_stream_waits_for_credit,
    a_stream_that_dies,
    output_is_told_with_the_error,
    workers_are_replaced_by_count,
    workers_are_replaced_by_memory,
    workers_are_replaced_by_age,
    a_snapshot_tells_who_runs_what,
    the_limit_changes,
    priorities_go_first,
    a_zygote_forks_workers,
    a_killed_zygote_is_replaced,
];

fn streams_interleave_and_keep_their_order() {
    let exchange = Exchange::new(3).unwrap();
    let mut queue = exchange.queue();
    for start in [0, 100_000, 200_000] {
        queue.start_stream(tasks::counts, (start, 10_000)).unwrap();
    }
    let mut next: HashMap<u64, u64> = HashMap::new();
    let mut switches = 0;
    let mut last = None;
    while let Some((number, item)) = queue.recv() {
        let expected = next.entry(number).or_insert(number * 100_000);
        assert_eq!(item.unwrap(), *expected);
        *expected += 1;
        switches += usize::from(last.replace(number) != Some(number));
    }
    assert_eq!(next.len(), 3);
    assert!(
        next.iter()
            .all(|(number, next)| next % 100_000 == 10_000 && next / 100_000 == *number)
    );
    assert!(switches > 3, "{switches}");
    assert_eq!(queue.unfinished(), 0);
    exchange.finish();
}

fn a_stream_waits_for_credit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("progress");
    let exchange = Exchange::new(1).unwrap();
    let mut queue = exchange.queue();
    queue
        .start_stream(tasks::records, (path.clone(), 1000))
        .unwrap();
    let progress = || {
        std::fs::read_to_string(&path)
            .unwrap_or_default()
            .parse()
            .unwrap_or(0)
    };
    assert!(eventually(|| progress() >= 64));
    let before: u64 = progress();
    assert!(before <= 65, "{before} without credit");
    assert_eq!(queue.by_ref().filter(Result::is_ok).count(), 1000);
    assert!(progress() >= 999);
    exchange.finish();
}

fn a_stream_that_dies() {
    let exchange = Exchange::new(1).unwrap();
    let mut queue = exchange.queue();
    queue.start_stream(tasks::counts, (0, 10)).unwrap();
    queue.start_stream(tasks::counts_and_dies, 5).unwrap();
    queue.start_stream(tasks::counts, (0, 10)).unwrap();
    let results: Vec<_> = queue.by_ref().collect();
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 25);
    let errors: Vec<_> = results.iter().filter_map(|r| r.as_ref().err()).collect();
    assert!(
        matches!(errors[..], [error] if error.is_lost()),
        "{errors:?}"
    );
    exchange.finish();
}

fn output_is_told_with_the_error() {
    let exchange = ExchangeOptions::new()
        .limit(1)
        .capture(true)
        .open()
        .unwrap();
    let mut errors = Vec::new();
    let texts = ["first", "second", "third"];
    let handles: Vec<_> = texts
        .iter()
        .flat_map(|text| {
            let quiet = exchange
                .submit(tasks::says, format!("quiet {text}"))
                .unwrap();
            let loud = exchange
                .submit(tasks::says_and_fails, (*text).to_owned())
                .unwrap();
            [quiet, loud]
        })
        .collect();
    for handle in handles {
        errors.extend(handle.wait().err());
    }
    let outputs: Vec<_> = errors
        .iter()
        .map(|error| error.report().output.as_str())
        .collect();
    assert_eq!(
        outputs,
        [
            "first out\nfirst err\n",
            "second out\nsecond err\n",
            "third out\nthird err\n"
        ]
    );
    // Also of a worker that died, and more than a pipe holds.
    let error = exchange
        .submit(tasks::says_and_dies, 5_000_000)
        .unwrap()
        .wait()
        .unwrap_err();
    assert!(error.is_lost());
    let output = &error.report().output;
    assert!(
        output.len() <= 128 * 1024 && output.ends_with("the end\n"),
        "{}",
        output.len()
    );
    exchange.finish();
}

fn workers_are_replaced_by_count() {
    for most in [1, 2, 7] {
        let exchange = ExchangeOptions::new()
            .limit(2)
            .tasks_max(most)
            .open()
            .unwrap();
        let pids: Vec<u32> = exchange
            .map(tasks::pid, vec![(); 50])
            .map(Result::unwrap)
            .collect();
        let mut counts: HashMap<u32, u64> = HashMap::new();
        for pid in pids {
            *counts.entry(pid).or_default() += 1;
        }
        assert!(counts.values().all(|count| *count <= most), "{counts:?}");
        assert!(children().len() <= 2);
        exchange.finish();
    }
}

fn workers_are_replaced_by_memory() {
    let exchange = ExchangeOptions::new()
        .limit(1)
        .memory_max(64 << 20)
        .open()
        .unwrap();
    let grown: HashSet<u32> = exchange
        .map(tasks::grows, vec![16 << 20; 20])
        .map(Result::unwrap)
        .collect();
    assert!(grown.len() > 1, "{grown:?}");
    exchange.finish();
}

fn workers_are_replaced_by_age() {
    let age = Duration::from_millis(30);
    let exchange = ExchangeOptions::new().limit(1).age_max(age).open().unwrap();
    let pids: HashSet<u32> = exchange
        .map(tasks::pause, vec![10; 12])
        .map(Result::unwrap)
        .collect();
    assert!(pids.len() >= 2, "{pids:?}");
    exchange.finish();
}

fn a_snapshot_tells_who_runs_what() {
    let exchange = Exchange::new(1).unwrap();
    let busy = exchange.submit(tasks::pause, 300).unwrap();
    let waiting: Vec<_> = (0..5)
        .map(|x| exchange.submit(tasks::square, x).unwrap())
        .collect();
    assert!(eventually(|| exchange.snapshot().workers.iter().any(
        |worker| {
            // Until it runs the program, it is small and not yet what it will be.
            worker.task.is_some() && worker.memory.is_some_and(|bytes| bytes > 100_000)
        }
    )));
    let snapshot = exchange.snapshot();
    assert_eq!((snapshot.workers.len(), snapshot.ended), (1, 0));
    let worker = &snapshot.workers[0];
    assert!(worker.task.unwrap().ends_with("tasks::pause"));
    assert_eq!(worker.job, Some(1));
    assert!(snapshot.waiting >= 3);
    busy.wait().unwrap();
    for handle in waiting {
        handle.wait().unwrap();
    }
    assert_eq!(exchange.snapshot().ended, 6);
    exchange.finish();
}

fn the_limit_changes() {
    let exchange = Exchange::new(3).unwrap();
    let wave = |expected: usize| {
        let handles: Vec<_> = (0..9)
            .map(|_| exchange.submit(tasks::pause, 10).unwrap())
            .collect();
        let pids: HashSet<u32> = handles
            .into_iter()
            .map(|handle| handle.wait().unwrap())
            .collect();
        assert!(pids.len() <= expected, "{pids:?}");
    };
    wave(3);
    exchange.set_limit(1);
    assert!(eventually(|| exchange.workers().len() == 1));
    wave(1);
    exchange.finish();
}

fn priorities_go_first() {
    use ipc_exchange::TaskOptions;
    let exchange = ExchangeOptions::new()
        .limit(1)
        .prefetch(false)
        .open()
        .unwrap();
    let busy = exchange.submit(tasks::pause, 50).unwrap();
    let low = exchange
        .submit_with(&TaskOptions::new().priority(-1), tasks::pause, 30)
        .unwrap();
    let high = exchange
        .submit_with(&TaskOptions::new().priority(1), tasks::pause, 1)
        .unwrap();
    high.wait().unwrap();
    assert!(!low.is_done());
    low.wait().unwrap();
    busy.wait().unwrap();
    exchange.finish();
}

fn a_zygote_forks_workers() {
    let options = ExchangeOptions::new().limit(2).start(Start::Zygote);
    let exchange = options.clone().reuse(false).capture(true).open().unwrap();
    let pids: HashSet<u32> = exchange
        .map(tasks::pid, vec![(); 100])
        .map(Result::unwrap)
        .collect();
    assert_eq!(pids.len(), 100);
    let error = exchange
        .submit(tasks::says_and_fails, "x".to_owned())
        .unwrap()
        .wait()
        .unwrap_err();
    assert_eq!(error.report().output, "x out\nx err\n");
    let error = exchange
        .submit(tasks::die, "exit".to_owned())
        .unwrap()
        .wait()
        .unwrap_err();
    assert!(
        error.is_lost() && error.to_string().contains("exit code 3"),
        "{error}"
    );
    let error = exchange
        .submit(tasks::die, "abort".to_owned())
        .unwrap()
        .wait()
        .unwrap_err();
    assert!(error.to_string().contains("signal 6"), "{error}");
    exchange.finish();
    assert!(children().is_empty());
    let exchange = options.open().unwrap();
    let handle = exchange.submit(tasks::pause, 60_000).unwrap();
    let handle = handle.wait_timeout(Duration::from_millis(30)).unwrap_err();
    handle.cancel();
    assert!(handle.wait().unwrap_err().is_cancelled());
    assert_eq!(
        exchange.submit(tasks::square, 8).unwrap().wait().unwrap(),
        64
    );
    exchange.shutdown();
}

fn a_killed_zygote_is_replaced() {
    let options = ExchangeOptions::new()
        .limit(1)
        .reuse(false)
        .start(Start::Zygote);
    let exchange = options.retries(2).open().unwrap();
    for _ in 0..3 {
        assert_eq!(
            exchange.submit(tasks::square, 8).unwrap().wait().unwrap(),
            64
        );
        let zygote = children()
            .into_iter()
            .find(|pid| !exchange.workers().contains(pid))
            .unwrap();
        kill(zygote, Signal::SIGKILL);
        assert!(eventually(|| !children().contains(&zygote)));
    }
    exchange.finish();
}
