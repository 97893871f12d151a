//! A program with workers that is killed at every step: nothing of it lives on, no file is left.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ipc_exchange::{Exchange, ExchangeOptions, IntoTask, Program, Start};
use nix::sys::signal::Signal;
use serde::Serialize;

use crate::chance::Chance;
use crate::scenario::scenarios;
use crate::session::{Session, eventually, signal};
use crate::tasks::{self, notes, pattern};

scenarios![
    a_parent_dies_at_every_step,
    a_parent_dies_while_it_starts_workers,
    the_middle_of_three_dies,
];

/// The role of the parent: what it is to do, and where its tasks leave notes.
pub(crate) const ROLE: &str = "parent";

/// What a parent may be busy with, and how many processes note that they are.
const STEPS: [(&str, usize); 9] = [
    ("hand-shake", 2),
    ("task", 2),
    ("forked", 2),
    ("captured", 2),
    ("stream", 1),
    ("result", 1),
    ("grandchild", 2),
    ("conversation", 1),
    ("nested", 1),
];

/// The role: does what the step says until it is killed.
pub(crate) fn role(words: &[String]) -> ExitCode {
    let [step, trace] = words else {
        return ExitCode::FAILURE;
    };
    let trace = PathBuf::from(trace);
    let options = ExchangeOptions::new().limit(2);
    let options = match step.as_str() {
        "hand-shake" => options.initializer(tasks::prepare, &(trace.clone(), "hang".to_owned())),
        "forked" | "forks" => options.start(Start::Zygote).reuse(step == "forked"),
        "spawns" => options.reuse(false),
        "captured" => options.capture(true),
        _ => options,
    };
    let exchange = options.open().expect("an exchange");
    match step.as_str() {
        "stream" => stream(&exchange, &trace),
        "result" => results(&exchange, &trace),
        "grandchild" => both(&exchange, tasks::parent_of, trace),
        "conversation" => converse(&trace),
        "nested" => drop(
            exchange
                .submit(tasks::nested, (2, trace))
                .map(|handle| handle.wait()),
        ),
        "forks" | "spawns" => starts(&exchange),
        _ => both(&exchange, tasks::spin, Some(trace)),
    }
    ExitCode::SUCCESS
}

/// Two tasks that have no end.
fn both<A>(exchange: &Exchange, task: impl IntoTask<A, bool> + Copy, argument: A)
where
    A: Serialize + Clone,
{
    let handles = [(); 2].map(|()| exchange.submit(task, argument.clone()));
    for handle in handles.into_iter().flatten() {
        let _ = handle.wait();
    }
}

/// A stream that nobody takes: the worker waits for credit.
fn stream(exchange: &Exchange, trace: &Path) {
    let mut queue = exchange.queue();
    let started = queue.start_stream(tasks::count, (u64::MAX, u64::MAX));
    started.expect("it is taken");
    queue.recv().expect("a first item").1.expect("a number");
    tasks::note(trace, 0);
    tasks::pause(Duration::MAX);
}

/// One large result after another.
fn results(exchange: &Exchange, trace: &Path) {
    for _ in 0..100_000 {
        let argument = (trace.to_owned(), 8 << 20);
        let result = exchange
            .submit(tasks::large, argument)
            .expect("it is taken");
        result.wait().expect("a large result");
    }
}

/// Megabytes to and fro.
fn converse(trace: &Path) {
    let mut program = Program::start(tasks::echo, &u64::MAX).expect("a program");
    tasks::note(trace, program.process().id().into());
    for n in 0..100_000 {
        program
            .duct()
            .send(pattern(n, 4 << 20))
            .expect("it listens");
        program.duct().recv().expect("it answers");
    }
}

/// One worker after another.
fn starts(exchange: &Exchange) {
    for x in 0..100_000 {
        let pair = [x, x + 1].map(|x| exchange.submit(tasks::square, x).expect("it is taken"));
        for handle in pair {
            handle.wait().expect("a square");
        }
    }
}

fn a_parent_dies_at_every_step(chance: &mut Chance) {
    for (step, busy) in STEPS {
        let folder = tempfile::tempdir().expect("a folder");
        let trace = folder.path().join("trace");
        let mut session = Session::start(ROLE, &[step, &trace.display().to_string()]);
        eventually(step, || notes(&trace).len() >= busy);
        tasks::pause(Duration::from_micros(chance.below(5000)));
        session.kill();
        session.assert_gone(step);
    }
}

/// From its first moment on: the blow comes a little later each time.
fn a_parent_dies_while_it_starts_workers(chance: &mut Chance) {
    for step in ["spawns", "forks"] {
        for round in 0..12 {
            let mut session = Session::start(ROLE, &[step, "-"]);
            let us = round * 1500 + chance.below(1500);
            tasks::pause(Duration::from_micros(us));
            session.kill();
            session.assert_gone(&format!("{step} after {us} us"));
        }
    }
}

/// Workers of workers of workers: those below one that is killed vanish, those above see one error.
fn the_middle_of_three_dies(_: &mut Chance) {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    let exchange = Exchange::new(1).expect("an exchange");
    let top = exchange.submit(tasks::nested, (1, trace.clone()));
    eventually("the leaf", || notes(&trace).len() == 1);
    let leaf = notes(&trace)[0] as u32;
    signal(exchange.workers()[0], Signal::SIGKILL);
    assert!(
        top.expect("it was taken")
            .wait()
            .is_err_and(|error| error.is_lost())
    );
    eventually("the end of the leaf", || !crate::session::is_alive(leaf));
    exchange.finish();
}
