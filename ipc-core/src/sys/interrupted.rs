//! A storm of signals against every call that may wait. It is here because installing a handler that
//! interrupts system calls is an unsafe operation.

use std::io::{IoSlice, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::{
    Address, AnyChannel, Channel, Deadline, Inbound, Outbound, Pipe, Port, RingOptions, Socket,
    Wait,
};

const HAS_RINGS: bool = cfg!(all(target_os = "linux", not(ipc_portable)));

static CAUGHT: AtomicU64 = AtomicU64::new(0);

extern "C" fn count(_: libc::c_int) {
    CAUGHT.fetch_add(1, Ordering::Relaxed);
}

/// Sends signals to a thread for as long as it lives.
struct Storm {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Storm {
    fn over(target: Pthread) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                pthread_kill(target, Signal::SIGUSR1).expect("the storm ends before its target");
                // Leaves the target some time to do its work between two signals.
                let next = Instant::now() + Duration::from_micros(100);
                while Instant::now() < next {
                    thread::yield_now();
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the storm did not panic");
        }
    }
}

fn every_kind() -> Vec<(AnyChannel, AnyChannel)> {
    let (pipe, other_pipe) = Pipe::pair().unwrap();
    let (socket, other_socket) = Socket::pair().unwrap();
    let mut pairs: Vec<(AnyChannel, AnyChannel)> = vec![
        (pipe.into(), other_pipe.into()),
        (socket.into(), other_socket.into()),
    ];
    for wait in [Wait::Adaptive, Wait::Park, Wait::Spin]
        .into_iter()
        .filter(|_| HAS_RINGS)
    {
        let (ring, other) = RingOptions::new()
            .capacity(1 << 14)
            .wait(wait)
            .pair()
            .unwrap();
        pairs.push((ring.into(), other.into()));
    }
    let mut port = Port::bind(&Address::tcp("127.0.0.1", 0).unwrap()).unwrap();
    let tcp = AnyChannel::connect(port.address()).unwrap();
    pairs.push((tcp, port.accept().unwrap()));
    pairs
}

#[test]
fn interruptions_are_never_reported() {
    let action = SigAction::new(
        SigHandler::Handler(count),
        SaFlags::empty(),
        SigSet::empty(),
    );
    // SAFETY: the handler only touches an atomic, and nothing else in this test binary uses the
    // signal.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
    for (mut a, mut b) in every_kind() {
        let _storm = Storm::over(pthread_self());
        // A deadline is met neither early nor, by starting over at every signal, never.
        let limit = Duration::from_millis(30);
        let mut took = Duration::MAX;
        for _ in 0..5 {
            let start = Instant::now();
            let error = a
                .read_deadline(&mut [0], Deadline::after(limit))
                .unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
            took = took.min(start.elapsed());
            assert!(took >= limit);
        }
        assert!(took < limit + Duration::from_millis(250), "{took:?}");
        // A peer that is slow both ways makes every transfer wait.
        let len = 1 << 20;
        let echo = thread::spawn(move || {
            let mut buf = vec![0; 5000];
            let mut left = len;
            while left > 0 {
                let n = b.read(&mut buf).unwrap();
                b.write_all(&buf[..n]).unwrap();
                left -= n;
                thread::yield_now();
            }
        });
        let data: Vec<u8> = (0..len).map(|index| (index % 251) as u8).collect();
        let mut back = vec![0; 5000];
        for piece in data.chunks(5000) {
            let mut sent = a
                .write_deadline(&[IoSlice::new(piece)], Deadline::Never)
                .unwrap();
            while sent < piece.len() {
                sent += a.write(&piece[sent..]).unwrap();
            }
            a.read_exact(&mut back[..piece.len()]).unwrap();
            assert_eq!(&back[..piece.len()], piece);
        }
        echo.join().unwrap();
        a.shutdown().unwrap();
    }
    accepting_and_connecting();
    assert!(CAUGHT.load(Ordering::Relaxed) > 100, "there was no storm");
}

fn accepting_and_connecting() {
    let folder = tempfile::tempdir().unwrap();
    for address in [
        Address::unix(folder.path().join("socket")).unwrap(),
        Address::ring(folder.path().join("ring")).unwrap(),
        Address::tcp("127.0.0.1", 0).unwrap(),
    ] {
        if matches!(address, Address::Ring(_)) && !HAS_RINGS {
            continue;
        }
        let _storm = Storm::over(pthread_self());
        let mut port = Port::bind(&address).unwrap();
        let limit = Duration::from_millis(10);
        let error = port.accept_timeout(limit).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        for _ in 0..100 {
            let client = AnyChannel::connect(port.address()).unwrap();
            let (reader, writer) = port.accept().unwrap().split().unwrap();
            drop((client, reader, writer));
            let timeout = Duration::from_secs(10);
            let client = AnyChannel::connect_timeout(port.address(), timeout).unwrap();
            drop((client, port.accept_timeout(timeout).unwrap()));
        }
    }
}
