//! Arbiters that are killed, stormed and reloaded: nothing survives the first, nothing is lost by the
//! others.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use ipc_actors::{Arbiter, ArbiterLoop, ArbiterOptions, Shutdown, Spec, SupervisorOptions};
use nix::sys::signal::Signal;

use crate::actors::answer;
use crate::chance::Chance;
use crate::people::{Clerk, Do, Fragile, Habits};
use crate::scenario::scenarios;
use crate::session::{Session, eventually, signal};
use crate::tasks::{self, note, notes};

scenarios![
    an_arbiter_dies_at_every_step,
    an_arbiter_dies_at_any_moment,
    a_reload_under_load_fails_nothing,
    a_reload_in_which_workers_die_answers_everything,
    an_arbiter_is_stormed,
];

/// The role of an arbiter that comes to a step of its actors' lives and stays there.
pub(crate) const ROLE: &str = "arbiter";

/// The role of an arbiter with a pool that is asked without end.
pub(crate) const SERVER: &str = "server";

/// Where an arbiter may be, and how many note that they are there.
const STEPS: [(&str, usize); 7] = [
    ("init", 1),
    ("start", 1),
    ("stop", 1),
    ("exit", 1),
    ("busy", 2),
    ("pool", 2),
    ("idle", 1),
];

/// The role: comes to the step and waits to be killed.
pub(crate) fn role(words: &[String]) -> ExitCode {
    let [step, trace] = words else {
        return ExitCode::FAILURE;
    };
    let trace = PathBuf::from(trace);
    let thread = crate::actors::arbiter();
    let arbiter = thread.arbiter();
    match step.as_str() {
        "busy" | "pool" => {
            let pool = crate::actors::pool(&arbiter);
            let asks = [1, 2].map(|number| {
                pool.ask(Do {
                    number,
                    us: u64::MAX,
                    trace: Some(trace.clone()),
                })
            });
            drop(asks);
            if step == "pool" {
                pool.reload();
            }
        }
        "idle" => {
            let spec = Spec::<Clerk>::new(()).process();
            let clerk = answer(arbiter.spawn(spec).into_deferred()).expect("a start");
            note(&trace, crate::actors::pid_of(&clerk).into());
        }
        "restless" => restless(&arbiter),
        _ => hang(&arbiter, step, trace),
    }
    tasks::pause(Duration::MAX);
    ExitCode::SUCCESS
}

/// An actor that never comes out of the step.
fn hang(arbiter: &Arbiter, step: &str, trace: PathBuf) {
    let habits = Habits {
        hangs_in: step.to_owned(),
        trace: Some(trace),
        ..Habits::default()
    };
    let spec = Spec::<Fragile>::new(habits).process();
    let spec = spec.shutdown(Shutdown::After(Duration::from_secs(600)));
    let spawning = arbiter.spawn(spec.start_timeout(Duration::from_secs(600)));
    if matches!(step, "stop" | "exit") {
        let actor = answer(spawning.into_deferred()).expect("a start");
        let _ = arbiter.stop_actor(actor.id()).wait();
    } else {
        let _ = spawning.wait();
    }
}

/// Spawns, stops and reloads without end.
fn restless(arbiter: &Arbiter) {
    let pool = crate::actors::pool(arbiter);
    loop {
        pool.reload();
        let spec = Spec::<Clerk>::new(()).process();
        if let Ok(clerk) = answer(arbiter.spawn(spec).into_deferred()) {
            let _ = answer(arbiter.stop_actor(clerk.id()));
        }
    }
}

fn an_arbiter_dies_at_every_step(chance: &mut Chance) {
    for (step, there) in STEPS {
        let folder = tempfile::tempdir().expect("a folder");
        let trace = folder.path().join("trace");
        let mut session = Session::start(ROLE, &[step, &trace.display().to_string()]);
        eventually(step, || notes(&trace).len() >= there);
        tasks::pause(Duration::from_micros(chance.below(3000)));
        session.kill();
        session.assert_gone(step);
    }
}

fn an_arbiter_dies_at_any_moment(chance: &mut Chance) {
    for round in 0..12 {
        let mut session = Session::start(ROLE, &["restless", "-"]);
        let us = round * 2500 + chance.below(2500);
        tasks::pause(Duration::from_micros(us));
        session.kill();
        session.assert_gone(&format!("restless, killed after {us} us"));
    }
}

/// How many questions a server asks its pool, and how many of them at a time.
const ASKS: u64 = 4000;
const AT_ONCE: u64 = 16;

