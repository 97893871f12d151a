//! Arbiters that are killed and followed: their workers are taken over, nobody has a twin, and with the
//! last arbiter everything ends.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ipc_actors::{
    Arbiter, ArbiterOptions, ArbiterThread, OnArbiterDeath, Proxy, Spec, SupervisorOptions,
};
use nix::sys::signal::Signal;

use crate::actors::{answer, pid_of, pool};
use crate::chance::Chance;
use crate::people::Clerk;
use crate::scenario::{scenarios, step};
use crate::session::{Session, eventually, signal};
use crate::tasks::{self, note, notes};

scenarios![
    arbiters_that_are_followed_die_at_every_step,
    arbiters_that_are_followed_die_at_any_moment,
];

/// The role of an arbiter that takes over what is there and starts what is not.
pub(crate) const ROLE: &str = "follower";

/// How many actors it has beside a pool of two.
const CLERKS: u64 = 4;

/// The steps of its life: it has the folder; each actor is asked for; each is there; the pool is.
const STEPS: u64 = 1 + 2 * CLERKS + 1;

/// Those that have come this far note it here.
struct Way {
    /// Where it stays; zero if nowhere.
    stays_at: u64,
    at: u64,
    trace: PathBuf,
}

impl Way {
    fn reach(&mut self) {
        self.at += 1;
        if self.at == self.stays_at {
            note(&self.trace, self.at);
            tasks::pause(Duration::MAX);
        }
    }
}

/// The role: goes its way, and then does as it is told: `last` says who its actors are and ends when it
/// may, `restless` never comes to rest.
pub(crate) fn role(words: &[String]) -> ExitCode {
    let [folder, trace, stays_at, then] = words else {
        return ExitCode::FAILURE;
    };
    let (folder, trace) = (PathBuf::from(folder), PathBuf::from(trace));
    let mut way = Way {
        stays_at: stays_at.parse().expect("a number"),
        at: 0,
        trace: trace.clone(),
    };
    let thread = follow(&folder);
    let arbiter = thread.arbiter();
    way.reach();
    let spawning: Vec<_> = (0..CLERKS)
        .map(|number| {
            let spawning = arbiter.spawn(clerk(number)).into_deferred();
            way.reach();
            spawning
        })
        .collect();
    let mut clerks = Vec::new();
    for spawning in spawning {
        clerks.push(answer(spawning).expect("a start"));
        way.reach();
    }
    let crew = pool(&arbiter);
    way.reach();
    if then == "restless" {
        restless(&arbiter, &clerks);
    }
    let pids: Vec<_> = clerks
        .iter()
        .map(|clerk| pid_of(clerk).to_string())
        .collect();
    eventually("a pool", || crew.workers().len() == 2);
    let mut out = std::io::stdout().lock();
    let said = writeln!(out, "{}", pids.join(" ")).and_then(|()| out.flush());
    said.expect("the scenario listens");
    eventually("leave to end", || !notes(&trace).is_empty());
    drop((clerks, crew));
    match thread.finish() {
        Ok(0) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn follow(folder: &Path) -> ArbiterThread {
    let options = ArbiterOptions {
        supervisor: SupervisorOptions {
            intensity: 10_000,
            ..SupervisorOptions::default()
        },
        on_death: OnArbiterDeath::Wait {
            folder: folder.to_owned(),
            at_most: Duration::from_secs(60),
        },
    };
    ArbiterThread::start(options).expect("the folder is free")
}

fn clerk(number: u64) -> Spec<Clerk> {
    Spec::<Clerk>::new(())
        .process()
        .name(format!("clerk-{number}"))
}

/// Kills workers, has others started and stopped, without end.
fn restless(arbiter: &Arbiter, clerks: &[Proxy<Clerk>]) {
    for number in CLERKS.. {
        let spawned = answer(arbiter.spawn(clerk(number % 3 + CLERKS)).into_deferred());
        let clerk = &clerks[(number % CLERKS) as usize];
        if number % 2 == 0 {
            arbiter.kill_actor(clerk.id());
        }
        if let Ok(extra) = spawned
            && number % 3 != 0
        {
            let _ = answer(arbiter.stop_actor(extra.id()));
        }
    }
}

/// One arbiter after the other, and what they have in common.
struct Succession {
    folder: tempfile::TempDir,
    sessions: Vec<Session>,
}

impl Succession {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            sessions: Vec::new(),
        }
    }

    fn refuge(&self) -> PathBuf {
        self.folder.path().join("refuge")
    }

    /// The next one, and where it notes how far it has come.
    fn next(&mut self, stays_at: u64, then: &str) -> PathBuf {
        let trace = self
            .folder
            .path()
            .join(format!("trace-{}", self.sessions.len()));
        let (refuge, path) = (self.refuge(), trace.display().to_string());
        let words = [
            &refuge.display().to_string(),
            &path,
            &stays_at.to_string(),
            then,
        ];
        self.sessions.push(Session::start(ROLE, &words));
        trace
    }

    fn kill(&mut self) {
        let session = self.sessions.last_mut().expect("there is one");
        session.kill();
    }

    /// Everybody who is left of all of them.
    fn workers(&self) -> Vec<u32> {
        let arbiter = self.sessions.last().map(Session::id);
        let members = self.sessions.iter().flat_map(Session::members);
        members.filter(|pid| Some(*pid) != arbiter).collect()
    }

    /// The last one finds everybody it should, ends, and nothing is left. Answers who its actors were.
    fn end(mut self, workers: Option<usize>) -> Vec<u32> {
        let trace = self.next(0, "last");
        let session = self.sessions.last_mut().expect("there is one");
        let told = session.line();
        let pids: Vec<u32> = told.split(' ').filter_map(|pid| pid.parse().ok()).collect();
        assert_eq!(pids.len() as u64, CLERKS, "{told}");
        if let Some(count) = workers {
            eventually("nobody has a twin", || self.workers().len() == count);
        }
        assert!(pids.iter().all(|pid| self.workers().contains(pid)));
        note(&trace, 0);
        let session = self.sessions.last_mut().expect("there is one");
        let (status, text) = session.wait();
        assert!(status.success(), "{status} {text}");
        let refuge = self.refuge();
        for (number, session) in self.sessions.drain(..).enumerate() {
            session.assert_gone(&format!("arbiter {number}"));
        }
        eventually("an empty folder", || {
            let mut left = std::fs::read_dir(&refuge).expect("a folder");
            left.next().is_none()
        });
        pids
    }
}

