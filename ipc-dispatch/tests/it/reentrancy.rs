//! What handlers may do to the loop they run in.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ipc_core::Port;
use ipc_dispatch::{
    Context, Control, Event, Exit, Interest, Key, Next, Scripted, Selector, SelectorOptions,
    Simulation, Step, Trigger,
};

use crate::support::{SOON, millis, pair, within};

type Log = Vec<&'static str>;

/// A simulated loop with sources that are all readable.
fn ready<S: 'static, const N: usize>(seed: u64) -> (Simulation, Selector<S>, [Key<Scripted>; N]) {
    let simulation = Simulation::new(seed);
    let mut selector = simulation.selector();
    let keys = [(); N].map(|()| selector.add(Scripted));
    for key in keys {
        simulation.ready(key, Event::READ);
    }
    (simulation, selector, keys)
}

#[test]
fn a_handler_that_registers_itself_again_runs_once_per_readiness() {
    // pyre runs it again in the same pass, for ever if it always does so.
    fn again(ctx: &mut Context<'_, Log>, key: Key<Scripted>) {
        ctx.on_readable(key, move |_, ctx: &mut Context<'_, Log>| {
            ctx.state.push("ran");
            again(ctx, key);
            false
        })
        .unwrap();
    }
    let (_, mut selector, [key]) = ready::<Log, 1>(0);
    selector.defer(move |ctx| again(ctx, key));
    let mut log = Log::new();
    for turns in 1..=100 {
        selector.turn(&mut log, Some(Duration::ZERO)).unwrap();
        assert_eq!(log.len(), turns);
    }
}

#[test]
fn a_source_that_is_closed_by_another_does_not_run_in_the_same_pass() {
    for seed in 0..32 {
        let (simulation, mut selector, [one, two]) = ready::<Log, 2>(seed);
        for (key, other) in [(one, two), (two, one)] {
            selector
                .on_readable(key, move |_, ctx: &mut Context<'_, Log>| {
                    ctx.state.push("ran");
                    ctx.close(other);
                    Control::Close
                })
                .unwrap();
        }
        let mut log = Log::new();
        assert_eq!(selector.run(&mut log).unwrap(), Exit::Idle);
        assert_eq!(log, ["ran"], "with seed {seed}");
        assert!(selector.sources().is_empty());
        assert_eq!(simulation.take_trace().len(), 1);
    }
}

#[test]
fn a_number_that_is_used_again_at_once_gets_only_its_own_events() {
    within(Duration::from_secs(60), || {
        let mut selector = Selector::<(u64, u64)>::new().unwrap();
        let rounds = 100_000;
        let mut runs = (0, 0);
        for _ in 0..rounds {
            let (one, mut peer_one) = pair();
            let (two, mut peer_two) = pair();
            let number = two.as_raw_fd();
            let (killer, victim) = (selector.add(one), selector.add(two));
            selector
                .on_readable(
                    killer,
                    move |_: &mut UnixStream, ctx: &mut Context<'_, (u64, u64)>| {
                        ctx.close(victim);
                        let (fresh, _) = pair();
                        // Tests run side by side, so not always.
                        ctx.state.1 += u64::from(fresh.as_raw_fd() == number);
                        let heir = ctx.add(fresh);
                        ctx.on_writable(
                            heir,
                            |_: &mut UnixStream, ctx: &mut Context<'_, (u64, u64)>| {
                                ctx.state.0 += 1;
                                Control::Close
                            },
                        )
                        .unwrap();
                        Control::Close
                    },
                )
                .unwrap();
            selector
                .on_readable(
                    victim,
                    |_: &mut UnixStream, ctx: &mut Context<'_, (u64, u64)>| {
                        ctx.state.0 += 1_000_000;
                    },
                )
                .unwrap();
            // In this order, so that both are ready and the killer is first.
            peer_one.write_all(b"x").unwrap();
            peer_two.write_all(b"x").unwrap();
            assert_eq!(selector.run(&mut runs).unwrap(), Exit::Idle);
        }
        assert_eq!(runs.0, rounds);
        assert!(runs.1 > rounds / 10, "{} numbers were used again", runs.1);
    });
}

