//! Workers that are killed at every step of their lives: no task is lost, none ends twice.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipc_exchange::{
    Cause, Exchange, ExchangeEvent, ExchangeOptions, Program, Programs, Queue, Start, TaskError,
    TaskOptions,
};
use nix::sys::signal::Signal;

use crate::account::Ledger;
use crate::chance::Chance;
use crate::scenario::scenarios;
use crate::session::{SOON, children, eventually, is_alive, signal};
use crate::tasks::{self, BEFORE_INIT, Blow, Work, notes, pattern};

scenarios![
    workers_die_in_their_work,
    workers_die_before_they_are_ready,
    workers_die_at_any_moment_of_their_start,
    streams_are_cut_at_every_item,
    results_are_cut_while_they_travel,
    zygotes_die,
    programs_die_in_the_middle_of_a_conversation,
];

const STARTS: [Start; 2] = [Start::Spawn, Start::Zygote];

fn open(options: ExchangeOptions, start: Start) -> Exchange {
    options.limit(2).start(start).open().expect("an exchange")
}

/// Asserts that two workers are there again, and finishes.
pub(crate) fn finish_alive(exchange: Exchange) {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    // A late blow may still strike one that has come to this.
    let options = TaskOptions::new().retries(5);
    let both: Vec<_> = (0..2)
        .map(|_| exchange.submit_with(&options, tasks::spin, Some(trace.clone())))
        .collect();
    eventually("as many workers as before", || {
        let noted = notes(&trace);
        let alive = noted.iter().filter(|pid| is_alive(**pid as u32));
        alive.count() == 2 && exchange.workers().len() >= 2
    });
    exchange.cancel_all();
    for handle in both {
        let error = handle.expect("it was taken").wait();
        assert!(error.is_err_and(|error| error.is_cancelled()));
    }
    exchange.finish();
}

/// Takes every result, each of which must be right or lost with its worker.
fn settle(queue: &mut Queue<Vec<u8>>, works: &[Work], ledger: &mut Ledger) -> Vec<TaskError> {
    let mut errors = Vec::new();
    while let Some((number, result)) = queue.recv_timeout(SOON) {
        let work = &works[number as usize];
        match result {
            Ok(bytes) => {
                assert!(
                    bytes == pattern(work.number, work.len),
                    "a result is damaged"
                );
                ledger.delivered(number);
            }
            Err(error) => {
                ledger.reported(number);
                errors.push(error);
            }
        }
    }
    errors
}

/// A third of the tasks is struck down, at their begin, in their middle or while their results
/// travel; others wait behind them in the same workers.
fn workers_die_in_their_work(chance: &mut Chance) {
    for start in STARTS {
        for retries in [0, 1] {
            let folder = tempfile::tempdir().expect("a folder");
            let trace = folder.path().join("trace");
            let exchange = open(ExchangeOptions::new().retries(retries), start);
            let works = works(chance, &trace, 45);
            let mut ledger = Ledger::new();
            let mut queue = exchange.queue();
            for work in &works {
                let number = queue.start(tasks::labour, work.clone());
                ledger.accepted(number.expect("it is taken"));
            }
            let errors = settle(&mut queue, &works, &mut ledger);
            ledger.check();
            check_errors(&errors, &works, retries);
            check_runs(&notes(&trace), &works, retries);
            finish_alive(exchange);
        }
    }
}

/// A blow that follows a result may come when that has arrived, and then strikes who is next.
fn late(works: &[Work]) -> usize {
    let late = works
        .iter()
        .filter(|work| matches!(work.blow, Blow::Result(_)));
    late.count()
}

fn check_errors(errors: &[TaskError], works: &[Work], retries: u32) {
    let mut strangers = 0;
    for error in errors {
        assert!(killed(error), "{error}");
        let struck = &works[error.report().job as usize - 1];
        strangers += usize::from(retries > 0 || struck.blow == Blow::Never);
    }
    assert!(strangers <= late(works), "{errors:?}");
}

fn check_runs(ran: &[u64], works: &[Work], retries: u32) {
    let mut strangers = 0;
    for work in works {
        let times = ran.iter().filter(|number| **number == work.number).count();
        assert!(times <= retries as usize + 1, "{times} times: {work:?}");
        strangers += usize::from(work.blow == Blow::Never && times != 1);
    }
    assert!(strangers <= late(works), "siblings run once: {ran:?}");
}

fn works(chance: &mut Chance, trace: &Path, count: u64) -> Vec<Work> {
    let work = |number| {
        let blow = match number % 9 {
            0 => Blow::Begin,
            3 => Blow::After(chance.below(400)),
            6 => Blow::Result(chance.below(300)),
            _ => Blow::Never,
        };
        Work {
            number,
            trace: trace.to_owned(),
            blow,
            len: chance.below(3000) as usize,
        }
    };
    (0..count).map(work).collect()
}