/// Who was there once stays the same to the end, whatever step his arbiters came to.
fn arbiters_that_are_followed_die_at_every_step(chance: &mut Chance) {
    let mut succession = Succession::new();
    let mut known = BTreeSet::new();
    for stays_at in (1..=STEPS).chain((1..=STEPS).rev()) {
        step(format!("an arbiter comes to step {stays_at}"));
        let trace = succession.next(stays_at, "-");
        eventually("a step", || notes(&trace) == [stays_at]);
        tasks::pause(Duration::from_micros(chance.below(3000)));
        succession.kill();
        if stays_at == STEPS {
            for pid in succession.workers() {
                known.insert(pid);
            }
        }
    }
    // Every arbiter that came to the end had the same ones, and so has the last.
    let expected = CLERKS as usize + 2;
    assert_eq!(known.len(), expected, "{known:?}");
    let pids = succession.end(Some(expected));
    assert!(pids.iter().all(|pid| known.contains(pid)), "{pids:?}");
}

/// Also while workers die, before and while they wait.
fn arbiters_that_are_followed_die_at_any_moment(chance: &mut Chance) {
    let mut succession = Succession::new();
    for round in 0..16 {
        let us = 10_000 + round * 8000 + chance.below(20_000);
        step(format!("arbiter {round} is killed after {us} us"));
        succession.next(0, "restless");
        tasks::pause(Duration::from_micros(us));
        succession.kill();
        let workers = succession.workers();
        let victim = workers.get(chance.below(8) as usize);
        if let Some(victim) = victim {
            let number = [Signal::SIGKILL, Signal::SIGSTOP][chance.below(2) as usize];
            signal(*victim, number);
        }
    }
    succession.end(None);
}
