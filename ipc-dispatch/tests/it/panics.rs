//! A handler that fails takes nobody with it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use ipc_dispatch::{
    Context, Event, Exit, PanicPolicy, Scripted, Selector, SelectorOptions, Simulation,
};

use crate::support::{SOON, again, millis, role, within};

type Log = Vec<String>;

/// Ten sources, alarms and posts of one batch, of which the third each fails as `fail` does; runs
/// until idle, counting the panics that come out.
fn batch(policy: PanicPolicy, fail: fn() -> io::Result<bool>) -> (Log, usize, Selector<Log>) {
    let simulation = Simulation::new(7);
    let mut selector: Selector<Log> =
        simulation.selector_with(SelectorOptions::new().panics(policy));
    selector.on_panic(|_, log| log.push("hook".to_owned()));
    selector.on_error(|_, error, log| log.push(error.to_string()));
    let poster = selector.poster();
    for number in 0..10 {
        let key = selector.add(Scripted);
        selector
            .on_readable(key, move |_, ctx: &mut Context<'_, Log>| {
                ctx.state.push(format!("source {number}"));
                if number == 3 { fail() } else { Ok(false) }
            })
            .unwrap();
        simulation.ready(key, Event::READ);
        selector.alarm(Duration::ZERO, move |ctx: &mut Context<'_, Log>| {
            ctx.state.push(format!("alarm {number}"));
            if number == 3 {
                let _ = fail();
            }
        });
        let task = move |ctx: &mut Context<'_, Log>| {
            ctx.state.push(format!("post {number}"));
            if number == 3 {
                let _ = fail();
            }
        };
        poster.post(task).unwrap();
    }
    let mut log = Log::new();
    let mut panics = 0;
    loop {
        match catch_unwind(AssertUnwindSafe(|| selector.run(&mut log).unwrap())) {
            Ok(exit) => {
                assert_eq!(exit, Exit::Idle);
                return (log, panics, selector);
            }
            Err(_) => panics += 1,
        }
    }
}

fn check_complete(log: &Log) {
    for what in ["source", "alarm", "post"] {
        for number in 0..10 {
            let name = format!("{what} {number}");
            assert_eq!(
                log.iter().filter(|entry| **entry == name).count(),
                1,
                "{name}"
            );
        }
    }
}

#[test]
fn a_panic_that_goes_on_loses_no_sibling() {
    // calloop pops what is due before it runs it, so that an error loses the rest for good.
    let (log, panics, mut selector) = batch(PanicPolicy::Propagate, || panic!("on purpose"));
    check_complete(&log);
    assert_eq!(panics, 3);
    selector.alarm(millis(1), |ctx| ctx.state.push("still usable".to_owned()));
    let mut log = Log::new();
    assert_eq!(selector.run(&mut log).unwrap(), Exit::Idle);
    assert_eq!(log, ["still usable"]);
}

#[test]
fn a_panic_that_is_contained_goes_to_the_hook() {
    let (log, panics, selector) = batch(PanicPolicy::Contain, || panic!("on purpose"));
    check_complete(&log);
    assert_eq!(panics, 0);
    assert_eq!(log.iter().filter(|entry| *entry == "hook").count(), 3);
    assert_eq!(selector.metrics().panics, 3);
}

#[test]
fn an_error_drops_its_handler_and_nothing_else() {
    let (log, panics, selector) =
        batch(PanicPolicy::Propagate, || Err(io::Error::other("no luck")));
    check_complete(&log);
    assert_eq!(panics, 0);
    assert_eq!(log.iter().filter(|entry| *entry == "no luck").count(), 1);
    assert_eq!(selector.metrics().errors, 1);
}

#[test]
fn would_block_and_interrupted_are_no_errors() {
    let simulation = Simulation::new(0);
    let mut selector = simulation.selector::<u32>();
    let key = selector.add(Scripted);
    simulation.ready(key, Event::READ);
    selector
        .on_readable(key, |_, ctx: &mut Context<'_, u32>| {
            *ctx.state += 1;
            match *ctx.state {
                1 => Err(io::ErrorKind::WouldBlock.into()),
                2 => Err(io::ErrorKind::Interrupted.into()),
                _ => Ok(false),
            }
        })
        .unwrap();
    let mut calls = 0;
    assert_eq!(selector.run(&mut calls).unwrap(), Exit::Idle);
    assert_eq!(calls, 3);
    assert_eq!(selector.metrics().errors, 0);
}

#[test]
fn a_periodic_task_survives_an_error_and_stops_itself() {
    // pulsar's test_periodic: the second run fails, the third stops.
    let simulation = Simulation::new(0);
    let mut selector = simulation.selector::<u32>();
    let start = simulation.now();
    selector.every(millis(10), |ctx| {
        *ctx.state += 1;
        match *ctx.state {
            2 => Err(io::Error::other("the second run fails")),
            3 => Ok(false),
            _ => Ok(true),
        }
    });
    let mut runs = 0;
    assert_eq!(selector.run(&mut runs).unwrap(), Exit::Idle);
    assert_eq!(runs, 3);
    assert_eq!(simulation.now() - start, millis(30));
    assert_eq!(selector.metrics().errors, 1);
}

#[test]
fn periodic_alarms_survive_the_panic_of_another_of_their_pass() {
    // pyre loses every alarm that was already collected to be armed again.
    let simulation = Simulation::new(0);
    let mut selector: Selector<Vec<u32>> = simulation.selector();
    for number in 0..5 {
        selector.alarm(millis(1), move |ctx: &mut Context<'_, Vec<u32>>| {
            ctx.state.push(number);
            assert!(number != 2, "on purpose");
            (ctx.state.len() < 20).then_some(millis(1))
        });
    }
    let mut log = Vec::new();
    let first = catch_unwind(AssertUnwindSafe(|| selector.run(&mut log).unwrap()));
    assert!(first.is_err());
    assert_eq!(selector.run(&mut log).unwrap(), Exit::Idle);
    assert_eq!(log[..9], [0, 1, 2, 3, 4, 0, 1, 3, 4]);
}

#[test]
fn a_periodic_task_that_is_cancelled_and_begun_again_rings_once_per_period() {
    // pulsar leaves the old time-out queued: two chains from then on.
    let simulation = Simulation::new(0);
    let mut selector: Selector<u32> = simulation.selector();
    let first = selector.every(millis(10), |ctx| *ctx.state += 1);
    let mut runs = 0;
    let exit = selector.run_timeout(&mut runs, millis(15)).unwrap();
    assert_eq!((exit, runs), (Exit::Deadline, 1));
    assert!(selector.cancel(first));
    selector.every(millis(10), |ctx| *ctx.state += 1);
    let exit = selector.run_timeout(&mut runs, millis(55)).unwrap();
    assert_eq!((exit, runs), (Exit::Deadline, 6));
}

#[test]
fn a_panic_aborts_the_process_where_that_is_asked_for() {
    use std::os::unix::process::ExitStatusExt;

    if role().is_some() {
        let options = SelectorOptions::new().panics(PanicPolicy::Abort);
        let mut selector = options.open::<()>().unwrap();
        selector.defer(|_| panic!("on purpose"));
        let _ = selector.run(&mut ());
        std::process::exit(0);
    }
    within(SOON, || {
        let mut child = again(
            "panics::a_panic_aborts_the_process_where_that_is_asked_for",
            "child",
        );
        // It says that it panics, which is nobody's concern.
        child.stderr(std::process::Stdio::null());
        let status = child.spawn().unwrap().wait().unwrap();
        assert_eq!(
            status.signal(),
            Some(nix::sys::signal::Signal::SIGABRT as i32)
        );
    });
}
