//! A selector inside another loop.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ipc_dispatch::{Context, Selector};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::signal::{Signal, raise};

use crate::support::{SOON, millis, pair, within};

type Log = Vec<&'static str>;

/// Turns the inner loop only when the outer one says so, until the log is `wanted` long.
fn drive(inner: &mut Selector<Log>, log: &mut Log, wanted: usize, mut each: impl FnMut(usize)) {
    let mut outer = Poll::new().unwrap();
    let mut events = Events::with_capacity(8);
    let number = inner.as_fd().as_raw_fd();
    let mut source = SourceFd(&number);
    outer
        .registry()
        .register(&mut source, Token(0), Interest::READABLE)
        .unwrap();
    while log.len() < wanted {
        each(log.len());
        outer
            .poll(&mut events, Some(Duration::from_secs(10)))
            .unwrap();
        assert!(!events.is_empty(), "the outer loop slept through {log:?}");
        inner.turn(log, Some(Duration::ZERO)).unwrap();
    }
}

#[test]
fn everything_goes_on_while_the_outer_loop_sleeps_on_one_descriptor() {
    within(SOON, || {
        let mut inner = Selector::<Log>::new().unwrap();
        inner.embed().unwrap();
        let (ours, mut theirs) = pair();
        let key = inner.add(ours);
        inner
            .on_readable(key, |_: &mut UnixStream, ctx: &mut Context<'_, Log>| {
                ctx.state.push("io");
                ctx.alarm(millis(5), |ctx: &mut Context<'_, Log>| {
                    ctx.state.push("alarm");
                    ctx.defer(|ctx| {
                        ctx.state.push("deferred");
                        ctx.on_idle(|ctx| ctx.state.push("idle"));
                    });
                });
                false
            })
            .unwrap();
        inner
            .on_signal(Signal::SIGWINCH as i32, |ctx: &mut Context<'_, Log>| {
                ctx.state.push("signal")
            })
            .unwrap();
        let poster = inner.poster();
        let mut log = Log::new();
        // What was changed from outside takes effect with a turn.
        inner.turn(&mut log, Some(Duration::ZERO)).unwrap();
        drive(&mut inner, &mut log, 6, |done| match done {
            0 => theirs.write_all(b"x").unwrap(),
            4 => poster.post(|ctx| ctx.state.push("post")).unwrap(),
            5 => raise(Signal::SIGWINCH).unwrap(),
            _ => {}
        });
        assert_eq!(log, ["io", "alarm", "deferred", "idle", "post", "signal"]);
    });
}

#[test]
fn a_post_before_the_first_turn_wakes_the_outer_loop() {
    within(SOON, || {
        let mut inner = Selector::<Log>::new().unwrap();
        let poster = inner.poster();
        poster.post(|ctx| ctx.state.push("early")).unwrap();
        inner.embed().unwrap();
        let mut log = Log::new();
        drive(&mut inner, &mut log, 1, |_| {});
        assert_eq!(log, ["early"]);
    });
}
