//! Signals and children, with real ones.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ipc_core::Inherit;
use ipc_dispatch::{Context, Exit, Selector};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{SOON, millis, pair, thread_time, within};

#[test]
#[expect(clippy::zombie_processes, reason = "the selector reaps them")]
fn a_child_is_reaped_and_its_status_told() {
    within(SOON, || {
        let mut selector = Selector::<Vec<(Option<i32>, Option<i32>)>>::new().unwrap();
        let mut command = Command::new("sh");
        let exiting = command.args(["-c", "exit 7"]).spawn().unwrap();
        let waiting = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let foreign = Command::new("true").spawn();
        for child in [&exiting, &waiting] {
            selector
                .on_child(child.id(), |status, ctx| {
                    let status = status.unwrap();
                    ctx.state.push((status.code(), status.signal()));
                })
                .unwrap();
        }
        kill(Pid::from_raw(waiting.id() as i32), Signal::SIGKILL).unwrap();
        let mut statuses = Vec::new();
        assert_eq!(selector.run(&mut statuses).unwrap(), Exit::Idle);
        statuses.sort();
        assert_eq!(statuses, [(None, Some(9)), (Some(7), None)]);
        // Nobody else's child was touched: it can still be waited for.
        assert!(foreign.unwrap().wait().unwrap().success());
    });
}

#[test]
fn a_signal_runs_its_handler_in_the_loop_while_it_sleeps() {
    within(SOON, || {
        let mut selector = Selector::<u32>::new().unwrap();
        selector.set_persistent(true);
        let signal = Signal::SIGUSR1;
        selector
            .on_signal(signal as i32, |ctx| {
                *ctx.state += 1;
                ctx.stop();
            })
            .unwrap();
        let poster = selector.poster();
        let thread = std::thread::spawn(move || {
            poster.post(|_| ()).unwrap();
            kill(Pid::this(), signal).unwrap();
        });
        let mut count = 0;
        let exit = selector
            .run_timeout(&mut count, Duration::from_secs(10))
            .unwrap();
        assert_eq!((exit, count), (Exit::Stopped, 1));
        thread.join().unwrap();
        assert!(selector.on_signal(9, |_| ()).is_err());
        assert!(selector.on_signal(1000, |_| ()).is_err());
    });
}

#[test]
#[expect(clippy::zombie_processes, reason = "the selector reaps them")]
fn fifty_children_that_die_together_are_all_reaped_and_nobody_else_is() {
    within(SOON, || {
        let mut foreign = Command::new("true").spawn().unwrap();
        let mut selector = Selector::<u32>::new().unwrap();
        let mut inputs = Vec::new();
        let mut pids = Vec::new();
        for number in 0..50 {
            let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
            inputs.push(child.stdin.take());
            pids.push(child.id());
            selector
                .on_child(child.id(), move |status, ctx| {
                    assert!(status.unwrap().success(), "child {number}");
                    *ctx.state += 1;
                })
                .unwrap();
        }
        // They all end at once.
        inputs.clear();
        let mut count = 0;
        assert_eq!(selector.run(&mut count).unwrap(), Exit::Idle);
        assert_eq!(count, 50);
        for pid in pids {
            let gone = kill(Pid::from_raw(pid as i32), None);
            assert_eq!(gone, Err(nix::errno::Errno::ESRCH), "no zombie is left");
        }
        assert!(foreign.wait().unwrap().success());
    });
}

#[test]
fn a_child_that_somebody_else_reaped_is_an_error() {
    within(SOON, || {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let mut selector = Selector::<u32>::new().unwrap();
        selector
            .on_child(child.id(), |status, ctx| {
                assert!(status.is_err());
                *ctx.state += 1;
            })
            .unwrap();
        assert!(child.wait().unwrap().success());
        let mut count = 0;
        assert_eq!(selector.run(&mut count).unwrap(), Exit::Idle);
        assert_eq!(count, 1);
        assert!(selector.on_child(u32::MAX, |_, _| ()).is_err());
    });
}

