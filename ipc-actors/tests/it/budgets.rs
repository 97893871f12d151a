//! Workers that take too much, and what tests are told about what is left.

use std::fs;
use std::time::Duration;

use ipc_actors::{Chaos, LeakGuard, MonitorSpec, Spec, Trouble};

use crate::actors::{Counter, Harm, Pid, Start};
use crate::support::{LIMIT, eventually, is_alive, with_arbiter};

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
        let begun = std::time::Instant::now();
        chaos.message();
        begun.elapsed()
    };
    took(&mut chaos);
    for _ in 0..2 {
        assert!(took(&mut chaos) >= Duration::from_millis(20));
    }
}