fn killed(error: &TaskError) -> bool {
    matches!(error.cause(), Cause::Lost { exit, .. } if exit.signal() == Some(9))
}

/// Whether its worker was killed, or all that were started for it.
pub(crate) fn by_death(error: &TaskError) -> bool {
    killed(error) || matches!(error.cause(), Cause::NoWorker { .. })
}

/// Before the hand-shake and, in the initializer, within it: not begun is not lost.
fn workers_die_before_they_are_ready(_: &mut Chance) {
    for start in STARTS {
        for in_handshake in [false, true] {
            let folder = tempfile::tempdir().expect("a folder");
            let token = folder.path().join("token");
            let order = || fs::write(&token, "").expect("a token");
            let how = |how: &str| (token.clone(), how.to_owned());
            order();
            let options = ExchangeOptions::new();
            let options = match in_handshake {
                true => options.initializer(tasks::prepare, &how("die")),
                false => options.worker_env(BEFORE_INIT, &token),
            };
            let exchange = open(options, start);
            for round in 0..3_u64 {
                let handles: Vec<_> = (0..8)
                    .map(|x| exchange.submit(tasks::square, x).expect("it is taken"))
                    .collect();
                for (x, handle) in (0..).zip(handles) {
                    assert_eq!(handle.wait().expect("one failed start is no reason"), x * x);
                }
                assert!(!token.exists(), "round {round}: nobody died");
                order();
                // Those that are there go; their successors meet the token.
                let zygote = zygote_of(&exchange);
                for pid in exchange.workers().into_iter().chain(zygote) {
                    signal(pid, Signal::SIGKILL);
                }
            }
            exchange.finish();
        }
    }
}

/// The child that forks the workers: the one that is no worker.
fn zygote_of(exchange: &Exchange) -> Option<u32> {
    let workers = exchange.workers();
    let mut others = children().into_iter().filter(|pid| !workers.contains(pid));
    others.find(|pid| is_zygote(*pid))
}

/// It has one thread, and workers have two.
fn is_zygote(pid: u32) -> bool {
    let exe = |pid: &str| fs::read_link(format!("/proc/{pid}/exe")).ok();
    let is_ours = exe(&pid.to_string()).is_some_and(|other| Some(other) == exe("self"));
    is_ours && fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|threads| threads.count() == 1)
}

