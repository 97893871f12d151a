//! Descriptors that are passed to a process, and callers of its loop, when it has no place for them.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use ipc_core::{AnyChannel, Deadline, Pipe, Port, Ring, Socket};
use ipc_dispatch::{Context, Selector, ServerOptions, Stream};
use ipc_marshal::{Attached, DuctOptions, RecvError};
use nix::errno::Errno;

use crate::calls::addresses;
use crate::chance::Chance;
use crate::poverty::{allow, open_files, plenty};
use crate::scenario::scenarios;
use crate::session::{SOON, Session};

scenarios![descriptors_are_passed_where_there_is_no_place];

pub(crate) const FULL: &str = "full";

/// How many descriptors go with a message.
const PASSED: u64 = 4;

pub(crate) fn full(words: &[String]) -> ExitCode {
    let folder = Path::new(&words[0]);
    passing("socket");
    passing("ring");
    offers(folder);
    server(folder);
    println!("enough");
    ExitCode::SUCCESS
}

fn descriptors_are_passed_where_there_is_no_place(_: &mut Chance) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut session = Session::start(FULL, &[&folder.path().display().to_string()]);
    let (status, told) = session.wait();
    assert!(
        status.success() && told.ends_with("enough\n"),
        "{status}: {told}"
    );
    print!("{}", told.trim_end_matches("enough\n"));
    session.assert_gone("passing");
}

/// Runs something with so many descriptors to spare, and finds those that it has left.
fn with_spare<T>(spare: u64, what: impl FnOnce() -> T) -> T {
    let usual = plenty();
    // Numbers below are all taken: gaps would be places.
    let mut gaps: Vec<OwnedFd> = Vec::new();
    let highest = ipc_core::descriptors()
        .expect("a list")
        .last()
        .map_or(2, |fd| fd.number);
    while open_files() < highest as u64 + 1 {
        gaps.push(Socket::pair().expect("a pair").0.into());
    }
    let before = open_files();
    allow(before + spare);
    let result = what();
    allow(usual);
    result
}

/// A message whose descriptors find no place is reported, all of them are closed, and the next message
/// arrives whole.
fn passing(kind: &str) {
    let (ours, theirs): (AnyChannel, AnyChannel) = if kind == "ring" {
        let (ours, theirs) = Ring::pair().expect("a ring");
        (ours.into(), theirs.into())
    } else {
        let (ours, theirs) = Socket::pair().expect("a pair");
        (ours.into(), theirs.into())
    };
    let mut ours = DuctOptions::new().from_channel::<u64, u64, _>(ours);
    let mut theirs = DuctOptions::new().from_channel::<u64, u64, _>(theirs);
    let mut refused = 0;
    for spare in 0..PASSED + 3 {
        let (near, far) = Pipe::pair().expect("a pipe");
        let (a, b) = near.into_fds();
        let (c, d) = far.into_fds();
        let passed = Attached::new(spare).attach(a).attach(b).attach(c).attach(d);
        theirs
            .send_attached(passed, Deadline::after(SOON))
            .expect("there is room");
        theirs.send(1000 + spare).expect("there is room");
        let before = open_files();
        let result = with_spare(spare, || ours.recv_attached(Deadline::after(SOON)));
        match result {
            Ok(message) => {
                assert!(spare >= PASSED, "{kind}, {spare} spare: received");
                let (value, fds) = message.into_parts();
                assert_eq!((value, fds.len() as u64), (spare, PASSED));
            }
            Err(RecvError::Io(error)) => {
                refused += 1;
                assert!(spare < PASSED, "{kind}, {spare} spare: {error:?}");
                assert_eq!(
                    error.raw_os_error(),
                    Some(Errno::EMFILE as i32),
                    "{error:?}"
                );
            }
            Err(error) => panic!("{kind}, {spare} spare: {error:?}"),
        }
        assert_eq!(
            open_files(),
            before,
            "{kind}, {spare} spare: descriptors are left"
        );
        let mut next = ours.recv_timeout(SOON);
        if let Err(RecvError::Descriptors { got: 0, .. }) = next {
            // A ring's bytes do not come with its descriptors: the message is told of for itself.
            assert!(kind == "ring" && spare < PASSED, "{kind}, {spare} spare");
            next = ours.recv_timeout(SOON);
        }
        assert_eq!(next.expect("it has no descriptors"), 1000 + spare, "{kind}");
    }
    assert_eq!(refused, PASSED, "{kind}");
    println!("descriptors by {kind}: refused with fewer than {PASSED} places");
}

