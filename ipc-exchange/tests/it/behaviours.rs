//! The fifteen behaviours that a pool of processes is judged by, each with real processes. What asks
//! something of the system is in `system`.
//!
//! Limits of time are generous here, for machines with much else to do, with what is wanted beside
//! them; the example `latency` and the benches measure that.
//!
//! `IPC_EXCHANGE_ROUNDS=50` runs each so many times; `IPC_EXCHANGE_PATIENCE=30` waits fifteen times as
//! long; `IPC_EXCHANGE_RESIDENT_MIB=2048` makes the parent
//! of behaviour 13 so large.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipc_exchange::{
    Cause, Exchange, ExchangeOptions, Exit, Programs, Start, TaskError, TaskOptions,
};
use nix::sys::signal::Signal;

use crate::harness::{children, eventually, is_alive, kill, orphans, patience, tests};
use crate::journal::killed_again_and_again;
use crate::tasks;

tests![
    b01_a_death_costs_its_own_task,
    b02_a_map_under_random_kills,
    b03_the_limit_holds,
    b04_streams_go_on_alone,
    b05_two_tasks_interleaved,
    b06_five_errors_and_a_living_worker,
    b07_time_outs_end_everything,
    b08_cancelled_wherever_it_is,
    b09_nothing_blocks_the_caller,
    b10_a_killed_parent_leaves_nothing,
    b12_recycling_loses_nothing,
    b13_spawning_beside_busy_threads,
    b14_nested_and_two_way,
    b15_killed_twenty_times_and_resumed,
    b15_killed_twenty_times_in_chunks_and_resumed,
    b15_a_worker_of_another_version_is_refused,
];

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// The process id that a task has written to `path`.
fn told(path: &Path) -> u32 {
    let read = || fs::read_to_string(path).ok()?.parse().ok();
    assert!(eventually(|| read().is_some()), "{path:?}");
    read().unwrap()
}

fn lost(error: &TaskError) -> Exit {
    match error.cause() {
        Cause::Lost { exit, .. } => *exit,
        other => panic!("{other:?}"),
    }
}

/// Deaths for want of memory have a file of their own: not every machine lets one make them.
fn b01_a_death_costs_its_own_task() {
    let exchange = Exchange::new(3).unwrap();
    for (how, signal) in [("kill", 9), ("abort", 6), ("exit", 0), ("overflow", 6)] {
        let peers: Vec<_> = (0..6)
            .map(|_| exchange.submit(tasks::pause, 20).unwrap())
            .collect();
        let dying = exchange.submit(tasks::die, how.to_owned()).unwrap();
        let error = dying.wait().unwrap_err();
        let exit = lost(&error);
        let pid = error.report().pid.unwrap();
        assert!(!exchange.workers().contains(&pid), "it is gone");
        match signal {
            0 => assert_eq!(exit, Exit::Code(3)),
            _ => assert_eq!(exit.signal(), Some(signal), "{how}"),
        }
        for peer in peers {
            peer.wait().unwrap();
        }
        let all: HashSet<u32> = exchange
            .map(tasks::pause, vec![20; 9])
            .map(Result::unwrap)
            .collect();
        assert_eq!(all.len(), 3, "all workers are there again");
    }
    // From outside, in the middle of a task: within 5 ms, if there is nothing else to do.
    let (folder, exchange_of_one) = (folder(), Exchange::new(1).unwrap());
    let path = folder.path().join("pid");
    let busy = exchange_of_one.submit(tasks::spin, Some(path.clone()));
    let pid = told(&path);
    let killed = Instant::now();
    kill(pid, Signal::SIGKILL);
    let error = busy.unwrap().wait().unwrap_err();
    assert_eq!(lost(&error).signal(), Some(9));
    assert!(killed.elapsed() < patience());
    assert_eq!(error.report().pid, Some(pid));
    let next = exchange_of_one.submit(tasks::square, 3).unwrap();
    assert_eq!(next.wait().unwrap(), 9);
    exchange_of_one.finish();
    exchange.finish();
}