/// The role: asks its pool, tells now and then who answered, and ends when it is told to.
pub(crate) fn server(_: &[String]) -> ExitCode {
    let supervisor = SupervisorOptions {
        intensity: 10_000,
        ..SupervisorOptions::default()
    };
    let mut root = ArbiterLoop::new(ArbiterOptions {
        supervisor,
        ..ArbiterOptions::default()
    })
    .expect("an arbiter");
    root.handle_signals().expect("handlers");
    root.on_reopen(|| ()).expect("a handler");
    let pool = root.arbiter().monitor(crate::actors::clerks());
    let pool = root.wait(pool).expect("a loop").expect("a pool");
    let asking = thread::spawn(move || {
        let mut failed = 0;
        for first in (0..ASKS).step_by(AT_ONCE as usize) {
            let asks = (first..first + AT_ONCE).map(|number| {
                let (us, trace) = (100, None);
                (number, pool.ask(Do { number, us, trace }))
            });
            let mut who = 0;
            for (number, ask) in asks.collect::<Vec<_>>() {
                match ask.wait() {
                    Ok((pid, echoed)) if echoed == number => who = pid,
                    other => {
                        failed += 1;
                        say(&format!("{number}: {other:?}"));
                    }
                }
            }
            say(&who.to_string());
        }
        say(&format!("{failed} failed"));
    });
    let status = root.run().expect("a loop");
    asking.join().expect("no panic");
    say(&format!("status {status}"));
    ExitCode::SUCCESS
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let said = writeln!(out, "{line}").and_then(|()| out.flush());
    said.expect("the scenario listens");
}

/// Listens until the server has its answers, and does something after each batch of them, given who
/// answered last. Then ends it.
fn attend(mut session: Session, case: &str, mut between: impl FnMut(&Session, u64, u32)) {
    let mut batch = 0;
    let tally = loop {
        let line = session.line();
        match line.parse() {
            Ok(pid) => between(&session, batch, pid),
            Err(_) => break line,
        }
        batch += 1;
    };
    assert_eq!(tally, "0 failed", "{case}");
    session.signal(Signal::SIGTERM);
    let (status, text) = session.wait();
    assert!(
        status.success() && text.trim() == "status 0",
        "{case}: {status} {text}"
    );
    session.assert_gone(case);
}

fn a_reload_under_load_fails_nothing(chance: &mut Chance) {
    let session = Session::start(SERVER, &[]);
    let mut seen = BTreeSet::new();
    attend(session, "reload", |session, batch, pid| {
        seen.insert(pid);
        if batch % 10 == chance.below(10) {
            session.signal(Signal::SIGHUP);
        }
    });
    assert!(seen.len() > 4, "workers were replaced: {seen:?}");
}

/// Old ones and new ones, before and after they are ready.
fn a_reload_in_which_workers_die_answers_everything(chance: &mut Chance) {
    let session = Session::start(SERVER, &[]);
    attend(session, "reload with deaths", |session, batch, _| {
        if batch % 8 == 0 {
            session.signal(Signal::SIGHUP);
        }
        if batch % 8 < 3 {
            tasks::pause(Duration::from_micros(chance.below(2000)));
            let mut workers = session.members();
            workers.retain(|pid| *pid != session.id());
            if let Some(victim) = workers.get(chance.below(3) as usize) {
                signal(*victim, Signal::SIGKILL);
            }
        }
    });
}

/// The signals of the storm. Those that take workers away are no more than those that bring them.
const STORM: [Signal; 6] = [
    Signal::SIGHUP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGUSR1,
    Signal::SIGCHLD,
    Signal::SIGWINCH,
];

/// Whatever comes, every question is answered once there are workers, and the end is an end.
fn an_arbiter_is_stormed(chance: &mut Chance) {
    let session = Session::start(SERVER, &[]);
    let pid = session.id();
    let mut storm: Vec<_> = (0..3000).map(|_| STORM[chance.below(6) as usize]).collect();
    let mut stormed = None;
    attend(session, "storm", |session, batch, _| {
        if batch == 0 {
            let storm = std::mem::take(&mut storm);
            stormed = Some(thread::spawn(move || {
                for number in storm {
                    signal(pid, number);
                }
                // There may be nobody left; and signals that come together have no order.
                for _ in 0..3 {
                    tasks::pause(Duration::from_millis(100));
                    signal(pid, Signal::SIGTTIN);
                }
            }));
        }
        if batch % 50 == 49 {
            session.signal(Signal::SIGTTIN);
            session.signal(Signal::SIGTTOU);
        }
    });
    let stormed = stormed.expect("there was an answer");
    stormed.join().expect("no panic");
}
