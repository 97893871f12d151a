//! Too few descriptors, too little memory, one processor: errors that say so, and later all is well.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ipc_actors::{Proxy, SpawnError, Spec};
use ipc_core::Address;
use ipc_exchange::{Cause, ExchangeOptions, Program, Reader, Start, start_persistent};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::actors::answer;
use crate::chance::Chance;
use crate::people::Clerk;
use crate::scenario::{scenarios, skip};
use crate::session::{Session, children, eventually, signal};
use crate::tasks;

scenarios![
    descriptors_run_out,
    descriptors_run_out_for_actors,
    a_worker_reaches_its_limit_of_memory,
    the_kernel_kills_for_want_of_memory,
    everything_shares_one_processor,
];

/// The role that has few descriptors.
pub(crate) const FEW: &str = "few";

/// The role whose actors have few descriptors.
pub(crate) const FEW_FOR_ACTORS: &str = "few-for-actors";

/// The role whose workers have little memory.
pub(crate) const LITTLE: &str = "little";

/// The role that has one processor.
pub(crate) const ONE: &str = "one";

fn limit_descriptors(soft: u64) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("another limit");
}

/// The role: at every number of descriptors that is left over, starting works or fails with an error
/// that tells, and leaves nothing; afterwards everything works.
pub(crate) fn few(words: &[String]) -> ExitCode {
    let folder = Path::new(&words[0]);
    let (usual, _) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    for start in [Start::Spawn, Start::Zygote] {
        for spare in 0..24 {
            // The first exchange of a process opens what stays open.
            let exchange = ExchangeOptions::new().limit(2).start(start).open();
            let exchange = exchange.expect("an exchange");
            let open = || ipc_core::descriptors().map_or(0, |found| found.len());
            let before = open();
            limit_descriptors(before as u64 + spare);
            let tasks: Vec<_> = (0..4).map(|x| exchange.submit(tasks::square, x)).collect();
            for (x, task) in (0..).zip(tasks) {
                match task.expect("it is taken").wait() {
                    Ok(square) => assert_eq!(square, x * x),
                    Err(error) => {
                        let Cause::NoWorker { reason } = error.cause() else {
                            panic!("{spare} spare: {error}");
                        };
                        assert!(!reason.is_empty());
                    }
                }
            }
            few_programs(folder, spare);
            limit_descriptors(usual);
            let task = exchange.submit(tasks::square, 9).expect("it is taken");
            assert_eq!(task.wait(), Ok(81), "{spare} spare: no recovery");
            exchange.finish();
            eventually("no child is left", || children().is_empty());
            eventually("no descriptor is left", || open() < before);
        }
    }
    println!("enough");
    ExitCode::SUCCESS
}

fn few_programs(folder: &Path, spare: u64) {
    if let Ok(mut program) = Program::start(tasks::echo, &u64::MAX) {
        let sent = program.duct().send(vec![1]);
        if sent.is_ok() {
            assert!(program.duct().recv().is_ok_and(|bytes| bytes == [1]));
        }
    }
    let address = Address::unix(folder.join(format!("results{spare}"))).expect("an address");
    if start_persistent(&address, tasks::publish, &(1, 0)).is_ok()
        && let Ok(reader) = Reader::<u64>::connect(&address)
    {
        assert_eq!(reader.filter(Result::is_ok).count(), 2);
    }
}

fn descriptors_run_out(_: &mut Chance) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut session = Session::start(FEW, &[&folder.path().display().to_string()]);
    let (status, text) = session.wait();
    assert!(status.success(), "{status}: {text}");
    // Background tasks that could not be read have results to keep: they are ended here.
    for pid in session.members() {
        signal(pid, Signal::SIGKILL);
    }
    session.assert_gone("few descriptors");
}

/// The role: the same for actors in processes, and for one whose process has to be replaced then.
pub(crate) fn few_for_actors(_: &[String]) -> ExitCode {
    let (usual, _) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    let thread = crate::actors::arbiter();
    let arbiter = thread.arbiter();
    let spawn = || {
        answer(
            arbiter
                .spawn(Spec::<Clerk>::new(()).process())
                .into_deferred(),
        )
    };
    let old = spawn().expect("a start");
    let stop = |clerk: Proxy<Clerk>| answer(arbiter.stop_actor(clerk.id())).expect("an arbiter");
    // What the first one opens for all stays open.
    stop(spawn().expect("a start"));
    let open = || ipc_core::descriptors().map_or(0, |found| found.len());
    let mut failed = 0;
    for spare in 0..24 {
        let before = open();
        limit_descriptors(before as u64 + spare);
        match spawn() {
            Ok(clerk) => {
                let pid = crate::actors::pid_of(&clerk);
                assert_ne!(pid, std::process::id());
                stop(clerk);
            }
            Err(error) => {
                assert!(
                    matches!(error, SpawnError::Start(_)),
                    "{spare} spare: {error}"
                );
                failed += 1;
            }
        }
        let pid = old.info();
        limit_descriptors(usual);
        if let Ok(info) = answer(pid) {
            signal(info.pid, Signal::SIGKILL);
        }
        crate::actors::pid_of(&old);
        stop(spawn().expect("there is room again"));
        eventually("no descriptor is left", || open() <= before);
    }
    assert!(failed > 0, "there was always room");
    drop(old);
    assert_eq!(thread.finish().expect("a clean end"), 0);
    assert!(children().is_empty());
    println!("enough");
    ExitCode::SUCCESS
}