#[test]
fn a_child_that_holds_a_duplicate_does_not_make_the_loop_spin() {
    within(SOON, || {
        // The child has the same open socket under another number, so that the system would go on
        // reporting it if it had been closed before it was taken off the list.
        let (ours, mut theirs) = pair();
        let mut child = Inherit::new()
            .give(0, ours.try_clone().unwrap())
            .spawn(Command::new("sleep").arg("30"))
            .unwrap();
        let mut selector = Selector::<u32>::new().unwrap();
        let key = selector.add(ours);
        selector
            .on_readable(key, |_: &mut UnixStream, ctx: &mut Context<'_, u32>| {
                *ctx.state += 1;
            })
            .unwrap();
        theirs.write_all(b"never read").unwrap();
        let mut count = 0;
        selector.turn(&mut count, None).unwrap();
        assert_eq!(count, 1);
        assert!(selector.close(key));
        selector.set_persistent(true);
        let before = (selector.metrics(), thread_time());
        selector.run_timeout(&mut count, millis(1000)).unwrap();
        assert!(selector.metrics().waits - before.0.waits < 5);
        // One processor's hundredth.
        assert!(thread_time() - before.1 < millis(10));
        assert_eq!((count, selector.metrics().stale), (1, 0));
        child.kill().unwrap();
        child.wait().unwrap();
    });
}

#[cfg(not(ipc_portable))]
#[test]
fn a_descriptor_that_was_exchanged_under_the_loop_is_purged() {
    within(SOON, || {
        let (ours, mut theirs) = pair();
        let duplicate = ours.try_clone().unwrap();
        let mut selector = Selector::<u32>::new().unwrap();
        let key = selector.add(ours);
        selector
            .on_readable(
                key,
                |socket: &mut UnixStream, ctx: &mut Context<'_, u32>| {
                    *ctx.state += 1;
                    socket.read_exact(&mut [0]).is_ok()
                },
            )
            .unwrap();
        // Against the rules: the old socket lives on in `duplicate`, still registered.
        let (fresh, mut peer) = pair();
        *selector.get_mut(key).unwrap() = fresh;
        theirs.write_all(b"x").unwrap();
        let mut count = 0;
        selector.run_timeout(&mut count, millis(50)).unwrap();
        assert_eq!(count, 0, "the old socket is nobody's");
        assert!(selector.metrics().waits < 20, "{:?}", selector.metrics());
        peer.write_all(b"x").unwrap();
        selector.run_timeout(&mut count, millis(50)).unwrap();
        assert_eq!(count, 1, "the new one is waited for");
        drop(duplicate);
    });
}

#[test]
fn a_storm_of_signals_does_not_delay_an_alarm_and_loses_none() {
    within(SOON, || {
        let mut selector = Selector::<u32>::new().unwrap();
        let signal = Signal::SIGPROF;
        selector
            .on_signal(signal as i32, |ctx| *ctx.state += 1)
            .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let storm = std::thread::spawn(move || {
            let mut sent = 0u32;
            while !stopped.load(Ordering::Relaxed) {
                kill(Pid::this(), signal).unwrap();
                sent += 1;
                std::thread::park_timeout(millis(1));
            }
            sent
        });
        let mut quickest = Duration::MAX;
        let mut count = 0;
        for _ in 0..5 {
            let began = Instant::now();
            selector.alarm(millis(100), |ctx| ctx.stop());
            assert_eq!(selector.run(&mut count).unwrap(), Exit::Stopped);
            quickest = quickest.min(began.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
        let sent = storm.join().unwrap();
        selector.turn(&mut count, Some(Duration::ZERO)).unwrap();
        assert!(count >= 1 && count <= sent, "{count} of {sent}");
        // The quickest, for the machine may be busy with other tests; a time-out that began again with
        // every signal would delay all of them.
        assert!(
            quickest >= millis(100) && quickest <= millis(102),
            "{quickest:?}"
        );
    });
}

#[test]
fn a_thousand_signals_at_once_are_at_least_one() {
    within(SOON, || {
        let mut selector = Selector::<u32>::new().unwrap();
        selector.set_persistent(true);
        selector
            .on_signal(Signal::SIGVTALRM as i32, |ctx| *ctx.state += 1)
            .unwrap();
        // Into a loop that runs, and once more when it is certain to sleep.
        let poster = selector.poster();
        let thread = std::thread::spawn(move || {
            for _ in 0..1000 {
                kill(Pid::this(), Signal::SIGVTALRM).unwrap();
            }
            poster.post(|ctx| ctx.stop()).unwrap();
        });
        let mut count = 0;
        assert_eq!(selector.run(&mut count).unwrap(), Exit::Stopped);
        thread.join().unwrap();
        selector.turn(&mut count, Some(Duration::ZERO)).unwrap();
        assert!((1..=1000).contains(&count), "{count} deliveries");
        let before = count;
        let thread = std::thread::spawn(|| {
            std::thread::park_timeout(millis(20));
            kill(Pid::this(), Signal::SIGVTALRM).unwrap();
        });
        while count == before {
            selector.turn(&mut count, None).unwrap();
        }
        assert_eq!(count, before + 1);
        thread.join().unwrap();
    });
}
