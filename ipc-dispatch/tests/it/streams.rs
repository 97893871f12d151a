//! Buffered streams: pulsar's stream tests as behaviour, and what its streams got wrong.

use std::io::{self, ErrorKind, Read, Write};

use ipc_core::{AnyChannel, Channel, Outbound, Port, Socket};
use ipc_dispatch::{Context, Exit, Selector, ServerOptions, Stream, StreamOptions};

use crate::support::{SOON, millis, within};

fn port() -> Port {
    Port::bind(&"tcp:127.0.0.1:0".parse().unwrap()).unwrap()
}

#[test]
fn a_client_is_echoed_until_it_goes() {
    // testSyncClient, testAsyncClient: several messages one after the other, and the counter.
    within(SOON, || {
        let port = port();
        let mut client = AnyChannel::connect(port.address()).unwrap();
        let thread = std::thread::spawn(move || {
            let mut buf = [0; 64];
            for message in [&b"ciao"[..], b"pippo", b"bla"] {
                client.write_all(message).unwrap();
                client.read_exact(&mut buf[..message.len()]).unwrap();
                assert_eq!(&buf[..message.len()], message);
            }
        });
        let mut selector = Selector::<u32>::new().unwrap();
        let server = selector
            .serve(port, ServerOptions::new(), |_, _| {
                Ok(|stream: &mut Stream, ctx: &mut Context<'_, u32>| {
                    if stream.fill()? > 0 {
                        *ctx.state += 1;
                    }
                    let echo = stream.take_buffered();
                    stream.try_write_all(&echo)?;
                    if stream.is_ended() {
                        ctx.stop();
                    }
                    io::Result::Ok(!stream.is_ended())
                })
            })
            .unwrap();
        let mut received = 0;
        assert_eq!(selector.run(&mut received).unwrap(), Exit::Stopped);
        assert_eq!(received, 3);
        selector.turn(&mut received, Some(millis(1))).unwrap();
        selector.turn(&mut received, Some(millis(1))).unwrap();
        assert_eq!((server.accepted(), server.len()), (1, 0));
        thread.join().unwrap();
    });
}