#[test]
fn stale_keys_name_nothing() {
    let simulation = Simulation::new(0);
    let mut selector = simulation.selector::<()>();
    let first = selector.add(Scripted);
    selector.close(first);
    for _ in 0..70_000 {
        selector.turn(&mut (), Some(Duration::ZERO)).unwrap();
        let key = selector.add(Scripted);
        assert!(!selector.contains(first));
        assert!(!selector.close(first));
        assert!(selector.remove(first).is_none());
        assert!(selector.contains(key));
        selector.close(key);
    }
}

#[test]
fn several_handlers_of_one_source_run_in_their_order_and_each_goes_its_own_way() {
    let (_, mut selector, [key]) = ready::<Log, 1>(0);
    for (name, keep) in [("one", true), ("two", false), ("three", true)] {
        selector
            .on_readable(key, move |_, ctx: &mut Context<'_, Log>| {
                ctx.state.push(name);
                keep
            })
            .unwrap();
    }
    let mut log = Log::new();
    for _ in 0..2 {
        selector.turn(&mut log, None).unwrap();
    }
    assert_eq!(log, ["one", "two", "three", "one", "three"]);
}

#[test]
fn a_handler_can_change_what_it_waits_for() {
    let simulation = Simulation::new(0);
    let mut selector = simulation.selector::<Log>();
    let key = selector.add(Scripted);
    simulation.ready(key, Event::READ | Event::WRITE);
    let mut calls = 0;
    selector
        .on_readable(key, move |_, ctx: &mut Context<'_, Log>| {
            calls += 1;
            let writes = ctx.event().contains(Event::WRITE);
            ctx.state.push(if writes { "write" } else { "read" });
            match calls {
                1 => Control::Replace(Interest::Write),
                2 => Control::Keep,
                _ => Control::Drop,
            }
        })
        .unwrap();
    assert_eq!(simulation.interest(key), Event::READ);
    let mut log = Log::new();
    selector.turn(&mut log, None).unwrap();
    selector.turn(&mut log, None).unwrap();
    assert_eq!(simulation.interest(key), Event::WRITE);
    assert_eq!(selector.run(&mut log).unwrap(), Exit::Idle);
    assert_eq!(log, ["read", "write", "write"]);
    assert_eq!(simulation.interest(key), Event::NONE);
}

#[test]
fn an_alarm_that_an_earlier_one_cancels_does_not_ring() {
    let simulation = Simulation::new(0);
    let mut selector = simulation.selector::<Log>();
    let due = simulation.now() + millis(1);
    // The first learns the second's id by then.
    let (tell, told) = std::sync::mpsc::channel();
    selector.alarm_at(due, move |ctx| {
        ctx.state.push("first");
        assert!(ctx.cancel(told.try_recv().unwrap()));
    });
    let second = selector.alarm_at(due, |ctx: &mut Context<'_, Log>| ctx.state.push("second"));
    tell.send(second).unwrap();
    let mut log = Log::new();
    assert_eq!(selector.run(&mut log).unwrap(), Exit::Idle);
    assert_eq!(log, ["first"]);
    assert!(!selector.cancel(second));
}

#[test]
fn an_alarm_that_cancels_itself_does_not_ring_again() {
    let simulation = Simulation::new(0);
    let mut selector = simulation.selector::<u32>();
    let (tell, told) = std::sync::mpsc::channel();
    let id = selector.alarm(millis(1), move |ctx: &mut Context<'_, u32>| {
        *ctx.state += 1;
        if *ctx.state == 3 {
            assert!(ctx.cancel(told.try_recv().unwrap()));
        }
        Some(millis(1))
    });
    tell.send(id).unwrap();
    let mut count = 0;
    assert_eq!(selector.run(&mut count).unwrap(), Exit::Idle);
    assert_eq!(count, 3);
}

