//! Actors in processes that are killed at every step of their lives: every question ends, once.

use std::path::Path;
use std::time::Duration;

use ipc_actors::{
    Arbiter, ArbiterOptions, ArbiterThread, AskError, Deferred, ExitReason, Monitor, MonitorSpec,
    Proxy, Restart, SpawnError, Spec, SupervisorOptions,
};
use nix::sys::signal::Signal;

use crate::account::Ledger;
use crate::chance::Chance;
use crate::people::{Clerk, Do, Fall, Fragile, Habits};
use crate::scenario::scenarios;
use crate::session::{SOON, eventually, is_alive, signal};
use crate::tasks::{self, notes};

scenarios![
    an_actor_dies_at_every_step_of_its_life,
    an_actor_dies_at_any_moment_of_its_start,
    questions_to_one_that_dies_all_end_once,
    a_pool_whose_workers_die_answers_everything,
    stopped_actors_are_found_and_replaced,
];

/// Restarts without end: the scenario is not about giving up.
pub(crate) fn arbiter() -> ArbiterThread {
    let supervisor = SupervisorOptions {
        intensity: 10_000,
        ..SupervisorOptions::default()
    };
    ArbiterThread::start(ArbiterOptions {
        supervisor,
        ..ArbiterOptions::default()
    })
    .expect("an arbiter")
}

/// The answer, which must come.
#[track_caller]
pub(crate) fn answer<T, E>(deferred: Deferred<T, E>) -> Result<T, E> {
    match deferred.wait_timeout(SOON) {
        Ok(result) => result,
        Err(_) => panic!("a question was forgotten"),
    }
}

fn work(number: u64, us: u64, trace: Option<&Path>) -> Do {
    Do {
        number,
        us,
        trace: trace.map(Path::to_owned),
    }
}

/// Its process id, once it is there again.
pub(crate) fn pid_of(clerk: &Proxy<Clerk>) -> u32 {
    let mut pid = 0;
    eventually("an answer", || {
        let said = answer(clerk.ask(work(0, 0, None)));
        said.is_ok_and(|(who, _)| {
            pid = who;
            true
        })
    });
    pid
}

const KILLED: ExitReason = ExitReason::Signalled {
    signal: 9,
    core: false,
};

fn an_actor_dies_at_every_step_of_its_life(_: &mut Chance) {
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    let thread = arbiter();
    let arbiter = thread.arbiter();
    for step in ["init", "start", "stop", "exit"] {
        std::fs::write(&token, "").expect("a token");
        let habits = Habits {
            dies_in: step.to_owned(),
            token: Some(token.clone()),
            ..Habits::default()
        };
        let spec = Spec::<Fragile>::new(habits).process();
        let first = answer(arbiter.spawn(spec.clone()).into_deferred());
        let actor = match (step, first) {
            ("init" | "start", first) => {
                let died = SpawnError::Start(KILLED);
                assert_eq!(first.map(drop), Err(died), "{step}");
                // Only the first to try dies.
                answer(arbiter.spawn(spec).into_deferred()).expect("a start")
            }
            (_, first) => first.expect("a start"),
        };
        let said = answer(actor.ask(work(7, 0, None)));
        let pid = said.expect("an answer").0;
        let gone = answer(arbiter.stop_actor(actor.id())).expect("an arbiter");
        let reason = gone.expect("it was there");
        assert!(!is_alive(pid), "{step}: its end is told when it is gone");
        match step {
            "stop" | "exit" => assert!(!token.exists() && reason != ExitReason::Normal),
            _ => assert_eq!(reason, ExitReason::Shutdown),
        }
        let late = answer(actor.ask(work(8, 0, None)));
        assert_eq!(late, Err(AskError::NotStarted), "{step}");
    }
    assert_eq!(thread.finish().expect("a clean end"), 0);
}

/// From the system call on: it starts, or its spawner is told why not, and nothing is left.
fn an_actor_dies_at_any_moment_of_its_start(chance: &mut Chance) {
    let thread = arbiter();
    let arbiter = thread.arbiter();
    let mut failed = 0;
    for round in 0..240 {
        if round >= 24 && failed > 0 {
            break;
        }
        let before = crate::session::children();
        let spec = Spec::<Clerk>::new(()).process().restart(Restart::Temporary);
        let spawning = arbiter.spawn(spec).into_deferred();
        let mut child = None;
        while child.is_none() && !spawning.is_ready() {
            child = crate::session::children()
                .into_iter()
                .find(|pid| !before.contains(pid));
        }
        tasks::pause(Duration::from_micros(round % 24 * 80 + chance.below(80)));
        if let Some(pid) = child {
            signal(pid, Signal::SIGKILL);
        }
        match answer(spawning) {
            Ok(clerk) => {
                let ended = answer(clerk.ask(work(1, 0, None)));
                let is_end = matches!(ended, Ok(_) | Err(AskError::NotStarted | AskError::Started));
                assert!(is_end, "{ended:?}");
                answer(arbiter.stop_actor(clerk.id())).expect("an arbiter");
            }
            Err(error) => {
                assert!(matches!(error, SpawnError::Start(_)), "{error}");
                failed += 1;
            }
        }
    }
    assert!(failed > 0, "nobody was killed in time");
    assert_eq!(thread.finish().expect("a clean end"), 0);
}