/// A ring that is offered to a port without places is an error there and an end for its caller, and
/// the next is accepted.
fn offers(folder: &Path) {
    let address = &addresses(folder)[2];
    let mut port = Port::bind(address).expect("it is free");
    for spare in 0..5 {
        let bound = port.address().clone();
        let mut caller = Ring::connect(&bound).expect("the port lives");
        let before = open_files();
        let accepted = with_spare(spare, || port.accept_timeout(SOON));
        match accepted {
            Ok(channel) => drop(channel),
            Err(error) => assert_eq!(
                error.raw_os_error(),
                Some(Errno::EMFILE as i32),
                "{error:?}"
            ),
        }
        assert_eq!(open_files(), before, "{spare} spare: descriptors are left");
        if spare == 0 {
            // It has not been taken from the queue.
            drop(port.accept_timeout(SOON).expect("it has waited"));
        }
        let told = caller.read(&mut [0]);
        assert_eq!(told.expect("an end"), 0, "{spare} spare");
        let mut next = Ring::connect(&bound).expect("the port lives");
        let mut accepted = port.accept_timeout(SOON).expect("there is a place");
        next.write_all(b"!").expect("it is accepted");
        accepted.read_exact(&mut [0]).expect("a byte");
    }
}

/// A loop without places lets its callers wait, without spinning, and serves all of them afterwards.
fn server(folder: &Path) {
    const CALLERS: u64 = 6;
    for address in addresses(folder) {
        let mut selector = Selector::<u64>::new().expect("a selector");
        let port = Port::bind(&address).expect("it is free");
        let bound = port.address().clone();
        let options = ServerOptions::new().accept_pause(Duration::from_millis(20));
        let server = selector.serve(port, options, |_: &mut Stream, _: &mut Context<'_, u64>| {
            Ok(|stream: &mut Stream, ctx: &mut Context<'_, u64>| {
                stream.fill()?;
                while let Some(bytes) = stream.try_read_exact(3)? {
                    *ctx.state += 1;
                    stream.try_write_all(&bytes)?;
                }
                io::Result::Ok(!stream.is_ended())
            })
        });
        let server = server.expect("it can wait");
        let is_ring = matches!(address, ipc_core::Address::Ring(_));
        let mut callers: Vec<_> = (0..if is_ring { 1 } else { CALLERS })
            .map(|_| AnyChannel::connect(&bound).expect("the port lives"))
            .collect();
        for caller in &mut callers {
            caller.write_all(b"ask").expect("there is room");
        }
        let mut asked = 0;
        // One more than none: each source of a loop is watched by one descriptor that it has.
        let turned = with_spare(0, || {
            let begun = selector.metrics().turns;
            selector
                .run_timeout(&mut asked, Duration::from_millis(100))
                .expect("no error");
            selector.metrics().turns - begun
        });
        assert_eq!((asked, server.len()), (0, 0), "{address}: no place");
        assert!(
            server.pauses() > 0 && turned < 40,
            "{address}: {turned} turns"
        );
        let count = callers.len() as u64;
        let ask = thread::spawn(move || {
            for caller in &mut callers {
                let mut answer = [0; 3];
                caller.read_exact(&mut answer).expect("it is served");
                assert_eq!(&answer, b"ask");
            }
        });
        while !ask.is_finished() || server.accepted() < count {
            let exit = selector.run_timeout(&mut asked, Duration::from_millis(20));
            assert!(exit.is_ok_and(|_| asked <= count), "{address}");
        }
        ask.join().expect("all are served");
        assert_eq!(asked, count, "{address}");
        drop(selector);
        let gone = AnyChannel::connect(&bound)
            .expect_err("the port is closed")
            .kind();
        assert!(
            [ErrorKind::ConnectionRefused, ErrorKind::NotFound].contains(&gone),
            "{gone:?}"
        );
    }
}
