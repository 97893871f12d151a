//! A worker is killed while it is asked.

use std::time::{Duration, Instant};

use ipc_actors::{AskError, ExitReason, Spec};

use super::{alone, figure};
use crate::actors::{Add, Counter, Harm, Start};
use crate::support::{LIMIT, eventually, pid, signal, spawn, with_arbiter, works};

/// Every one of a hundred asks ends at once and truly, nobody else notices, a new process serves.
#[test]
fn a01_kill_9_ends_a_hundred_asks_at_once() {
    let test = "behaviours::b01_killed::a01_kill_9_ends_a_hundred_asks_at_once";
    alone(test, 2 * LIMIT, || {
        with_arbiter(|arbiter| {
            let spec = Spec::<Counter>::new(Start::default()).process();
            let (victim, sibling) = (spawn(arbiter, spec.clone()), spawn(arbiter, spec));
            let (old, other) = (pid(&victim), pid(&sibling));
            let watch = arbiter.watch(victim.id());
            let busy = victim.ask(Harm::Busy(60_000));
            let waiting: Vec<_> = (0..99).map(|_| victim.ask(Add(1))).collect();
            eventually(|| works(&victim));
            signal(old, "KILL");
            let killed = Instant::now();
            assert_eq!(busy.wait_timeout(LIMIT).unwrap(), Err(AskError::Started));
            for ask in waiting {
                assert_eq!(ask.wait_timeout(LIMIT).unwrap(), Err(AskError::NotStarted));
            }
            let ended = killed.elapsed();
            let down = watch.wait_timeout(LIMIT).expect("in time").expect("an end");
            let killed_by = |signal| ExitReason::Signalled {
                signal,
                core: false,
            };
            assert_eq!(down.reason, killed_by(9));
            let new = pid(&victim);
            let serves = killed.elapsed();
            figure("all asks ended", ended, Duration::from_millis(5));
            figure("the next serves", serves, Duration::from_millis(50));
            assert_ne!(new, old);
            assert_eq!(victim.ask_timeout(Add(1), LIMIT), Ok(1));
            // The sibling saw nothing, and each of its answers comes once.
            assert_eq!(pid(&sibling), other);
            assert_eq!(sibling.incarnation(), 0);
        });
    });
}
