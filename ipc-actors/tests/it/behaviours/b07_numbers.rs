//! The number of a process that is gone may be another's.

use std::fs;
use std::process::{Child, Command};

use ipc_actors::{Restart, Spec};

use super::{alone_by, namespace, skipped};
use crate::actors::{Counter, Harm, Start};
use crate::support::{LIMIT, is_alive, pid, signal, spawn, with_arbiter};

/// Takes numbers until it has this one.
fn decoy(number: u32, decoys: &mut Vec<Child>) -> bool {
    // The next number is the one after this; others may come between.
    for _ in 0..20 {
        if fs::write("/proc/sys/kernel/ns_last_pid", (number - 1).to_string()).is_err() {
            return false;
        }
        let decoy = Command::new("sleep").arg("600").spawn().expect("a decoy");
        let found = decoy.id() == number;
        decoys.push(decoy);
        if found {
            return true;
        }
    }
    false
}

/// Whatever is done to an actor whose process is gone, the process that has its number now lives on.
#[test]
fn a07_no_signal_reaches_who_has_the_number_of_one_that_is_gone() {
    let test =
        "behaviours::b07_numbers::a07_no_signal_reaches_who_has_the_number_of_one_that_is_gone";
    let Some(namespace) = namespace() else {
        return skipped("process namespaces cannot be made here");
    };
    alone_by(test, 3 * LIMIT, &namespace, || {
        // Few numbers, so that they come round by themselves, too. Older systems have one limit for all.
        let few = Command::new("uname").arg("-r").output().expect("a version");
        let version = String::from_utf8_lossy(&few.stdout).into_owned();
        let mut parts = version
            .split('.')
            .map_while(|part| part.parse::<u32>().ok());
        let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        if version >= (6, 14) {
            drop(fs::write("/proc/sys/kernel/pid_max", "600"));
        }
        with_arbiter(|arbiter| {
            let mut decoys = Vec::new();
            let mut taken = 0;
            for round in 0..40 {
                let spec = Spec::<Counter>::new(Start::default()).process();
                let counter = spawn(arbiter, spec.restart(Restart::Temporary));
                let number = pid(&counter);
                let watch = arbiter.watch(counter.id());
                match round % 3 {
                    0 => signal(number, "KILL"),
                    1 => arbiter.kill_actor(counter.id()),
                    _ => drop(counter.ask(Harm::Exit(0))),
                }
                // Not waited for: what is done next may be on its way while the end is.
                if round % 2 == 0 {
                    assert!(watch.wait_timeout(LIMIT).expect("in time").is_ok());
                    assert!(!is_alive(number));
                    taken += u32::from(decoy(number, &mut decoys));
                }
                arbiter.kill_actor(counter.id());
                let gone = arbiter.stop_actor(counter.id()).wait_timeout(LIMIT);
                assert!(gone.expect("in time").is_ok());
                arbiter.kill_actor(counter.id());
                if round % 2 == 1 {
                    taken += u32::from(decoy(number, &mut decoys));
                }
                drop(counter);
            }
            super::note(&format!("{taken} numbers were taken again"));
            assert!(taken >= 20, "{taken}");
            for decoy in &mut decoys {
                let ended = decoy.try_wait().expect("a child");
                assert_eq!(ended, None, "a signal has reached a stranger");
                decoy.kill().expect("it lives");
                decoy.wait().expect("its end");
            }
        });
    });
}
