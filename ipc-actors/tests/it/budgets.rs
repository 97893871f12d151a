//! Workers that take too much, and what tests are told about what is left.

use std::fs;
use std::time::{Duration, Instant};

use ipc_actors::{AskError, Chaos, ExitReason, LeakGuard, MonitorSpec, Spec, Trouble};

use crate::actors::{Counter, Harm, Pid, Start};
use crate::behaviours::{Job, Plan};
use crate::support::{LIMIT, eventually, is_alive, spawn, with_arbiter};

#[test]
fn a_worker_with_too_much_memory_is_replaced_and_nothing_is_lost() {
    with_arbiter(|arbiter| {
        let worker = Spec::<Counter>::new(Start::default());
        let spec = MonitorSpec::new("crew", worker, 1).memory_max(96 << 20);
        let pool = arbiter.monitor(spec).wait().expect("a start");
        let first = pool.ask_timeout(Pid, LIMIT).expect("an answer");
        let hoard = pool.ask_timeout(Harm::Hoard(128 << 20), LIMIT);
        assert_eq!(hoard, Ok(()));
        eventually(|| pool.ask_timeout(Pid, LIMIT).expect("none is lost") != first);
        eventually(|| !is_alive(first));
    });
}

#[test]
fn a_leak_guard_names_what_is_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let guard = LeakGuard::new().folder(folder.path());
    let path = folder.path().join("left");
    fs::write(&path, "").expect("a file");
    let leaks = guard.check(Duration::ZERO).expect_err("a file is left");
    assert_eq!(leaks.files, std::slice::from_ref(&path));
    fs::remove_file(&path).expect("it is there");
    // Other tests of this process come and go meanwhile; only the folder is this one's.
    let left = guard.check(Duration::ZERO).err();
    assert!(left.is_none_or(|left| left.files.is_empty()));
}

#[test]
fn chaos_strikes_at_its_message() {
    let mut chaos = Chaos::at(2, Trouble::Slow(Duration::from_millis(20)));
    let took = |chaos: &mut Chaos| {
        let begun = Instant::now();
        chaos.message();
        begun.elapsed()
    };
    took(&mut chaos);
    for _ in 0..2 {
        assert!(took(&mut chaos) >= Duration::from_millis(20));
    }
}

#[test]
fn chaos_stops_a_process_and_lets_it_go_on() {
    with_arbiter(|arbiter| {
        let folder = tempfile::tempdir().expect("a folder");
        let pause = Duration::from_millis(400);
        let plan = Plan {
            chaos: Chaos::at(2, Trouble::Stop(pause)),
            ..Plan::new(folder.path())
        };
        let patient = spawn(arbiter, plan.spec("patient").timeout(LIMIT));
        let first = patient.ask_timeout(Job(1, 0), LIMIT).expect("an answer");
        let begun = Instant::now();
        let second = patient.ask_timeout(Job(2, 0), LIMIT).expect("an answer");
        assert!(begun.elapsed() >= pause);
        assert_eq!(first.1, second.1, "the same process");

        let plan = Plan {
            chaos: Chaos::at(2, Trouble::Stop(LIMIT)),
            ..plan
        };
        let strict = spawn(arbiter, plan.spec("strict").timeout(pause));
        let first = strict.ask_timeout(Job(1, 0), LIMIT).expect("an answer");
        let watch = arbiter.watch(strict.id());
        assert_eq!(strict.ask(Job(2, 0)).wait(), Err(AskError::Started));
        let down = watch.wait_timeout(LIMIT).expect("in time").expect("an end");
        assert_eq!(down.reason, ExitReason::Silent);
        eventually(|| {
            let third = strict.ask_timeout(Job(3, 0), LIMIT);
            third.is_ok_and(|third| third.1 != first.1)
        });
    });
}