fn b02_a_map_under_random_kills() {
    let exchange = Exchange::new(3).unwrap();
    let inputs = (0..1000).map(|n| (n % 7 * 100, n));
    let mut map = exchange.map(tasks::late, inputs);
    let (mut errors, mut killed) = (0, HashSet::new());
    for n in 0..1000 {
        if n % 190 == 100 {
            let pid = exchange.workers()[(n % 3) as usize % exchange.workers().len().max(1)];
            killed.insert(pid);
            kill(pid, Signal::SIGKILL);
        }
        match map.next().expect("it does not end early") {
            Ok(value) => assert_eq!(value, n),
            Err(error) => {
                lost(&error);
                assert_eq!(error.report().job, n + 1, "it is the error of its place");
                errors += 1;
            }
        }
    }
    assert!(map.next().is_none());
    assert!(errors <= killed.len(), "{errors} by {}", killed.len());
    drop(map);
    exchange.finish();
}

fn b03_the_limit_holds() {
    let (most, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                most.fetch_max(children().len(), Ordering::Relaxed);
                thread::yield_now();
            }
        });
        // First with every worker replaced after each task, then with some killed.
        let brief = ExchangeOptions::new().limit(3).reuse(false).open().unwrap();
        let map = brief.map(tasks::pause, vec![1; 40]);
        assert_eq!(map.filter(Result::is_ok).count(), 40);
        brief.finish();
        let exchange = Exchange::new(3).unwrap();
        let mut queue = exchange.queue();
        for n in 0..30 {
            queue.start_stream(tasks::counts, (n * 1000, 300)).unwrap();
        }
        let (mut items, mut deaths) = (0, 0);
        while let Some((_, item)) = queue.recv() {
            items += usize::from(item.is_ok());
            if items % 1000 == 500 && deaths < 3 {
                deaths += 1;
                kill(exchange.workers()[0], Signal::SIGKILL);
            }
        }
        drop(queue);
        assert!(items >= 27 * 300 - 3 * 300, "{items}");
        exchange.finish();
        over.store(true, Ordering::Relaxed);
    });
    let most = most.load(Ordering::Relaxed);
    assert!((1..=3).contains(&most), "{most} at a time");
}

fn b04_streams_go_on_alone() {
    let folder = folder();
    let exchange = Exchange::new(3).unwrap();
    let mut queue = exchange.queue();
    let path = |n: u64| folder.path().join(n.to_string());
    for n in 0..4 {
        queue
            .start_stream(tasks::records, (path(n), 10_000))
            .unwrap();
    }
    let progress = |n: u64| -> u64 {
        let text = fs::read_to_string(path(n)).unwrap_or_default();
        text.parse().unwrap_or(0)
    };
    // Nobody takes anything: they go as far as their credit.
    assert!(eventually(|| (0..3).all(|n| progress(n) >= 64)));
    // And no further in a second of that: credit is for 64, and one more is on its way.
    let until = Instant::now() + Duration::from_secs(1);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
    assert!((0..3).all(|n| progress(n) <= 65));
    assert!(!path(3).exists());
    let mut next: HashMap<u64, u64> = HashMap::new();
    while let Some((number, item)) = queue.recv() {
        let next = next.entry(number).or_default();
        assert_eq!(item.unwrap(), *next);
        *next += 1;
    }
    assert!(next.len() == 4 && next.values().all(|count| *count == 10_000));
    drop(queue);
    exchange.finish();

    // A slot that is free begins the next task although nobody takes anything.
    let exchange = Exchange::new(2).unwrap();
    let mut queue = exchange.queue();
    let stuck = folder.path().join("stuck");
    queue
        .start_stream(tasks::records, (stuck.clone(), 10_000))
        .unwrap();
    assert!(eventually(|| stuck.exists()));
    let marks = [1, 2, 3].map(|n| folder.path().join(format!("mark{n}")));
    let marked = marks
        .clone()
        .map(|mark| exchange.submit(tasks::mark, mark).unwrap());
    assert!(eventually(|| marks.iter().all(|mark| mark.exists())));
    drop((queue, marked));
    exchange.shutdown();
}