#[test]
fn neither_a_task_that_defers_itself_nor_an_alarm_for_now_keeps_others_waiting() {
    fn forever(ctx: &mut Context<'_, Log>) {
        ctx.state.push("task");
        ctx.defer(forever);
    }
    let (simulation, mut selector, [key]) = ready::<Log, 1>(0);
    selector.defer(forever);
    let poster = selector.poster();
    selector.alarm(Duration::ZERO, move |ctx: &mut Context<'_, Log>| {
        ctx.state.push("alarm");
        poster.post(|ctx| ctx.state.push("post")).unwrap();
        Next::After(Duration::ZERO)
    });
    selector
        .on_readable(key, |_, ctx: &mut Context<'_, Log>| {
            ctx.state.push("io");
            false
        })
        .unwrap();
    let mut log = Log::new();
    selector.turn(&mut log, None).unwrap();
    assert_eq!(log, ["task", "alarm", "io"]);
    selector.turn(&mut log, None).unwrap();
    assert_eq!(log[3..], ["post", "task", "alarm"]);
    // pulsar's loop would not have come back from the alarm.
    assert!(!simulation.take_trace().contains(&Step::Sleep(millis(1))));
}

#[test]
fn a_source_that_is_always_ready_does_not_delay_an_alarm_beyond_the_slice() {
    within(SOON, || {
        let options = SelectorOptions::new().busy_max(millis(5));
        let mut selector = options.open::<u32>().unwrap();
        let mut peers = Vec::new();
        for _ in 0..64 {
            let (ours, mut theirs) = pair();
            theirs.write_all(b"x").unwrap();
            peers.push(theirs);
            let key = selector.add(ours);
            selector
                .on_readable(key, |_: &mut UnixStream, ctx: &mut Context<'_, u32>| {
                    // Never reads, and takes a millisecond of every turn.
                    let began = std::time::Instant::now();
                    while began.elapsed() < millis(1) {
                        std::hint::spin_loop();
                    }
                    *ctx.state += 1;
                })
                .unwrap();
        }
        selector.alarm(millis(10), |ctx| ctx.stop());
        let mut runs = 0;
        assert_eq!(selector.run(&mut runs).unwrap(), Exit::Stopped);
        // Without the slice all 64 would have run in one go.
        assert!(
            runs < 64,
            "{runs} handlers ran before an alarm that was due after 10"
        );
        drop(peers);
    });
}

#[test]
fn level_is_told_again_and_again_and_edge_once() {
    within(SOON, || {
        for (trigger, expected) in [(Trigger::Level, 64), (Trigger::Edge, 1)] {
            let mut selector = Selector::<u32>::new().unwrap();
            let (ours, mut theirs) = pair();
            theirs.write_all(&[0; 65_536]).unwrap();
            let key = selector.add_with(ours, trigger);
            selector
                .on_readable(
                    key,
                    |socket: &mut UnixStream, ctx: &mut Context<'_, u32>| {
                        socket.read_exact(&mut [0; 1024])?;
                        *ctx.state += 1;
                        Ok::<_, std::io::Error>(true)
                    },
                )
                .unwrap();
            let mut calls = 0;
            for _ in 0..100 {
                selector.turn(&mut calls, Some(Duration::ZERO)).unwrap();
            }
            assert_eq!(calls, expected, "{trigger:?}");
        }
    });
}

#[test]
fn an_edge_that_was_not_drained_runs_again_without_asking_the_system() {
    within(SOON, || {
        let mut selector = Selector::<u32>::new().unwrap();
        let (ours, mut theirs) = pair();
        theirs.write_all(&[0; 64]).unwrap();
        let key = selector.add_with(ours, Trigger::Edge);
        selector
            .on_readable(
                key,
                |socket: &mut UnixStream, ctx: &mut Context<'_, u32>| {
                    Ok::<_, std::io::Error>(match socket.read(&mut [0]) {
                        Ok(_) => {
                            *ctx.state += 1;
                            Control::Again
                        }
                        Err(_) => Control::Close,
                    })
                },
            )
            .unwrap();
        let mut calls = 0;
        assert_eq!(selector.run(&mut calls).unwrap(), Exit::Idle);
        assert_eq!(calls, 64);
    });
}

