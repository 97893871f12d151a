//! A thousand children that die at once: all are reaped, and nobody else's.

use std::process::{Child, Command, ExitCode};

use ipc_exchange::{ExchangeOptions, Start};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use crate::chance::Chance;
use crate::scenario::{scenarios, skip};
use crate::session::{Session, children, eventually, signal};
use crate::tasks::{self, notes};

scenarios![a_thousand_workers_die_at_once];

/// The role that has them.
pub(crate) const ROLE: &str = "crowd";

const COUNT: usize = 1000;

/// A child of the program's own, which exits with status 3 and which nobody but it may wait for.
pub(crate) struct Decoy(Child);

impl Decoy {
    pub(crate) fn start() -> Self {
        let child = Command::new("sh").args(["-c", "exit 3"]).spawn();
        Self(child.expect("a shell"))
    }

    #[track_caller]
    pub(crate) fn assert_untouched(mut self) {
        let status = self.0.wait().expect("it can still be waited for");
        assert_eq!(status.code(), Some(3));
    }
}

/// How many workers there may be: each has some descriptors here and some memory.
fn affordable() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    let wanted = hard.min(8 * COUNT as u64);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).expect("a higher limit");
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.trim().split(' ').next()?.parse::<usize>().ok());
    // Two MiB for each: half of what there is may be taken.
    let by_memory = available.map_or(COUNT, |kib| kib / 2 / 2048);
    COUNT.min(wanted as usize / 8).min(by_memory)
}

/// The role: fills the workers with tasks, kills all of them, and goes on.
pub(crate) fn role(words: &[String]) -> ExitCode {
    let trace = std::path::PathBuf::from(&words[0]);
    let count = affordable();
    let decoy = Decoy::start();
    let options = ExchangeOptions::new().limit(count).start(Start::Zygote);
    // Brief workers talk through sockets, which cost less than shared memory.
    let exchange = options.tasks_max(1).prefetch(false).open();
    let exchange = exchange.expect("an exchange");
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            exchange
                .submit(tasks::wait, trace.clone())
                .expect("it is taken")
        })
        .collect();
    eventually("all of them", || notes(&trace).len() == count);
    let pids = notes(&trace);
    assert_eq!(exchange.workers().len(), count);
    for pid in pids {
        signal(pid as u32, Signal::SIGKILL);
    }
    for task in tasks {
        let error = task.wait().expect_err("it was killed");
        assert!(error.is_lost(), "{error}");
    }
    let square = exchange.submit(tasks::square, 7).expect("it is taken");
    assert_eq!(square.wait(), Ok(49));
    exchange.finish();
    let zombies = children().len();
    assert_eq!(zombies, 1, "only the decoy is left");
    decoy.assert_untouched();
    println!("{count}");
    ExitCode::SUCCESS
}

fn a_thousand_workers_die_at_once(_: &mut Chance) {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace").display().to_string();
    let mut session = Session::start(ROLE, &[&trace]);
    let (status, text) = session.wait();
    assert!(status.success(), "{status}: {text}");
    session.assert_gone("a crowd");
    if text.trim() != COUNT.to_string() {
        skip(&format!(
            "only {} at once fit into this machine",
            text.trim()
        ));
    }
}