/// What was not begun left no trace; what was answered left one; nothing is done twice.
fn questions_to_one_that_dies_all_end_once(chance: &mut Chance) {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    let thread = arbiter();
    let arbiter = thread.arbiter();
    let spec = Spec::<Clerk>::new(()).process();
    let clerk = answer(arbiter.spawn(spec).into_deferred()).expect("a start");
    let mut ledger = Ledger::new();
    let mut number = 0;
    for round in 0..12 {
        let pid = pid_of(&clerk);
        let asks: Vec<_> = (0..60)
            .map(|place| {
                if round % 3 == 2 && place == 30 {
                    drop(clerk.send(Fall));
                }
                number += 1;
                ledger.accepted(number);
                (number, clerk.ask(work(number, 30, Some(&trace))))
            })
            .collect();
        tasks::pause(Duration::from_micros(chance.below(4000)));
        signal(pid, Signal::SIGKILL);
        let ran = |ran: &[u64], number| ran.iter().filter(|one| **one == number).count();
        for (number, ask) in asks {
            let said = answer(ask);
            let times = ran(&notes(&trace), number);
            match said {
                Ok((_, echoed)) => {
                    assert_eq!((echoed, times), (number, 1));
                    ledger.delivered(number);
                }
                Err(AskError::NotStarted) => {
                    assert_eq!(times, 0, "{number} was begun");
                    ledger.reported(number);
                }
                Err(AskError::Started) => {
                    assert!(times <= 1, "{number} was done twice");
                    ledger.reported(number);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    ledger.check();
    drop(clerk);
    assert_eq!(thread.finish().expect("a clean end"), 0);
}

/// A pool that restarts without end, and soon, and gives no message up for a few deaths.
pub(crate) fn clerks() -> MonitorSpec<Clerk> {
    let spec = MonitorSpec::new("clerks", Spec::<Clerk>::new(()).process(), 2);
    spec.deliveries_max(1000).options(|options| {
        options.intensity = 10_000;
        options.recycling_max = 2;
        options.backoff.max = Duration::from_millis(20);
    })
}

pub(crate) fn pool(arbiter: &Arbiter) -> Monitor<Clerk> {
    answer(arbiter.monitor(clerks())).expect("a pool")
}

fn a_pool_whose_workers_die_answers_everything(chance: &mut Chance) {
    let thread = arbiter();
    let arbiter = thread.arbiter();
    let pool = pool(&arbiter);
    let mut ledger = Ledger::new();
    for round in 0..12 {
        let asks: Vec<_> = (round * 100..round * 100 + 40)
            .map(|number| {
                ledger.accepted(number);
                (number, pool.ask(work(number, 100, None)))
            })
            .collect();
        tasks::pause(Duration::from_micros(chance.below(3000)));
        let workers = pool.workers();
        let victim = workers.get(chance.below(2) as usize).or(workers.first());
        if let Some(Ok(info)) = victim.map(|victim| answer(victim.info())) {
            signal(info.pid, Signal::SIGKILL);
        }
        for (number, ask) in asks {
            let said = answer(ask).expect("others do what one has begun");
            assert_eq!(said.1, number);
            ledger.delivered(number);
        }
    }
    ledger.check();
    drop(pool);
    assert_eq!(thread.finish().expect("a clean end"), 0);
}

/// One that is stopped for a moment is only late; one that is stopped for long is replaced.
fn stopped_actors_are_found_and_replaced(chance: &mut Chance) {
    let thread = arbiter();
    let arbiter = thread.arbiter();
    let spec = Spec::<Clerk>::new(())
        .process()
        .timeout(Duration::from_millis(500));
    let clerk = answer(arbiter.spawn(spec).into_deferred()).expect("a start");
    let pid = pid_of(&clerk);
    for number in 0..10 {
        signal(pid, Signal::SIGSTOP);
        let ask = clerk.ask(work(number, 0, None));
        tasks::pause(Duration::from_micros(chance.below(5000)));
        signal(pid, Signal::SIGCONT);
        assert_eq!(answer(ask), Ok((pid, number)));
    }
    let watch = arbiter.watch(clerk.id());
    signal(pid, Signal::SIGSTOP);
    let ask = clerk.ask(work(1, 0, None));
    assert_eq!(answer(watch).expect("an end").reason, ExitReason::Silent);
    let told = answer(ask);
    let ended = matches!(told, Err(AskError::NotStarted | AskError::Started));
    assert!(ended || told.is_ok_and(|(who, _)| who != pid));
    assert_ne!(pid_of(&clerk), pid);
    drop(clerk);
    assert_eq!(thread.finish().expect("a clean end"), 0);
}
