//! A selector inside another loop.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use calloop::generic::Generic;
use ipc_core::Ring;
use ipc_dispatch::{Context, Selector};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::signal::{Signal, raise};
use tokio::io::unix::AsyncFd;

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

/// A source, an alarm, a post and a ring one after the other; the log is complete with the last.
fn eventful() -> (Selector<Log>, UnixStream, Ring) {
    let mut inner = Selector::<Log>::new().unwrap();
    inner.embed().unwrap();
    let (ours, theirs) = pair();
    let (ring, peer) = Ring::pair().unwrap();
    let key = inner.add(ours);
    inner
        .on_readable(key, |_: &mut UnixStream, ctx: &mut Context<'_, Log>| {
            ctx.state.push("io");
            let poster = ctx.poster();
            ctx.alarm(millis(5), move |ctx: &mut Context<'_, Log>| {
                ctx.state.push("alarm");
                // From another thread, into the sleep of the outer loop.
                let poster = poster.clone();
                std::thread::spawn(move || {
                    std::thread::park_timeout(millis(5));
                    poster.post(|ctx| ctx.state.push("post")).unwrap();
                });
            });
            false
        })
        .unwrap();
    let key = inner.add(ring);
    inner
        .on_readable(key, |ring: &mut Ring, ctx: &mut Context<'_, Log>| {
            // Only a ring that was armed before the outer loop slept rings its doorbell.
            let mut buf = [0; 8];
            let count = ring.read(&mut buf)?;
            ctx.state.push("ring");
            std::io::Result::Ok(count > 0)
        })
        .unwrap();
    // What was changed from outside takes effect with a turn.
    inner.turn(&mut Log::new(), Some(Duration::ZERO)).unwrap();
    (inner, theirs, peer)
}

const EVENTS: [&str; 4] = ["io", "alarm", "post", "ring"];

/// Makes the next thing happen, where that is not the loop's own doing.
fn provoke(done: usize, theirs: &mut UnixStream, peer: &mut Ring) {
    match done {
        0 => theirs.write_all(b"x").unwrap(),
        3 => peer.write_all(b"x").unwrap(),
        _ => {}
    }
}

#[test]
#[expect(
    deprecated,
    reason = "what replaces it is unsafe to call; an owned descriptor meets its terms"
)]
fn a_selector_lives_in_tokio() {
    within(SOON, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .unwrap();
        let (mut inner, mut theirs, mut peer) = eventful();
        let log = runtime.block_on(async move {
            let number = inner.as_fd().try_clone_to_owned().unwrap();
            let outer = AsyncFd::with_interest(number, tokio::io::Interest::READABLE).unwrap();
            let mut log = Log::new();
            while log.len() < EVENTS.len() {
                provoke(log.len(), &mut theirs, &mut peer);
                let before = log.len();
                while log.len() == before {
                    let ready = tokio::time::timeout(Duration::from_secs(10), outer.readable());
                    let mut ready = ready.await.expect("tokio slept through it").unwrap();
                    // tokio hears of edges: it may forget this one only before the loop looks.
                    ready.clear_ready();
                    inner.turn(&mut log, Some(Duration::ZERO)).unwrap();
                }
            }
            log
        });
        assert_eq!(log, EVENTS);
    });
}

#[test]
fn a_selector_lives_in_calloop() {
    within(SOON, || {
        let (mut inner, mut theirs, mut peer) = eventful();
        let number = inner.as_fd().try_clone_to_owned().unwrap();
        let mut outer = calloop::EventLoop::<Log>::try_new().unwrap();
        outer
            .handle()
            .insert_source(
                Generic::new(number, calloop::Interest::READ, calloop::Mode::Level),
                move |_, _, log: &mut Log| {
                    inner.turn(log, Some(Duration::ZERO))?;
                    Ok(calloop::PostAction::Continue)
                },
            )
            .unwrap();
        let mut log = Log::new();
        while log.len() < EVENTS.len() {
            provoke(log.len(), &mut theirs, &mut peer);
            let before = (log.len(), Instant::now());
            while log.len() == before.0 {
                outer
                    .dispatch(Some(Duration::from_secs(10)), &mut log)
                    .unwrap();
                assert!(before.1.elapsed() < Duration::from_secs(9), "calloop slept");
            }
        }
        assert_eq!(log, EVENTS);
    });
}
