//! Accepting, limits, time-outs and the graceful end.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ipc_core::{AnyChannel, Outbound, Port};
use ipc_dispatch::{Context, Exit, Selector, Server, ServerOptions, Stream};
use ipc_marshal::{Duct, DuctOptions, TryRecvError};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::support::{SOON, again, millis, role, within};

fn port() -> Port {
    Port::bind(&"tcp:127.0.0.1:0".parse().unwrap()).unwrap()
}

/// A server that echoes lines, and stops the loop when told to.
fn echo(selector: &mut Selector<u32>, port: Port, options: ServerOptions) -> Server {
    selector
        .serve(port, options, |_, _| {
            Ok(|stream: &mut Stream, ctx: &mut Context<'_, u32>| {
                while let Some(line) = stream.try_read_until(b"\n")? {
                    *ctx.state += 1;
                    if line == b"stop\n" {
                        ctx.stop();
                    }
                    stream.try_write_all(&line)?;
                }
                io::Result::Ok(!stream.is_ended())
            })
        })
        .unwrap()
}

fn ask(channel: &mut AnyChannel, line: &[u8]) -> io::Result<Vec<u8>> {
    channel.write_all(line)?;
    let mut answer = vec![0; line.len()];
    channel.read_exact(&mut answer)?;
    Ok(answer)
}

#[test]
fn more_clients_than_allowed_wait_for_their_turn() {
    within(SOON, || {
        let port = port();
        let address = port.address().clone();
        let mut selector = Selector::<u32>::new().unwrap();
        let server = echo(&mut selector, port, ServerOptions::new().connections_max(2));
        let poster = selector.poster();
        let clients = std::thread::spawn(move || {
            let mut open: Vec<_> = (0..6)
                .map(|_| AnyChannel::connect(&address).unwrap())
                .collect();
            for mut client in open.drain(..) {
                assert_eq!(ask(&mut client, b"hello\n").unwrap(), b"hello\n");
            }
            poster.stop();
        });
        let mut lines = 0;
        assert_eq!(selector.run(&mut lines).unwrap(), Exit::Stopped);
        clients.join().unwrap();
        assert_eq!((lines, server.accepted()), (6, 6));
    });
}

#[test]
fn an_idle_client_is_closed_and_a_busy_one_is_not() {
    within(SOON, || {
        let port = port();
        let address = port.address().clone();
        let mut selector = Selector::<u32>::new().unwrap();
        let options = ServerOptions::new().idle_timeout(millis(400));
        let _server = echo(&mut selector, port, options);
        let poster = selector.poster();
        let clients = std::thread::spawn(move || {
            let mut idle = AnyChannel::connect(&address).unwrap();
            let mut busy = AnyChannel::connect(&address).unwrap();
            let began = Instant::now();
            while began.elapsed() < millis(1000) {
                ask(&mut busy, b"x\n").unwrap();
                std::thread::park_timeout(millis(5));
            }
            assert_eq!(idle.read(&mut [0]).unwrap(), 0, "the idle one was closed");
            poster.stop();
        });
        selector.run(&mut 0).unwrap();
        clients.join().unwrap();
        assert_eq!(selector.metrics().errors, 1, "the time-out was reported");
    });
}

