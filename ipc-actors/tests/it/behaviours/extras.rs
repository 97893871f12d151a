//! The cheap ones: the clock, a worker that multiplies, no standard streams.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ipc_actors::{ExitReason, Restart, Spec};
use ipc_core::Address;
use ipc_marshal::Duct;

use super::{alone, alone_by, namespace, skipped};
use crate::actors::{Bomb, Counter, Start};
use crate::application::{Client, program, say};
use crate::support::{LIMIT, eventually, is_alive, pid, signal, spawn, with_arbiter};

/// No time-out, window or alarm can see the wall clock jump: it is read only for what other programs and
/// people are told.
#[test]
fn a16_no_wait_is_measured_by_the_wall_clock() {
    fn look(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("sources").flatten() {
            let path = entry.path();
            if path.is_dir() {
                look(&path, found);
            } else if fs::read_to_string(&path).is_ok_and(|text| text.contains("SystemTime")) {
                found.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
    }
    let mut found = Vec::new();
    look(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    found.sort_unstable();
    assert_eq!(found, ["audit.rs", "ticket.rs"]);
}

/// A worker that takes every process number there is can be killed with all that it has started, and
/// then the others go on.
#[test]
fn a17_a_fork_bomb_ends_with_its_worker() {
    let test = "behaviours::extras::a17_a_fork_bomb_ends_with_its_worker";
    let Some(mut namespace) = namespace() else {
        return skipped("process namespaces cannot be made here");
    };
    // Somebody must reap those whose parents are gone.
    namespace.extend(["sh", "-c", "\"$0\" \"$@\"; exit $?"]);
    alone_by(test, 2 * LIMIT, &namespace, || {
        if fs::write("/proc/sys/kernel/pid_max", "400").is_err() || limit_is_shared() {
            return skipped("a namespace has no limit of its own here");
        }
        with_arbiter(|arbiter| {
            let spec = Spec::<Counter>::new(Start::default()).process();
            let (bomb, other) = (
                spawn(arbiter, spec.clone().restart(Restart::Temporary)),
                spawn(arbiter, spec.clone()),
            );
            let (old, watch) = (pid(&other), arbiter.watch(bomb.id()));
            drop(bomb.ask(Bomb));
            eventually(|| Command::new("true").status().is_err());
            assert_eq!(pid(&other), old, "the other one serves");
            arbiter.kill_actor(bomb.id());
            let down = watch.wait_timeout(LIMIT).expect("in time").expect("an end");
            assert_eq!(down.reason, ExitReason::Killed);
            eventually(|| Command::new("true").status().is_ok());
            spawn(arbiter, spec);
            assert_eq!(pid(&other), old);
        });
    });
}

fn limit_is_shared() -> bool {
    fs::read_to_string("/proc/sys/kernel/pid_max").is_ok_and(|limit| limit.trim() != "400")
}

#[test]
fn a18_a_program_without_standard_streams_serves() {
    let test = "behaviours::extras::a18_a_program_without_standard_streams_serves";
    alone(test, 2 * LIMIT, || {
        let folder = tempfile::tempdir().expect("a folder");
        let address = format!("unix:{}/echo", folder.path().display());
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" <&- >&- 2>&-"])
            .arg(program())
            .args(["--bind", &address, "-w", "2", "--graceful-timeout", "2"])
            .stdin(Stdio::null())
            .spawn()
            .expect("a start");
        let address: Address = address.parse().expect("an address");
        eventually(|| Duct::<(), ()>::connect(&address).is_ok());
        let mut client = Client::connect(&address).expect("a connection");
        let worker = say(&mut client, "hello");
        for process in [child.id(), worker] {
            for fd in 0..3 {
                let target = fs::read_link(format!("/proc/{process}/fd/{fd}"));
                let target = target.expect("a stream");
                // The end of what a worker says there is kept.
                let null = process == child.id() || fd != 2;
                assert!(!null || target == Path::new("/dev/null"), "{process} {fd}");
            }
        }
        signal(worker, "KILL");
        eventually(|| !is_alive(worker));
        say(&mut client, "and again");
        signal(child.id(), "TERM");
        assert_eq!(child.wait().expect("its end").code(), Some(0));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    });
}

/// One that is held for a while by a debugger, or by a stop signal, is the same afterwards.
#[test]
fn a19_a_pause_shorter_than_the_time_out_is_no_end() {
    let test = "behaviours::extras::a19_a_pause_shorter_than_the_time_out_is_no_end";
    alone(test, 2 * LIMIT, || {
        with_arbiter(|arbiter| {
            let spec = Spec::<Counter>::new(Start::default()).process();
            let counter = spawn(arbiter, spec.timeout(LIMIT));
            let held = pid(&counter);
            signal(held, "STOP");
            eventually(|| {
                let stat = fs::read_to_string(format!("/proc/{held}/stat"));
                stat.is_ok_and(|stat| stat.contains(") T "))
            });
            let asked = counter.ask(crate::actors::Add(1));
            let asked = asked.wait_timeout(Duration::from_millis(300));
            let asked = asked.expect_err("it is held");
            signal(held, "CONT");
            assert_eq!(asked.wait_timeout(LIMIT).expect("in time"), Ok(1));
            assert_eq!(pid(&counter), held);
        });
    });
}
