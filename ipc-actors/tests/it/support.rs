//! What the tests share.

use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ipc_actors::{
    Actor, Arbiter, ArbiterOptions, ArbiterThread, AskError, Placement, Proxy, Spec, host,
};
use ipc_exchange::registry;

use crate::actors::{Counter, Pid};
use crate::behaviours::{Victim, Witness};
use crate::direct::Clerk;
use crate::later::Board;
use crate::steward::{Beside, Steward};

/// Runs a test that must not hang, in a thread of its own.
#[track_caller]
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    test: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (sender, receiver) = mpsc::channel();
    let name = thread::current().name().unwrap_or("test").to_owned();
    let runner = thread::Builder::new().name(name).spawn(move || {
        let result = test();
        let _ = sender.send(());
        result
    });
    let runner = runner.expect("a thread for the test");
    if receiver.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("the test takes longer than {limit:?}");
    }
    match runner.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// How long anything in a test may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Runs a test with an arbiter in a thread of its own, and ends that.
#[track_caller]
pub(crate) fn with_arbiter(test: impl FnOnce(&Arbiter) + Send + 'static) {
    within(3 * LIMIT, move || {
        set_up();
        let thread = ArbiterThread::start(ArbiterOptions::default()).expect("an arbiter");
        test(&thread.arbiter());
        thread.finish().expect("a clean end");
    });
}

/// Makes the test binary able to be the process of an actor.
pub(crate) fn set_up() {
    ipc_exchange::init_in_test(
        "support::process_of_an_actor",
        registry![
            host::<Beside>,
            host::<Board>,
            host::<Clerk>,
            host::<Counter>,
            host::<Steward>,
            host::<Victim>,
            host::<Witness>
        ],
    );
}

/// Not a test by itself: what the processes of actors run.
#[test]
fn process_of_an_actor() {
    set_up();
}

/// Spawns and waits.
#[track_caller]
pub(crate) fn spawn<A: Actor>(arbiter: &Arbiter, spec: Spec<A>) -> Proxy<A> {
    arbiter
        .spawn(spec)
        .wait_timeout(LIMIT)
        .expect("in time")
        .expect("a start")
}

/// The process that an actor is in, once it answers.
#[track_caller]
pub(crate) fn pid(counter: &Proxy<Counter>) -> u32 {
    loop {
        match counter.ask_timeout(Pid, LIMIT) {
            Ok(pid) => return pid,
            // Its end was under way.
            Err(AskError::Started | AskError::NotStarted) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Sends a signal to a process that the test has started.
#[track_caller]
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "kill -{name} {pid}"
    );
}

/// Whether there is such a process, or its zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    std::fs::metadata(format!("/proc/{pid}")).is_ok()
}

/// Whether there is no such process, or only its zombie, which its parent shall reap when it likes.
pub(crate) fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| stat.contains(") Z ") || stat.contains(") X "))
}

/// Looks again and again until something is so.
#[track_caller]
pub(crate) fn eventually(mut so: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !so() {
        assert!(Instant::now() < end, "it does not come about");
        thread::park_timeout(Duration::from_millis(1));
    }
}

pub(crate) const PLACEMENTS: [Placement; 3] =
    [Placement::Local, Placement::Thread, Placement::Process];

/// Whether an actor has a message at hand.
pub(crate) fn works<A: Actor>(actor: &Proxy<A>) -> bool {
    let info = actor.info().wait_timeout(LIMIT).expect("an answer");
    info.is_ok_and(|info| info.busy_us.is_some())
}
