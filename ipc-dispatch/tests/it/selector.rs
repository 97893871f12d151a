//! Handlers of sources: who runs, when, and for how long.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ipc_dispatch::{Control, Exit, Selector};

use crate::support::{SOON, millis, pair, within};

#[test]
fn a_loop_with_nothing_to_do_is_idle() {
    within(SOON, || {
        let mut selector = Selector::new().unwrap();
        assert_eq!(selector.run(&mut ()).unwrap(), Exit::Idle);
        selector.add(pair().0);
        assert_eq!(selector.run(&mut ()).unwrap(), Exit::Idle);
    });
}

#[test]
fn a_loop_whose_last_alarm_has_rung_is_idle() {
    within(SOON, || {
        let mut selector = Selector::<Vec<u32>>::new().unwrap();
        for (delay, name) in [(4, 3), (0, 0), (2, 1), (2, 2)] {
            selector.alarm(millis(delay), move |ctx| ctx.state.push(name));
        }
        let mut rang = Vec::new();
        assert_eq!(selector.run(&mut rang).unwrap(), Exit::Idle);
        assert_eq!(rang, [0, 1, 2, 3]);
    });
}

#[test]
fn a_stop_before_the_run_is_kept() {
    within(SOON, || {
        let mut selector = Selector::new().unwrap();
        selector.alarm(Duration::from_secs(3600), |_| ());
        selector.stop();
        assert_eq!(selector.run(&mut ()).unwrap(), Exit::Stopped);
        let poster = selector.poster();
        let thread = std::thread::spawn(move || poster.stop());
        assert_eq!(selector.run(&mut ()).unwrap(), Exit::Stopped);
        thread.join().unwrap();
        assert_eq!(
            selector.run_timeout(&mut (), millis(1)).unwrap(),
            Exit::Deadline
        );
    });
}

#[test]
fn a_post_wakes_a_loop_that_sleeps() {
    within(SOON, || {
        let mut selector = Selector::<u32>::new().unwrap();
        selector.set_persistent(true);
        let poster = selector.poster();
        let thread = std::thread::spawn(move || {
            for _ in 0..1000 {
                poster.post(|ctx| *ctx.state += 1).unwrap();
            }
            poster.post(|ctx| ctx.stop()).unwrap();
            poster
        });
        let mut count = 0;
        assert_eq!(selector.run(&mut count).unwrap(), Exit::Stopped);
        assert_eq!(count, 1000);
        let poster = thread.join().unwrap();
        drop(selector);
        assert!(poster.is_disconnected());
        assert!(poster.post(|_| ()).is_err());
    });
}

#[test]
fn a_handler_that_reads_little_runs_for_as_long_as_there_is_something() {
    within(SOON, || {
        let mut selector = Selector::<usize>::new().unwrap();
        let (left, mut right) = pair();
        right.write_all(&[7; 64]).unwrap();
        drop(right);
        let key = selector.add(left);
        selector
            .on_readable(key, |socket: &mut UnixStream, ctx| {
                let count = socket.read(&mut [0])?;
                *ctx.state += count;
                Ok::<_, std::io::Error>(count > 0)
            })
            .unwrap();
        let mut total = 0;
        assert_eq!(selector.run(&mut total).unwrap(), Exit::Idle);
        assert_eq!(total, 64);
        assert_eq!(selector.metrics().handlers, 65);
    });
}

#[test]
fn a_write_handler_armed_in_a_read_handler_of_the_same_socket_runs() {
    within(SOON, || {
        let mut selector = Selector::<Vec<&str>>::new().unwrap();
        let (left, mut right) = pair();
        right.write_all(b"go").unwrap();
        let key = selector.add(left);
        selector
            .on_readable(key, move |socket: &mut UnixStream, ctx| {
                socket.read_exact(&mut [0; 2]).unwrap();
                ctx.state.push("read");
                ctx.on_writable(key, |socket: &mut UnixStream, ctx| {
                    socket.write_all(b"done").unwrap();
                    ctx.state.push("write");
                    Control::Close
                })
                .unwrap();
                false
            })
            .unwrap();
        let mut log = Vec::new();
        assert_eq!(selector.run(&mut log).unwrap(), Exit::Idle);
        assert_eq!(log, ["read", "write"]);
        assert!(!selector.contains(key));
    });
}

#[test]
fn the_loop_ends_after_its_last_alarm_or_task() {
    within(SOON, || {
        let mut selector = Selector::<Vec<u32>>::new().unwrap();
        selector.alarm(millis(1), |ctx| ctx.state.push(1));
        let mut log = Vec::new();
        assert_eq!(selector.run(&mut log).unwrap(), Exit::Idle);
        selector.defer(|ctx| {
            ctx.state.push(2);
            ctx.on_idle(|ctx| ctx.state.push(3));
        });
        assert_eq!(selector.run(&mut log).unwrap(), Exit::Idle);
        assert_eq!(log, [1, 2, 3]);
    });
}

#[test]
fn a_turn_that_has_run_something_does_not_sleep() {
    within(SOON, || {
        let mut selector = Selector::<Vec<&str>>::new().unwrap();
        selector.set_persistent(true);
        let mut log = Vec::new();
        // With no time-out, each of these would sleep for ever.
        selector
            .poster()
            .post(|ctx| ctx.state.push("post"))
            .unwrap();
        assert_eq!(selector.turn(&mut log, None).unwrap(), 1);
        selector.defer(|ctx| ctx.state.push("task"));
        assert_eq!(selector.turn(&mut log, None).unwrap(), 1);
        selector.alarm(Duration::ZERO, |ctx| ctx.state.push("alarm"));
        assert_eq!(selector.turn(&mut log, None).unwrap(), 1);
        drop(selector.spawn(async {}));
        assert_eq!(selector.turn(&mut log, None).unwrap(), 1);
        // An alarm to come is slept for, and rings in the turn after.
        selector.alarm(millis(5), |ctx| ctx.state.push("later"));
        while selector.turn(&mut log, None).unwrap() == 0 {}
        assert_eq!(log, ["post", "task", "alarm", "later"]);
        // What is ready is handled in the same turn all the same.
        let (left, mut right) = pair();
        right.write_all(b"x").unwrap();
        let key = selector.add(left);
        selector
            .on_readable(key, |_: &mut UnixStream, _| Control::Close)
            .unwrap();
        selector.defer(|_| ());
        assert_eq!(selector.turn(&mut log, None).unwrap(), 2);
    });
}
