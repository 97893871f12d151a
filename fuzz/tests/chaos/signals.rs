//! Stopped and continued, and stormed with signals.

use std::io::Write;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use ipc_dispatch::Selector;
use ipc_exchange::{Exchange, ExchangeOptions};
use nix::sys::signal::Signal;

use crate::account::Ledger;
use crate::chance::Chance;
use crate::crowd::Decoy;
use crate::scenario::scenarios;
use crate::session::{Session, eventually, signal};
use crate::tasks::{self, notes};

scenarios![
    workers_are_stopped_and_continued,
    a_stopped_worker_is_killed_at_its_time_out,
    a_parent_is_stopped_and_continued,
    a_parent_is_stormed,
];

/// The role of a parent that computes squares.
pub(crate) const ROLE: &str = "squares";

/// The signals of the storm that a program may get used to.
const STORM: [Signal; 5] = [
    Signal::SIGCHLD,
    Signal::SIGWINCH,
    Signal::SIGUSR1,
    Signal::SIGHUP,
    Signal::SIGCONT,
];

/// The role: so many rounds of squares, under signals; says a line per round.
pub(crate) fn role(words: &[String]) -> ExitCode {
    let rounds: u64 = words[0].parse().expect("a number");
    let decoy = Decoy::start();
    // Every signal of the storm has a handler, as in a program with a loop of its own.
    let mut selector: Selector<u64> = Selector::new().expect("a selector");
    for number in [
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGWINCH,
        Signal::SIGCHLD,
    ] {
        let counted = selector.on_signal(number as i32, |ctx| *ctx.state += 1);
        counted.expect("a handler");
    }
    let mut came = 0;
    let exchange = Exchange::new(2).expect("an exchange");
    say("ready");
    for round in 0..rounds {
        let map = exchange.map(tasks::slow_square, round..round + 300);
        let right = map.zip(round..).filter(|(result, x)| result == &Ok(x * x));
        assert_eq!(right.count(), 300);
        selector
            .turn(&mut came, Some(Duration::ZERO))
            .expect("a turn");
        say(&round.to_string());
    }
    exchange.finish();
    decoy.assert_untouched();
    say(&format!("{came} signals"));
    ExitCode::SUCCESS
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let said = writeln!(out, "{line}").and_then(|()| out.flush());
    said.expect("the scenario listens");
}

/// Nothing is lost by it; who is stopped is only late.
fn workers_are_stopped_and_continued(chance: &mut Chance) {
    let exchange = Exchange::new(2).expect("an exchange");
    let mut queue = exchange.queue();
    let mut ledger = Ledger::new();
    for x in 0..2000 {
        ledger.accepted(queue.start(tasks::slow_square, x).expect("it is taken"));
    }
    let until = Instant::now() + Duration::from_millis(300);
    while Instant::now() < until {
        for pid in exchange.workers() {
            signal(pid, Signal::SIGSTOP);
            tasks::pause(Duration::from_micros(chance.below(5000)));
            signal(pid, Signal::SIGCONT);
            tasks::pause(Duration::from_micros(chance.below(1000)));
        }
    }
    while let Some((number, result)) = queue.recv() {
        assert_eq!(result.expect("nobody was killed"), number * number);
        ledger.delivered(number);
    }
    ledger.check();
    exchange.finish();
}

/// Neither a request nor SIGTERM reaches it.
fn a_stopped_worker_is_killed_at_its_time_out(_: &mut Chance) {
    let timeout = Duration::from_millis(150);
    let options = ExchangeOptions::new().limit(1).timeout(timeout);
    let exchange = options.open().expect("an exchange");
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    for round in 1..4 {
        let stuck = exchange.submit(tasks::spin, Some(trace.clone()));
        let stuck = stuck.expect("it is taken");
        let next = exchange.submit(tasks::square, 5).expect("it is taken");
        // One that is stopped before it is ready has half a minute.
        eventually("it runs", || notes(&trace).len() == round);
        for pid in exchange.workers() {
            signal(pid, Signal::SIGSTOP);
        }
        assert!(stuck.wait().is_err_and(|error| error.is_timed_out()));
        assert_eq!(next.wait(), Ok(25));
    }
    // And when it is stopped while it has nothing to do, at the end.
    for pid in exchange.workers() {
        signal(pid, Signal::SIGSTOP);
    }
    exchange.finish();
}

fn a_parent_is_stopped_and_continued(chance: &mut Chance) {
    let mut session = Session::start(ROLE, &["8"]);
    assert_eq!(session.line(), "ready");
    for _ in 0..20 {
        session.signal(Signal::SIGSTOP);
        tasks::pause(Duration::from_micros(chance.below(10_000)));
        session.signal(Signal::SIGCONT);
        tasks::pause(Duration::from_micros(chance.below(3000)));
    }
    let (status, text) = session.wait();
    assert!(status.success(), "{status}: {text}");
    session.assert_gone("a stopped parent");
}

/// Ten thousand signals while it works: no task is lost and none fails for it.
fn a_parent_is_stormed(chance: &mut Chance) {
    let mut session = Session::start(ROLE, &["10"]);
    assert_eq!(session.line(), "ready");
    let pid = session.id();
    let mut choices: Vec<_> = (0..10_000).map(|_| chance.below(5) as usize).collect();
    let storm = thread::spawn(move || {
        for choice in choices.drain(..) {
            signal(pid, STORM[choice]);
        }
    });
    storm.join().expect("no panic");
    let (status, text) = session.wait();
    assert!(status.success(), "{status}: {text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.ends_with("signals") && last != "0 signals", "{text}");
    session.assert_gone("a stormed parent");
}