#[test]
fn a_connection_that_is_refused_is_an_error() {
    // pulsar's asynchronous connect calls back as if it had succeeded.
    let address = port().address().clone();
    let error = AnyChannel::connect(&address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn what_exceeds_the_input_limit_stays_with_the_peer() {
    // pulsar's ten-byte buffer delivers and closes; here nothing is lost and nothing closed.
    let (ours, mut theirs) = Socket::pair().unwrap();
    let mut stream = StreamOptions::new().input_max(10).open(ours);
    theirs.write_all(&[b'x'; 25]).unwrap();
    drop(theirs);
    let mut total = 0;
    while !stream.is_ended() {
        let count = stream.fill().unwrap();
        assert!(count <= 10);
        assert_eq!(stream.fill().unwrap(), 0, "it is full");
        total += stream.take_buffered().len();
        stream.fill().unwrap();
        total += stream.take_buffered().len();
    }
    assert_eq!(total, 25);
}

#[test]
fn a_line_may_come_in_pieces_and_must_come_within_the_limit() {
    let (ours, mut theirs) = Socket::pair().unwrap();
    let mut stream = StreamOptions::new().input_max(16).open(ours);
    for byte in b"one\r\ntwo\r" {
        assert_eq!(stream.try_read_until(b"\r\n\r\n").unwrap(), None);
        theirs.write_all(&[*byte]).unwrap();
    }
    assert_eq!(stream.try_read_until(b"\r\n").unwrap().unwrap(), b"one\r\n");
    assert_eq!(stream.try_read_until(b"\r\n").unwrap(), None);
    theirs.write_all(b"\nthree").unwrap();
    assert_eq!(stream.try_read_until(b"\r\n").unwrap().unwrap(), b"two\r\n");
    assert_eq!(stream.try_read_exact(5).unwrap().unwrap(), b"three");
    assert_eq!(stream.try_read_exact(1).unwrap(), None);
    assert!(stream.try_read_exact(17).is_err());
    theirs.write_all(&[b'x'; 16]).unwrap();
    let error = stream.try_read_until(b"\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "no delimiter within the limit of 16 bytes"
    );
    theirs.write_all(b"rest").unwrap();
    drop(theirs);
    assert_eq!(stream.take_buffered().len(), 16);
    assert_eq!(stream.try_read_until(b"\n").unwrap(), None);
    while stream.fill().unwrap() > 0 {}
    assert!(stream.is_ended());
    assert_eq!(stream.take_buffered(), b"rest");
}

#[test]
fn every_write_is_told_when_it_has_gone() {
    within(SOON, || {
        // pulsar forgets the first when a second one follows.
        let (ours, mut theirs) = Socket::pair().unwrap();
        let mut selector = Selector::<()>::new().unwrap();
        let mut stream = Stream::new(ours);
        let writes: Vec<_> = (0..4)
            .map(|_| stream.write_deferred(&[7; 300_000]).unwrap())
            .collect();
        assert!(stream.is_congested());
        let total = 4 * 300_000;
        assert!(stream.queued() > 0 && stream.queued() < total);
        let key = selector.add(stream);
        let (tell, told) = std::sync::mpsc::channel();
        selector
            .on_writable(key, move |stream: &mut Stream<Socket>, _| {
                assert!(!stream.is_congested());
                tell.send(stream.queued()).unwrap();
                false
            })
            .unwrap();
        let reader = std::thread::spawn(move || {
            let mut count = 0;
            let mut buf = [0; 65536];
            while count < total {
                count += theirs.read(&mut buf).unwrap();
            }
            theirs
        });
        // It ends when nothing is pending any more.
        assert_eq!(selector.run(&mut ()).unwrap(), Exit::Idle);
        for write in writes {
            assert_eq!(write.wait(), Ok(()));
        }
        assert!(
            told.try_recv().unwrap() <= 64 * 1024,
            "at the low-water mark"
        );
        drop(reader.join().unwrap());
    });
}

#[test]
fn a_full_queue_refuses_and_a_peer_that_is_gone_fails_what_is_queued() {
    within(SOON, || {
        let (ours, theirs) = Socket::pair().unwrap();
        let mut stream = StreamOptions::new().output_max(1 << 20).open(ours);
        let write = stream.write_deferred(&vec![0; 1 << 20]).unwrap();
        let error = stream.try_write_all(&vec![0; 1 << 20]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let room = (1 << 20) - stream.queued();
        assert_eq!(stream.write(&vec![0; 1 << 20]).unwrap(), room);
        drop(theirs);
        let mut selector = Selector::<()>::new().unwrap();
        let key = selector.add(stream);
        assert!(selector.get_mut(key).is_some());
        assert_eq!(selector.run(&mut ()).unwrap(), Exit::Idle);
        assert!(write.wait().is_err());
        assert_eq!(selector.metrics().errors, 1);
        let error = selector
            .get_mut(key)
            .unwrap()
            .try_write_all(b"x")
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_half_closed_stream_still_sends() {
    within(SOON, || {
        let (ours, mut theirs) = Socket::pair().unwrap();
        let mut stream = Stream::new(ours);
        stream.try_write_all(&vec![1; 1 << 20]).unwrap();
        stream.shutdown().unwrap();
        assert!(
            stream.try_write_all(b"x").is_err(),
            "this direction has ended"
        );
        theirs.write_all(b"still heard").unwrap();
        let mut selector = Selector::<()>::new().unwrap();
        let key = selector.add(stream);
        selector.get_mut(key);
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            theirs.read_to_end(&mut bytes).unwrap();
            bytes.len()
        });
        assert_eq!(selector.run(&mut ()).unwrap(), Exit::Idle);
        assert_eq!(reader.join().unwrap(), 1 << 20);
        let stream = selector.get_mut(key).unwrap();
        stream.fill().unwrap();
        assert_eq!(stream.take_buffered(), b"still heard");
    });
}

#[test]
fn a_stream_reads_what_is_buffered_before_it_asks_the_channel() {
    let (mut ours, mut theirs) = Socket::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut stream = Stream::new(ours);
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    theirs.write_all(b"abc").unwrap();
    let mut buf = [0; 2];
    assert_eq!(stream.read(&mut buf).unwrap(), 2);
    assert_eq!(stream.buffered(), b"c");
    theirs.shutdown().unwrap();
    assert_eq!(stream.read(&mut buf).unwrap(), 1);
    assert_eq!(stream.read(&mut buf).unwrap(), 0);
    assert_eq!(stream.queued(), 0);
}