fn descriptors_run_out_for_actors(_: &mut Chance) {
    let mut session = Session::start(FEW_FOR_ACTORS, &[]);
    let (status, text) = session.wait();
    assert!(
        status.success() && text.trim() == "enough",
        "{status}: {text}"
    );
    session.assert_gone("few descriptors for actors");
}

/// The role: its workers' address space is limited by the shell that starts them.
pub(crate) fn little(_: &[String]) -> ExitCode {
    // Captured: what one says that cannot have its memory is nobody's business.
    let options = ExchangeOptions::new().limit(2).capture(true);
    let exchange = options.open().expect("an exchange");
    let warm = exchange.submit(tasks::square, 2).expect("it is taken");
    assert_eq!(warm.wait(), Ok(4));
    for _ in 0..2 {
        // What can be refused is refused; what cannot ends the worker, and that alone.
        let refused = exchange.submit(tasks::hoard, 1 << 40).expect("it is taken");
        assert_eq!(refused.wait(), Ok(false));
        let ended = exchange
            .submit(tasks::hoard_all, 1 << 40)
            .expect("it is taken");
        let error = ended.wait().expect_err("there is not so much");
        assert!(error.is_lost(), "{error}");
        let next = exchange.submit(tasks::square, 3).expect("it is taken");
        assert_eq!(next.wait(), Ok(9));
    }
    exchange.finish();
    println!("enough");
    ExitCode::SUCCESS
}

fn a_worker_reaches_its_limit_of_memory(_: &mut Chance) {
    // Much for all of them, and far less than they ask for.
    let wrapper = ["sh", "-c", "ulimit -v 8000000; exec \"$@\"", "-"];
    let mut session = Session::start_under(&wrapper, LITTLE, &[]);
    let (status, text) = session.wait();
    assert!(
        status.success() && text.trim() == "enough",
        "{status}: {text}"
    );
    session.assert_gone("little memory");
}

/// A control group with little memory, removed in the end.
struct Group(PathBuf);

impl Group {
    fn new() -> Option<Self> {
        let name = format!("ipc-chaos-{}", std::process::id());
        let made = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ];
        made.iter().find_map(|(root, limit)| {
            let folder = Path::new(root).join(&name);
            fs::create_dir(&folder).ok()?;
            let group = Self(folder);
            fs::write(group.0.join(limit), "67108864").ok()?;
            Some(group)
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        eventually("the end of the control group", || {
            fs::remove_dir(&self.0).is_ok() || !self.0.exists()
        });
    }
}

fn the_kernel_kills_for_want_of_memory(_: &mut Chance) {
    let Some(group) = Group::new() else {
        return skip("control groups cannot be made here");
    };
    for start in [Start::Spawn, Start::Zygote] {
        let options = ExchangeOptions::new().limit(2).start(start);
        let exchange = options.worker_cgroup(&group.0).open().expect("an exchange");
        let hungry = exchange
            .submit(tasks::hoard, 512 << 20)
            .expect("it is taken");
        let others = exchange.map(tasks::slow_square, 0..200);
        // The kernel chooses whom to kill: here there is one to choose.
        let error = hungry.wait().expect_err("there is not so much");
        let told = matches!(
            error.cause(),
            Cause::Lost {
                out_of_memory: true,
                ..
            }
        );
        assert!(told, "{error}");
        assert_eq!(
            others.filter(Result::is_ok).count(),
            200,
            "only that one dies"
        );
        exchange.finish();
    }
}

/// The role: everything on one processor, where spinning can only harm.
pub(crate) fn one(_: &[String]) -> ExitCode {
    let here = Pid::from_raw(0);
    let mut own = CpuSet::new();
    let all = sched_getaffinity(here).expect("an affinity");
    let first = (0..CpuSet::count()).find(|cpu| all.is_set(*cpu).unwrap_or(false));
    own.set(first.expect("a processor")).expect("a processor");
    sched_setaffinity(here, &own).expect("an affinity");
    for start in [Start::Spawn, Start::Zygote] {
        let options = ExchangeOptions::new().limit(3).start(start).retries(1);
        let exchange = options.open().expect("an exchange");
        let map = exchange.map(tasks::square, 0..1000);
        let mut ended = 0;
        for (result, x) in map.zip(0_u64..) {
            if x % 300 == 200 {
                for pid in exchange.workers() {
                    signal(pid, Signal::SIGKILL);
                }
            }
            match result {
                Ok(square) => assert_eq!(square, x * x),
                Err(error) => assert!(crate::exchange::by_death(&error), "{error}"),
            }
            ended += 1;
        }
        assert_eq!(ended, 1000);
        crate::exchange::finish_alive(exchange);
    }
    println!("enough");
    ExitCode::SUCCESS
}

fn everything_shares_one_processor(_: &mut Chance) {
    let mut session = Session::start(ONE, &[]);
    let (status, text) = session.wait();
    assert!(
        status.success() && text.trim() == "enough",
        "{status}: {text}"
    );
    session.assert_gone("one processor");
}