fn b05_two_tasks_interleaved() {
    let exchange = ExchangeOptions::new().limit(2).reuse(true).open().unwrap();
    let mut pids = HashSet::new();
    for gap in 0..4 {
        for x in 0..50 {
            let square = exchange.submit(tasks::square, x).unwrap();
            let double = exchange.submit(tasks::double, x).unwrap();
            assert_eq!(
                (square.wait().unwrap(), double.wait().unwrap()),
                (x * x, 2 * x)
            );
        }
        let some: HashSet<u32> = exchange
            .map(tasks::pause, vec![2; 8])
            .map(Result::unwrap)
            .collect();
        pids.extend(some);
        // Nothing to do: workers stay.
        thread::park_timeout(Duration::from_millis(gap * 5));
    }
    assert_eq!(pids.len(), 2, "{pids:?}");
    exchange.finish();
}

fn b06_five_errors_and_a_living_worker() {
    let exchange = Exchange::new(1).unwrap();
    let pid = exchange.submit(tasks::pid, ()).unwrap().wait().unwrap();
    let panic = |text: &str| {
        let handle = exchange.submit(tasks::panics, text.to_owned()).unwrap();
        handle.wait().unwrap_err().to_string()
    };
    let missing = exchange.submit(tasks::fail, "/nonexistent".into()).unwrap();
    let returned = missing.wait().unwrap().unwrap_err();
    assert!(returned.contains("No such file"), "{returned}");
    // Errors of the kinds by which a channel's own failure is told are no such.
    let pipe = exchange.submit(tasks::breaks_a_pipe, ()).unwrap().wait();
    let pipe = pipe.unwrap().unwrap_err();
    assert!(pipe.contains("Broken pipe"), "{pipe}");
    assert!(panic("on purpose").contains("on purpose"));
    assert!(panic("").contains("not a string"));
    let unwritten = exchange
        .submit(tasks::huge, ())
        .unwrap()
        .wait()
        .unwrap_err();
    assert!(
        unwritten.to_string().contains("it is broken"),
        "{unwritten}"
    );
    let unread = exchange.submit(tasks::unreadable, ()).unwrap().wait();
    let unread = unread.unwrap_err();
    assert!(
        matches!(unread.cause(), Cause::BadResult { reason } if reason.contains("never read")),
        "{unread}"
    );
    let after = exchange.submit(tasks::pid, ()).unwrap().wait().unwrap();
    assert_eq!(after, pid, "the worker lives");
    let dying = exchange.submit(tasks::die, "abort".to_owned()).unwrap();
    assert_eq!(lost(&dying.wait().unwrap_err()).signal(), Some(6));
    let after = exchange.submit(tasks::pid, ()).unwrap().wait().unwrap();
    assert_ne!(after, pid);
    exchange.finish();
}

fn b07_time_outs_end_everything() {
    let folder = folder();
    let grace = Duration::from_millis(50);
    let exchange = ExchangeOptions::new()
        .limit(1)
        .kill_grace(grace)
        .open()
        .unwrap();
    exchange.submit(tasks::square, 1).unwrap().wait().unwrap();
    let limit = Duration::from_millis(100);
    let options = TaskOptions::new().timeout(limit);
    let late = |over: Duration| {
        // 10 ms and the grace are wanted.
        assert!(over < limit + grace + patience(), "{over:?}");
    };
    let check = |name: &str, handle: ipc_exchange::Handle<()>| {
        let started = Instant::now();
        let grandchild = told(&folder.path().join(name));
        let error = handle.wait().unwrap_err();
        assert!(error.is_timed_out(), "{error}");
        late(started.elapsed());
        assert!(eventually(|| !is_alive(grandchild)), "{name}");
    };
    let path = |name: &str| folder.path().join(name);
    let handle = exchange.submit_with(&options, tasks::grandchild, path("loop"));
    check("loop", handle.unwrap());
    let handle = exchange.submit_with(&options, tasks::stubborn, path("deaf"));
    check("deaf", handle.unwrap());
    let started = Instant::now();
    let sleeping = exchange
        .submit_with(&options, tasks::pause, 60_000)
        .unwrap();
    assert!(sleeping.wait().unwrap_err().is_timed_out());
    late(started.elapsed());
    assert_eq!(
        exchange.submit(tasks::square, 4).unwrap().wait().unwrap(),
        16
    );
    exchange.finish();
}