#[test]
fn a_half_closed_client_still_gets_its_answer() {
    within(SOON, || {
        let port = port();
        let mut client = AnyChannel::connect(port.address()).unwrap();
        // More than the system buffers, and the end, before anything is answered.
        let line = [vec![b'y'; 500_000], b"\n".to_vec()].concat();
        let sent = line.clone();
        let reader = std::thread::spawn(move || {
            client.write_all(&sent).unwrap();
            client.shutdown().unwrap();
            std::thread::park_timeout(millis(20));
            let mut bytes = Vec::new();
            client.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let mut selector = Selector::<u32>::new().unwrap();
        let server = echo(&mut selector, port, ServerOptions::new());
        let mut lines = 0;
        while server.accepted() == 0 || !server.is_empty() {
            selector.turn(&mut lines, Some(millis(5))).unwrap();
        }
        assert_eq!(reader.join().unwrap(), line);
    });
}

#[test]
fn draining_finishes_what_was_asked_and_then_is_idle() {
    within(SOON, || {
        let port = port();
        let address = port.address().clone();
        let mut selector = Selector::<u32>::new().unwrap();
        let server = echo(&mut selector, port, ServerOptions::new());
        let poster = selector.poster();
        let clients = std::thread::spawn({
            let address = address.clone();
            move || {
                let mut quiet = AnyChannel::connect(&address).unwrap();
                ask(&mut quiet, b"x\n").unwrap();
                let mut asking = AnyChannel::connect(&address).unwrap();
                asking.write_all(b"in flight\nstop\n").unwrap();
                let mut text = String::new();
                asking.read_to_string(&mut text).unwrap();
                assert_eq!(text, "in flight\nstop\n");
                assert_eq!(quiet.read(&mut [0]).unwrap(), 0);
                drop(poster);
            }
        });
        assert_eq!(selector.run(&mut 0).unwrap(), Exit::Stopped);
        let drained = server.drain(&mut selector, Duration::from_secs(5));
        assert!(
            AnyChannel::connect(&address).is_err(),
            "nobody is accepted any more"
        );
        let began = Instant::now();
        assert_eq!(selector.run(&mut 0).unwrap(), Exit::Idle);
        assert!(began.elapsed() < Duration::from_secs(4));
        assert_eq!(drained.wait(), Ok(()));
        clients.join().unwrap();
    });
}

#[test]
fn draining_ends_at_its_deadline() {
    within(SOON, || {
        let port = port();
        let mut client = AnyChannel::connect(port.address()).unwrap();
        let mut selector = Selector::<u32>::new().unwrap();
        let server = echo(&mut selector, port, ServerOptions::new());
        while server.is_empty() {
            selector.turn(&mut 0, Some(millis(5))).unwrap();
        }
        // A reply that never comes.
        server.set_busy(server.connections()[0], true);
        let drained = server.drain(&mut selector, millis(50));
        let began = Instant::now();
        assert_eq!(selector.run(&mut 0).unwrap(), Exit::Idle);
        assert!(began.elapsed() >= millis(50));
        assert_eq!(drained.wait(), Ok(()));
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn a_handler_that_panics_closes_its_connection_and_no_other() {
    within(SOON, || {
        let port = port();
        let address = port.address().clone();
        let options =
            ipc_dispatch::SelectorOptions::new().panics(ipc_dispatch::PanicPolicy::Contain);
        let mut selector = options.open::<u32>().unwrap();
        let server = selector
            .serve(port, ServerOptions::new(), |_, _| {
                Ok(|stream: &mut Stream, ctx: &mut Context<'_, u32>| {
                    while let Some(line) = stream.try_read_until(b"\n")? {
                        assert_ne!(line, b"panic\n");
                        if line == b"stop\n" {
                            ctx.stop();
                        }
                        stream.try_write_all(&line)?;
                    }
                    io::Result::Ok(!stream.is_ended())
                })
            })
            .unwrap();
        let clients = std::thread::spawn(move || {
            let mut good = AnyChannel::connect(&address).unwrap();
            let mut bad = AnyChannel::connect(&address).unwrap();
            ask(&mut good, b"x\n").unwrap();
            bad.write_all(b"panic\n").unwrap();
            assert_eq!(bad.read(&mut [0]).unwrap(), 0);
            ask(&mut good, b"stop\n").unwrap();
            good
        });
        assert_eq!(selector.run(&mut 0).unwrap(), Exit::Stopped);
        assert_eq!((selector.metrics().panics, server.len()), (1, 1));
        drop(selector);
        clients.join().unwrap();
    });
}

#[test]
fn ducts_are_served_with_state_of_their_own() {
    within(SOON, || {
        let port = port();
        let address = port.address().clone();
        let mut selector = Selector::<u32>::new().unwrap();
        let server = selector
            .serve_ducts(port, ServerOptions::new(), |channel, _| {
                let mut sum = 0;
                let duct: Duct<u64, u64> = DuctOptions::new().handshake(true).from_channel(channel);
                let handler = move |duct: &mut Duct<u64, u64>,
                                    message: Result<u64, TryRecvError>,
                                    ctx: &mut Context<'_, u32>| {
                    if let Ok(number) = message {
                        sum += number;
                        duct.try_send(sum).unwrap();
                    } else {
                        *ctx.state += 1;
                        if *ctx.state == 2 {
                            ctx.stop();
                        }
                    }
                };
                Ok((duct, handler))
            })
            .unwrap();
        let clients = std::thread::spawn(move || {
            let mut one = Duct::<u64, u64>::connect(&address).unwrap();
            let mut two = Duct::<u64, u64>::connect(&address).unwrap();
            for number in 1..=100 {
                one.send(number).unwrap();
                two.send(2 * number).unwrap();
                assert_eq!(one.recv().unwrap(), number * (number + 1) / 2);
                assert_eq!(two.recv().unwrap(), number * (number + 1));
            }
        });
        let mut ended = 0;
        assert_eq!(selector.run(&mut ended).unwrap(), Exit::Stopped);
        clients.join().unwrap();
        assert_eq!(server.accepted(), 2);
    });
}

#[test]
fn a_server_without_descriptors_pauses_and_recovers() {
    if role().is_none() {
        within(Duration::from_secs(60), || {
            let mut child = again(
                "servers::a_server_without_descriptors_pauses_and_recovers",
                "server",
            );
            assert!(child.spawn().unwrap().wait().unwrap().success());
        });
        return;
    }
    // As a process of its own, with 64 descriptors for 200 clients, which another holds.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("port");
    let port = Port::bind(&format!("unix:{}", path.display()).parse().unwrap()).unwrap();
    let mut clients = again("servers::clients_that_ask_and_stay", path.to_str().unwrap())
        .spawn()
        .unwrap();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
    let mut selector = Selector::<u32>::new().unwrap();
    let server = echo(
        &mut selector,
        port,
        ServerOptions::new().accept_pause(millis(50)),
    );
    let (mut lines, mut turns) = (0, 0);
    let began = Instant::now();
    while lines < 200 || !server.is_empty() {
        selector.turn(&mut lines, Some(millis(100))).unwrap();
        turns += 1;
        assert!(began.elapsed() < Duration::from_secs(30), "{lines} lines");
    }
    assert!(server.pauses() > 0, "descriptors did run out");
    // A loop that tried again and again while the clients stay would turn a hundred thousand times.
    assert!(turns < 3000, "{turns} turns");
    assert!(clients.wait().unwrap().success());
    drop(server);
    drop(selector);
    folder.close().unwrap();
    assert!(!path.exists());
}

/// The other side of [`a_server_without_descriptors_pauses_and_recovers`].
#[test]
fn clients_that_ask_and_stay() {
    let Some(path) = role() else { return };
    let mut open: Vec<UnixStream> = Vec::new();
    let mut first = 0;
    for number in 0..200 {
        let mut client = loop {
            match UnixStream::connect(&path) {
                Ok(client) => break client,
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        };
        client.write_all(b"hello\n").unwrap();
        open.push(client);
        // Eighty stay at a time, so that the server runs out until these go.
        if open.len() == 80 || number == 199 {
            std::thread::park_timeout(millis(400));
            for mut client in open.drain(..) {
                client.shutdown(std::net::Shutdown::Write).unwrap();
                let mut text = String::new();
                client.read_to_string(&mut text).unwrap();
                assert_eq!(text, "hello\n");
                first += 1;
            }
        }
    }
    assert_eq!(first, 200);
}