#[test]
fn a_regular_file_is_always_ready() {
    // pyre's selectors-based dispatcher cannot wait for one and never recovers.
    within(SOON, || {
        let mut selector = Selector::<Vec<u8>>::new().unwrap();
        let mut file = tempfile();
        file.write_all(b"contents").unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let key = selector.add(ipc_dispatch::Descriptor(file));
        selector
            .on_readable(
                key,
                |file: &mut ipc_dispatch::Descriptor<std::fs::File>,
                 ctx: &mut Context<'_, Vec<u8>>| {
                    let mut buf = [0; 3];
                    let count = file.0.read(&mut buf)?;
                    ctx.state.extend_from_slice(&buf[..count]);
                    Ok::<_, std::io::Error>(count > 0)
                },
            )
            .unwrap();
        let mut bytes = Vec::new();
        assert_eq!(selector.run(&mut bytes).unwrap(), Exit::Idle);
        assert_eq!(bytes, b"contents");
    });
}

fn tempfile() -> std::fs::File {
    let fd = nix::fcntl::open(
        &std::env::temp_dir(),
        nix::fcntl::OFlag::O_TMPFILE | nix::fcntl::OFlag::O_RDWR,
        nix::sys::stat::Mode::S_IRUSR,
    );
    std::fs::File::from(fd.unwrap())
}

#[test]
fn urgent_data_runs_only_the_handler_for_exceptions() {
    within(SOON, || {
        let mut port = Port::bind(&"tcp:127.0.0.1:0".parse().unwrap()).unwrap();
        let address: std::net::SocketAddr =
            port.address().to_string()["tcp:".len()..].parse().unwrap();
        let peer = std::net::TcpStream::connect(address).unwrap();
        let ours = port.accept().unwrap();
        let mut selector = Selector::<Log>::new().unwrap();
        let key = selector.add(ours);
        selector
            .on_readable(key, |_, ctx: &mut Context<'_, Log>| {
                ctx.state.push("read");
                false
            })
            .unwrap();
        selector
            .on_exception(key, |_, ctx: &mut Context<'_, Log>| {
                ctx.state.push("exception");
                ctx.stop();
                false
            })
            .unwrap();
        nix::sys::socket::send(peer.as_raw_fd(), b"!", nix::sys::socket::MsgFlags::MSG_OOB)
            .unwrap();
        let mut log = Log::new();
        assert_eq!(selector.run(&mut log).unwrap(), Exit::Stopped);
        assert_eq!(log, ["exception"]);
        drop(peer);
        assert_eq!(selector.run(&mut log).unwrap(), Exit::Idle);
        assert_eq!(log, ["exception", "read"]);
    });
}

#[test]
fn a_hang_up_is_told_once_to_a_source_that_waits_for_exceptions_only() {
    within(SOON, || {
        let mut selector = Selector::<u32>::new().unwrap();
        let (ours, theirs) = pair();
        drop(theirs);
        let key = selector.add(ours);
        selector
            .on_exception(key, |_, ctx: &mut Context<'_, u32>| {
                assert!(ctx.event().contains(Event::HANGUP));
                *ctx.state += 1;
            })
            .unwrap();
        let mut calls = 0;
        assert_eq!(
            selector.run_timeout(&mut calls, millis(50)).unwrap(),
            Exit::Deadline
        );
        assert_eq!(calls, 1);
        assert!(selector.metrics().waits < 10, "it does not spin");
    });
}

#[test]
fn a_source_without_handlers_is_not_waited_for() {
    // An empty mask would report the hang-up for ever.
    within(SOON, || {
        let mut selector = Selector::<()>::new().unwrap();
        let (ours, theirs) = pair();
        let key = selector.add(ours);
        selector.on_readable(key, |_, _| false).unwrap();
        drop(theirs);
        selector.set_persistent(true);
        assert_eq!(
            selector.run_timeout(&mut (), millis(50)).unwrap(),
            Exit::Deadline
        );
        assert!(selector.metrics().waits < 10);
        assert!(selector.contains(key));
        assert!(selector.remove(key).is_some());
    });
}