fn b08_cancelled_wherever_it_is() {
    let folder = folder();
    let (trace, pid) = (folder.path().join("trace"), folder.path().join("pid"));
    let exchange = Exchange::new(1).unwrap();
    let done = exchange.submit(tasks::square, 5).unwrap();
    assert!(eventually(|| done.is_done()));
    let running = exchange.submit(tasks::spin, Some(pid.clone())).unwrap();
    let worker = told(&pid);
    let ahead = exchange.submit(tasks::mark, trace.clone()).unwrap();
    let queued: Vec<_> = (0..200)
        .map(|_| exchange.submit(tasks::mark, trace.clone()).unwrap())
        .collect();
    for handle in queued.iter().chain([&ahead]) {
        handle.cancel();
    }
    for handle in queued.into_iter().chain([ahead]) {
        assert!(handle.wait().unwrap_err().is_cancelled());
    }
    running.cancel();
    done.cancel();
    assert!(running.wait().unwrap_err().is_cancelled());
    assert_eq!(done.wait().unwrap(), 25);
    assert!(!is_alive(worker) && !trace.exists());
    assert_eq!(
        exchange.submit(tasks::square, 2).unwrap().wait().unwrap(),
        4
    );
    exchange.finish();
}

fn b09_nothing_blocks_the_caller() {
    // With 256 descriptors, in a process of its own.
    let exchange = Exchange::new(1).unwrap();
    let sum = exchange.submit(tasks::outstanding, 10_000).unwrap();
    assert_eq!(sum.wait().unwrap(), (0..10_000).map(|x| x * x).sum::<u64>());
    exchange.finish();

    let exchange = Exchange::new(2).unwrap();
    let busy: Vec<_> = (0..2)
        .map(|_| exchange.submit(tasks::pause, 600_000).unwrap())
        .collect();
    let text = "x".repeat(64 << 20);
    let large = exchange.submit(tasks::measure, text).unwrap();
    assert!(busy.iter().all(|handle| !handle.is_done()), "it waited");
    for handle in &busy {
        handle.cancel();
    }
    let first = exchange.submit(tasks::square, 2).unwrap();
    let second = exchange.submit(tasks::square, 3).unwrap();
    assert_eq!(second.wait().unwrap(), 9);
    assert_eq!(first.wait().unwrap(), 4);
    assert_eq!(large.wait().unwrap(), 64 << 20);
    drop(busy);
    drop(exchange.submit(tasks::pause, 1).unwrap());
    exchange.finish();
}

fn b10_a_killed_parent_leaves_nothing() {
    let folder = folder();
    let exchange = Exchange::new(1).unwrap();
    // Busy workers; then a parent with threads that is killed while it starts workers.
    let path = folder.path().join("orphan");
    let busy = exchange.submit(tasks::orphan, path.clone()).unwrap();
    kill(told(&path), Signal::SIGKILL);
    assert_eq!(lost(&busy.wait().unwrap_err()).signal(), Some(9));
    for start in ["spawn", "zygote"] {
        let path = folder.path().join(start);
        let argument = (path.clone(), start.to_owned());
        let spawning = exchange.submit(tasks::respawns, argument).unwrap();
        kill(told(&path), Signal::SIGKILL);
        lost(&spawning.wait().unwrap_err());
    }
    exchange.finish();
    assert!(eventually(|| orphans().is_empty()), "{:?}", orphans());
    assert!(children().is_empty());
}

fn b12_recycling_loses_nothing() {
    let took = |options: ExchangeOptions| {
        let exchange = options.limit(2).open().unwrap();
        let started = Instant::now();
        let results: Vec<u64> = exchange
            .map(tasks::late, (0..100).map(|n| (2000, n)))
            .map(Result::unwrap)
            .collect();
        let took = started.elapsed();
        assert_eq!(results, (0..100).collect::<Vec<_>>());
        exchange.finish();
        took
    };
    let plain = took(ExchangeOptions::new());
    for most in [1, 2, 7] {
        took(ExchangeOptions::new().tasks_max(most));
    }
    took(ExchangeOptions::new().memory_max(1));
    // A dip of less than a fifth is wanted. The best of three: the machine may have been elsewhere.
    let recycled = [25, 25, 25].map(|most| took(ExchangeOptions::new().tasks_max(most)));
    let recycled = recycled.into_iter().min().unwrap();
    assert!(recycled < plain * 3, "{recycled:?}, {plain:?} without");
}