fn spin_for(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

/// Every start is followed by a kill, a little later each time; every other start is left alone.
fn workers_die_at_any_moment_of_their_start(chance: &mut Chance) {
    for start in STARTS {
        let step = match start {
            Start::Zygote => 60,
            _ => 300,
        };
        let exchange = open(ExchangeOptions::new().tasks_max(2).retries(2), start);
        let events = exchange.events(10_000);
        let jitter = chance.below(step);
        let done = Arc::new(AtomicBool::new(false));
        let is_done = Arc::clone(&done);
        let killer = thread::spawn(move || {
            let (mut seen, mut struck) = (0, 0);
            while !is_done.load(Ordering::Relaxed) {
                let event = events.recv_timeout(Duration::from_millis(20));
                if let Some(ExchangeEvent::WorkerStarted { pid }) = event {
                    seen += 1;
                    if seen % 2 == 0 && struck < 24 {
                        spin_for(Duration::from_micros(jitter + step / 4 * struck));
                        signal(pid, Signal::SIGKILL);
                        struck += 1;
                    }
                }
            }
            struck
        });
        let mut ledger = Ledger::new();
        let mut queue = exchange.queue();
        for x in 0..60 {
            ledger.accepted(queue.start(tasks::square, x).expect("it is taken"));
        }
        while let Some((number, result)) = queue.recv_timeout(SOON) {
            match result {
                Ok(square) => {
                    assert_eq!(square, number * number);
                    ledger.delivered(number);
                }
                Err(error) => {
                    assert!(by_death(&error), "{error}");
                    ledger.reported(number);
                }
            }
        }
        ledger.check();
        done.store(true, Ordering::Relaxed);
        assert!(
            killer.join().expect("no panic") > 3,
            "hardly anybody was killed"
        );
        exchange.finish();
    }
}

/// The items before the death arrive, in order and once, and then the error.
fn streams_are_cut_at_every_item(chance: &mut Chance) {
    for start in STARTS {
        let exchange = open(ExchangeOptions::new(), start);
        // Around the credit, where a stream waits for its owner, and anywhere.
        for dies_at in [0, 1, 31, 32, 63, 64, 65, 128, chance.below(300)] {
            let mut queue = exchange.queue();
            let cut = queue.start_stream(tasks::count, (300_u64, dies_at));
            let whole = queue.start_stream(tasks::count, (300_u64, u64::MAX));
            let (cut, whole) = (cut.expect("it is taken"), whole.expect("it is taken"));
            let mut next = [0, 0];
            let mut ends = 0;
            while let Some((number, item)) = queue.recv_timeout(SOON) {
                match item {
                    Ok(item) => {
                        assert_eq!(item, next[number as usize], "{dies_at}");
                        next[number as usize] += 1;
                    }
                    Err(error) => {
                        assert!(number == cut && killed(&error), "{error}");
                        ends += 1;
                    }
                }
            }
            assert_eq!((next[cut as usize], ends), (dies_at, 1));
            assert_eq!(next[whole as usize], 300);
            assert_eq!(queue.unfinished(), 0);
        }
        finish_alive(exchange);
    }
}

/// Megabytes through a channel of less: the death comes before, in or after the last byte.
fn results_are_cut_while_they_travel(chance: &mut Chance) {
    let folder = tempfile::tempdir().expect("a folder");
    for start in STARTS {
        let exchange = open(ExchangeOptions::new(), start);
        let works: Vec<_> = (0..16)
            .map(|number| Work {
                number,
                trace: folder.path().join("trace"),
                blow: match number % 2 {
                    0 => Blow::Result(number * 400 + chance.below(400)),
                    _ => Blow::Never,
                },
                len: 700_000,
            })
            .collect();
        let mut ledger = Ledger::new();
        let mut queue = exchange.queue();
        for work in &works {
            let number = queue.start(tasks::labour, work.clone());
            ledger.accepted(number.expect("it is taken"));
        }
        let errors = settle(&mut queue, &works, &mut ledger);
        ledger.check();
        assert!(errors.iter().all(killed), "{errors:?}");
        finish_alive(exchange);
    }
}

/// The process that workers are forked from dies again and again while a process per task is forked.
fn zygotes_die(chance: &mut Chance) {
    let exchange = open(
        ExchangeOptions::new().reuse(false).retries(2),
        Start::Zygote,
    );
    let mut queue = exchange.queue();
    let mut ledger = Ledger::new();
    let mut killed = 0;
    for round in 0..12 {
        for x in 0..12 {
            ledger.accepted(queue.start(tasks::square, x).expect("it is taken"));
        }
        let wait = Duration::from_micros(chance.below(3000));
        if let Some(zygote) = zygote_of(&exchange) {
            spin_for(wait);
            signal(zygote, Signal::SIGKILL);
            killed += 1;
        }
        while let Some((number, result)) = queue.recv_timeout(SOON) {
            match result {
                Ok(_) => ledger.delivered(number),
                Err(error) => panic!("round {round}: {error}"),
            }
        }
    }
    ledger.check();
    assert!(killed > 0, "there was no zygote");
    exchange.finish();
}

/// Two-way, with messages larger than the channel: the duct and the process tell of the end.
fn programs_die_in_the_middle_of_a_conversation(chance: &mut Chance) {
    for dies_at in [0, 1, 2] {
        let mut program = Program::start(tasks::echo, &dies_at).expect("a program");
        let len = [10, 2 << 20][chance.below(2) as usize];
        let mut answers = 0;
        for n in 0..4 {
            let sent = program.duct().send(pattern(n, len));
            match sent.ok().and_then(|()| program.duct().recv().ok()) {
                Some(bytes) => assert!(bytes == pattern(n, len)),
                None => break,
            }
            answers += 1;
        }
        assert_eq!(answers, dies_at);
        let (_, process) = program.into_parts();
        assert_eq!(process.wait().expect("its end").signal(), Some(9));
    }
    // And killed from outside, at any moment.
    let programs: Programs<Vec<u8>, Vec<u8>> = Programs::new(2).expect("programs");
    let mut told: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    let started: HashSet<u64> = (0..6)
        .map(|_| programs.start(tasks::echo, u64::MAX).expect("a program"))
        .collect();
    for id in programs.active() {
        if let Some(sender) = programs.sender(id) {
            sender.send(pattern(id, 1000)).expect("it listens");
        }
    }
    while programs.unfinished() > 0 {
        let stored = programs.store(Some(Duration::from_millis(5)), |id, message, sender| {
            let (messages, ends) = told.entry(id).or_default();
            match message {
                Ok(bytes) => {
                    assert!(bytes == pattern(id, 1000));
                    *messages += 1;
                    if let Some(sender) = sender {
                        // An error means that it was killed, which is told next.
                        let _ = sender.send(bytes);
                    }
                }
                Err(_) => *ends += 1,
            }
        });
        stored.expect("programs can be stored");
        if let Some(pid) = children().first() {
            spin_for(Duration::from_micros(chance.below(3000)));
            signal(*pid, Signal::SIGKILL);
        }
        for id in programs.active() {
            if let Some(sender) = programs.sender(id).filter(|_| !told.contains_key(&id)) {
                let _ = sender.send(pattern(id, 1000));
            }
        }
    }
    for id in started {
        assert_eq!(
            told.get(&id).map(|(_, ends)| *ends),
            Some(1),
            "one end of {id}"
        );
    }
}
