//! pyre's ipc tests, as behaviour.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use ipc_core::{AnyChannel, Inherit, Pipe, Port, Socket, inherited};
use ipc_dispatch::{Context, Exit, Scheduler, Selector, Simulation};
use ipc_marshal::{Duct, DuctOptions, TryRecvError};
use nix::sys::signal::{Signal, raise};

use crate::support::{SOON, again, millis, role, within};

/// The deadlines of pyre's alarm tests, and the order in which they must ring.
const ALARMS: [u64; 7] = [0, 1000, 500, 250, 750, 300, 500];
const ORDER: [u64; 7] = [0, 250, 300, 500, 500, 750, 1000];

#[test]
fn scheduler_alarms() {
    // Driven by hand, on a clock of our own: nothing sleeps.
    let mut now = Instant::now();
    let mut scheduler = Scheduler::new(now);
    for delay in ALARMS {
        scheduler.arm(now + millis(delay), delay);
    }
    let mut rung = Vec::new();
    while let Some(wait) = scheduler.poll(now) {
        now += wait;
        while let Some(fired) = scheduler.awaken(now) {
            rung.push(fired.value);
            scheduler.finish(fired.id);
        }
    }
    assert_eq!(rung, ORDER);
    assert_eq!(scheduler.poll(now), None);
}

#[test]
fn selector_alarms() {
    let simulation = Simulation::new(0);
    let mut selector = simulation.selector::<Vec<u64>>();
    for delay in ALARMS {
        selector.alarm(millis(delay), move |ctx| ctx.state.push(delay));
    }
    let start = simulation.now();
    let mut rung = Vec::new();
    assert_eq!(selector.run(&mut rung).unwrap(), Exit::Idle);
    assert_eq!(rung, ORDER);
    assert_eq!(simulation.now() - start, millis(1000));
}

#[test]
fn selector_signals() {
    within(SOON, || {
        let mut selector = Selector::<()>::new().unwrap();
        selector
            .on_signal(Signal::SIGHUP as i32, |ctx| ctx.stop())
            .unwrap();
        // As in pyre the signal lands inside a handler, and here in the wait as well.
        selector.alarm(millis(5), |_| raise(Signal::SIGHUP).unwrap());
        selector.alarm(Duration::from_secs(3600), |_| ());
        assert_eq!(selector.run(&mut ()).unwrap(), Exit::Stopped);
    });
}

/// What both ends of `pickler_over_*` do: a write handler arms the read handler, sends and goes.
fn converse(duct: Duct<String, String>, say: &'static str) -> Vec<String> {
    let mut selector = Selector::<Vec<String>>::new().unwrap();
    let key = selector.add(duct);
    selector
        .on_writable(key, move |duct: &mut Duct<String, String>, ctx| {
            ctx.on_message(
                key,
                |_: &mut Duct<String, String>, message: Result<String, TryRecvError>, ctx| {
                    ctx.state.push(message.unwrap());
                    false
                },
            )
            .unwrap();
            duct.try_send(say.to_owned()).unwrap();
            false
        })
        .unwrap();
    let mut heard = Vec::new();
    assert_eq!(selector.run(&mut heard).unwrap(), Exit::Idle);
    heard
}

#[test]
fn pickler_over_pipe() {
    if role().is_some() {
        let inbound = inherited(3).unwrap();
        let pipe = Pipe::from_fds(inbound, inherited(4).unwrap());
        let heard = converse(Duct::from_channel(AnyChannel::from(pipe)), "goodbye");
        assert_eq!(heard, ["hello"]);
        return;
    }
    within(SOON, || {
        let (ours, theirs) = Pipe::pair().unwrap();
        let (inbound, outbound) = theirs.into_fds();
        let mut child = Inherit::new()
            .give(3, inbound)
            .give(4, outbound)
            .spawn(&again("pyre::pickler_over_pipe", "child"))
            .unwrap();
        let heard = converse(Duct::from_channel(AnyChannel::from(ours)), "hello");
        assert_eq!(heard, ["goodbye"]);
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn pickler_over_tcp() {
    if role().is_some() {
        // The server's address comes over the pipe.
        let mut pipe = Pipe::from_fds(inherited(3).unwrap(), inherited(4).unwrap());
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        let address = text.parse().unwrap();
        assert_eq!(converse(Duct::connect(&address).unwrap(), "hello"), ["hi"]);
        return;
    }
    within(SOON, || {
        let (ours, theirs) = Pipe::pair().unwrap();
        let (inbound, outbound) = theirs.into_fds();
        let mut child = Inherit::new()
            .give(3, inbound)
            .give(4, outbound)
            .spawn(&again("pyre::pickler_over_tcp", "child"))
            .unwrap();
        let port = Port::bind(&"tcp:127.0.0.1:0".parse().unwrap()).unwrap();
        let address = port.address().to_string();
        let mut selector = Selector::<Vec<String>>::new().unwrap();
        let pipe = selector.add(ours);
        selector
            .on_writable(pipe, move |pipe: &mut Pipe, _| {
                pipe.write_all(address.as_bytes()).unwrap();
                ipc_dispatch::Control::Close
            })
            .unwrap();
        let port = selector.add(port);
        selector
            .on_readable(
                port,
                |port: &mut Port, ctx: &mut Context<'_, Vec<String>>| {
                    let options = DuctOptions::new().handshake(true);
                    let peer: Duct<String, String> = options.from_channel(port.try_accept()?);
                    let peer = ctx.add(peer);
                    ctx.on_message(
                        peer,
                        |duct: &mut Duct<String, String>,
                         message: Result<String, TryRecvError>,
                         ctx| {
                            ctx.state.push(message.unwrap());
                            duct.try_send("hi".to_owned()).unwrap();
                            false
                        },
                    )?;
                    Ok::<_, std::io::Error>(false)
                },
            )
            .unwrap();
        let mut heard = Vec::new();
        assert_eq!(selector.run(&mut heard).unwrap(), Exit::Idle);
        assert_eq!(heard, ["hello"]);
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn selector_write_during_read() {
    within(SOON, || {
        let mut selector = Selector::<Vec<&str>>::new().unwrap();
        let (ours, mut theirs) = Socket::pair().unwrap();
        theirs.write_all(b"ping").unwrap();
        let key = selector.add(ours);
        // pyre's guard: after two seconds the test has failed.
        let guard = selector.alarm(Duration::from_secs(2), |ctx| ctx.stop());
        selector
            .on_readable(
                key,
                move |socket: &mut Socket, ctx: &mut Context<'_, Vec<&str>>| {
                    socket.read_exact(&mut [0; 4])?;
                    ctx.state.push("read");
                    ctx.on_writable(
                        key,
                        move |socket: &mut Socket, ctx: &mut Context<'_, Vec<&str>>| {
                            socket.write_all(b"pong")?;
                            ctx.state.push("write");
                            ctx.cancel(guard);
                            Ok::<_, std::io::Error>(false)
                        },
                    )?;
                    Ok::<_, std::io::Error>(true)
                },
            )
            .unwrap();
        let mut log = Vec::new();
        let poster = selector.poster();
        let reader = std::thread::spawn(move || {
            let mut buf = [0; 4];
            theirs.read_exact(&mut buf).unwrap();
            poster.stop();
            buf
        });
        assert_eq!(selector.run(&mut log).unwrap(), Exit::Stopped);
        assert_eq!(
            (log, reader.join().unwrap()),
            (vec!["read", "write"], *b"pong")
        );
    });
}