fn b13_spawning_beside_busy_threads() {
    let number = |name: &str, usual: usize| {
        let value = std::env::var(name).ok();
        value.map_or(usual, |value| value.parse().unwrap())
    };
    let resident = vec![1_u8; number("IPC_EXCHANGE_RESIDENT_MIB", 64) << 20];
    beside_busy_threads(|| {
        // That it does not depend on the parent's size is for `latency` to measure.
        for (start, respawns) in [(Start::Spawn, 1000), (Start::Zygote, 1000)] {
            let options = ExchangeOptions::new().limit(2).reuse(false).start(start);
            let exchange = options.open().unwrap();
            let pids = exchange.map(tasks::pid, vec![(); respawns]);
            let pids: HashSet<u32> = pids.map(Result::unwrap).collect();
            // Numbers come again only after all others.
            assert_eq!(pids.len(), respawns);
            exchange.finish();
        }
    });
    assert!(resident.iter().step_by(4096).all(|byte| *byte == 1));
}

/// Does `work` while eight threads allocate, print and lock without end.
pub(crate) fn beside_busy_threads(work: impl FnOnce()) {
    /// Also when `work` fails: the others would run for ever.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (over, shared) = (AtomicBool::new(false), Mutex::new(0_u64));
    thread::scope(|scope| {
        let _over = Over(&over);
        for _ in 0..8 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let text = vec![b'x'; 1000];
                    *shared.lock().unwrap() += u64::from(text[7]);
                    // The lock of standard output, held again and again.
                    drop(std::io::stdout().lock());
                    thread::park_timeout(Duration::from_micros(50));
                }
            });
        }
        work();
    });
}

fn b14_nested_and_two_way() {
    let folder = folder();
    let exchange = Exchange::new(1).unwrap();
    let pids = exchange.submit(tasks::nested, 2).unwrap().wait().unwrap();
    assert_eq!(pids.iter().collect::<HashSet<_>>().len(), 4);
    assert!(eventually(|| pids[1..].iter().all(|pid| !is_alive(*pid))));
    // The one in the middle is killed, with workers of its own.
    let path = folder.path().join("middle");
    let top = exchange.submit(tasks::top_of_three, path.clone()).unwrap();
    let middle = told(&path);
    let leaves = ["spin0", "spin1"].map(|name| told(&folder.path().join(name)));
    kill(middle, Signal::SIGKILL);
    assert!(
        top.wait().unwrap().contains("signal 9"),
        "one error, at the top"
    );
    assert!(eventually(|| leaves.iter().all(|pid| !is_alive(*pid))));
    exchange.finish();

    // Both send 8 MiB before they receive anything.
    let programs = Programs::<String, String>::new(1).unwrap();
    let id = programs.start(tasks::shouts, 8 << 20).unwrap();
    let text = "y".repeat(8 << 20);
    let sender = programs.sender(id).unwrap();
    sender.send(text).unwrap();
    drop(sender);
    let mut answers = Vec::new();
    programs
        .finish(|_, answer, _| answers.push(answer.unwrap().len()))
        .unwrap();
    assert_eq!(answers, [8 << 20, 7]);
}

fn b15_killed_twenty_times_and_resumed() {
    killed_again_and_again(1);
}

fn b15_killed_twenty_times_in_chunks_and_resumed() {
    killed_again_and_again(60);
}

fn b15_a_worker_of_another_version_is_refused() {
    let options = ExchangeOptions::new().limit(1);
    let exchange = options.worker_env(tasks::SMALL, "1").open().unwrap();
    let error = exchange.submit(tasks::square, 2).unwrap().wait();
    let error = error.unwrap_err();
    assert!(
        matches!(error.cause(), Cause::NoWorker { reason } if reason.contains("registry")),
        "{error}"
    );
    exchange.finish();
}
