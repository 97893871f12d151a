//! What a loop costs, beside what it is built on.
//!
//! The write that makes a socket readable and the read in the handler are part of every figure of
//! dispatch, as in `peers/`.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipc_dispatch::{Scheduler, Selector};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

/// One of several sockets is made readable and its handler reads the byte: over and over.
pub trait Dispatch {
    /// A loop that waits on these sockets.
    fn new(sockets: Vec<UnixStream>) -> Self;

    /// Handles what is ready, at least one.
    fn turn(&mut self);

    /// How many bytes handlers have read, and which socket was the last.
    fn seen(&self) -> (u64, usize);
}

/// Ours.
#[derive(Debug)]
pub struct Ours {
    selector: Selector<(u64, usize)>,
    state: (u64, usize),
}

impl Dispatch for Ours {
    fn new(sockets: Vec<UnixStream>) -> Self {
        let mut selector = Selector::<(u64, usize)>::new().expect("descriptors are to be had");
        for (index, socket) in sockets.into_iter().enumerate() {
            let key = selector.add(socket);
            selector
                .on_readable(key, move |socket: &mut UnixStream, ctx| {
                    let mut buf = [0; 64];
                    let count = socket.read(&mut buf).expect("it is readable");
                    assert_eq!(count, 1);
                    ctx.state.0 += 1;
                    ctx.state.1 = index;
                })
                .expect("sockets can be waited for");
        }
        Self {
            selector,
            state: (0, 0),
        }
    }

    fn turn(&mut self) {
        self.selector
            .turn(&mut self.state, None)
            .expect("waiting works");
    }

    fn seen(&self) -> (u64, usize) {
        self.state
    }
}

/// mio with the plainest loop around it.
#[derive(Debug)]
pub struct BareMio {
    poll: Poll,
    events: Events,
    sockets: Vec<UnixStream>,
    seen: (u64, usize),
}

impl Dispatch for BareMio {
    fn new(sockets: Vec<UnixStream>) -> Self {
        let poll = Poll::new().expect("descriptors are to be had");
        for (index, socket) in sockets.iter().enumerate() {
            poll.registry()
                .register(
                    &mut SourceFd(&socket.as_raw_fd()),
                    Token(index),
                    Interest::READABLE,
                )
                .expect("sockets can be waited for");
        }
        Self {
            poll,
            events: Events::with_capacity(1024),
            sockets,
            seen: (0, 0),
        }
    }

    fn turn(&mut self) {
        self.poll
            .poll(&mut self.events, None)
            .expect("waiting works");
        for event in &self.events {
            let index = event.token().0;
            let mut buf = [0; 64];
            let count = self.sockets[index].read(&mut buf).expect("it is readable");
            assert_eq!(count, 1);
            self.seen = (self.seen.0 + 1, index);
        }
    }

    fn seen(&self) -> (u64, usize) {
        self.seen
    }
}

/// A loop with `idle` registered sockets, of which `active` are made readable before each turn.
#[derive(Debug)]
pub struct Driven<D> {
    dispatch: D,
    peers: Vec<UnixStream>,
    step: usize,
    active: usize,
}

impl<D: Dispatch> Driven<D> {
    /// `count` socket pairs, of which `active` are used per turn.
    pub fn new(count: usize, active: usize) -> Self {
        let (ours, peers) = (0..count)
            .map(|_| {
                let (ours, theirs) = UnixStream::pair().expect("descriptors are to be had");
                ours.set_nonblocking(true).expect("sockets can be set");
                (ours, theirs)
            })
            .unzip();
        Self {
            dispatch: D::new(ours),
            peers,
            step: 0,
            active,
        }
    }

    /// One round: writes, and turns until all of it is read.
    pub fn round(&mut self) {
        let (before, _) = self.dispatch.seen();
        let mut last = 0;
        for _ in 0..self.active {
            last = self.step * 7919 % self.peers.len();
            self.step += 1;
            self.peers[last].write_all(&[1]).expect("there is room");
        }
        let wanted = before + self.active as u64;
        while self.dispatch.seen().0 < wanted {
            self.dispatch.turn();
        }
        if self.active == 1 {
            assert_eq!(self.dispatch.seen(), (wanted, last), "once, on its socket");
        }
    }

    /// Handler calls per second, over `duration`.
    pub fn rate(&mut self, duration: Duration) -> f64 {
        let start = Instant::now();
        let mut rounds = 0;
        loop {
            for _ in 0..(64 / self.active).max(1) {
                self.round();
                rounds += 1;
            }
            let elapsed = start.elapsed();
            if elapsed >= duration {
                return (rounds * self.active) as f64 / elapsed.as_secs_f64();
            }
        }
    }
}

/// Our rate over bare mio's: the median of `slices` pairs of slices, one right after the other, so
/// that a noisy machine disturbs both.
pub fn dispatch_ratio(count: usize, active: usize, slices: usize) -> (f64, f64, f64) {
    let mut ours = Driven::<Ours>::new(count, active);
    let mut mio = Driven::<BareMio>::new(count, active);
    let slice = Duration::from_millis(20);
    ours.rate(slice);
    mio.rate(slice);
    let mut samples: Vec<(f64, f64, f64)> = (0..slices)
        .map(|_| {
            let (ours, mio) = (ours.rate(slice), mio.rate(slice));
            (ours / mio, ours, mio)
        })
        .collect();
    samples.sort_by(|left, right| left.0.total_cmp(&right.0));
    samples[slices / 2]
}

/// Nanoseconds to arm and cancel one alarm, `count` of them armed at once.
pub fn timers_arm_cancel(count: usize) -> f64 {
    let origin = Instant::now();
    let mut scheduler = Scheduler::new(origin);
    let mut ids = Vec::with_capacity(count);
    let rounds = (1_000_000 / count).max(2);
    let mut best = f64::MAX;
    for round in 0..rounds {
        let start = Instant::now();
        for index in 0..count as u64 {
            let delay = scramble(index + round as u64) % 30_000_000_000;
            ids.push(scheduler.arm(origin + Duration::from_nanos(delay), index));
        }
        for index in 0..count {
            // In another order than they were armed in.
            let other = index.wrapping_mul(7919) % count;
            scheduler.cancel(ids[other]);
        }
        best = best.min(start.elapsed().as_nanos() as f64 / count as f64);
        assert!(scheduler.is_empty());
        ids.clear();
    }
    best
}

/// The same in a lane.
pub fn timers_lane(count: usize) -> f64 {
    let origin = Instant::now();
    let mut scheduler = Scheduler::new(origin);
    let lane = scheduler.lane(Duration::from_secs(30));
    let mut ids = Vec::with_capacity(count);
    let mut best = f64::MAX;
    for _ in 0..(1_000_000 / count).max(2) {
        let start = Instant::now();
        for index in 0..count as u64 {
            ids.push(scheduler.arm_in(lane, origin + Duration::from_nanos(index), index));
        }
        for index in 0..count {
            scheduler.cancel(ids[index.wrapping_mul(7919) % count]);
        }
        best = best.min(start.elapsed().as_nanos() as f64 / count as f64);
        assert!(scheduler.is_empty());
        ids.clear();
    }
    best
}

/// Nanoseconds per ring of `count` alarms with scattered deadlines.
pub fn timers_fire(count: usize) -> f64 {
    let origin = Instant::now();
    let mut best = f64::MAX;
    for _ in 0..5 {
        let mut scheduler = Scheduler::new(origin);
        for index in 0..count as u64 {
            let delay = scramble(index) % 1_000_000_000;
            scheduler.arm(origin + Duration::from_nanos(delay), index);
        }
        let end = origin + Duration::from_secs(2);
        let start = Instant::now();
        let mut sum = 0;
        while let Some(fired) = scheduler.awaken(end) {
            sum += fired.value;
            scheduler.finish(fired.id);
        }
        best = best.min(start.elapsed().as_nanos() as f64 / count as f64);
        assert_eq!(sum, count as u64 * (count as u64 - 1) / 2);
    }
    best
}

fn scramble(mut seed: u64) -> u64 {
    seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ (seed >> 31)
}

/// Nanoseconds per post to a loop that is awake.
pub fn post_awake(count: u64) -> f64 {
    let mut selector = Selector::<u64>::new().expect("descriptors are to be had");
    let poster = selector.poster();
    let nanos = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&nanos);
    // From within a task the loop is awake by definition.
    selector.defer(move |_| {
        let start = Instant::now();
        for _ in 0..count {
            assert!(poster.post(|ctx| *ctx.state += 1).is_ok());
        }
        told.store(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    });
    let mut ran = 0;
    selector.run(&mut ran).expect("waiting works");
    assert_eq!(ran, count);
    nanos.load(Ordering::Relaxed) as f64 / count as f64
}

/// Nanoseconds per post to a loop that sleeps: the median of `count`.
pub fn post_parked(count: usize) -> f64 {
    let mut selector = Selector::<u64>::new().expect("descriptors are to be had");
    selector.set_persistent(true);
    let poster = selector.poster();
    let done = Arc::new(AtomicBool::new(false));
    let waiter = Arc::clone(&done);
    let thread = std::thread::spawn(move || {
        let mut samples = Vec::with_capacity(count);
        for _ in 0..count {
            // Until the loop has run the last task and gone to sleep again.
            std::thread::park_timeout(Duration::from_micros(200));
            let start = Instant::now();
            assert!(poster.post(|ctx| *ctx.state += 1).is_ok());
            samples.push(start.elapsed().as_nanos() as u64);
        }
        waiter.store(true, Ordering::Relaxed);
        poster.stop();
        samples.sort_unstable();
        samples[count / 2] as f64
    });
    let mut ran = 0;
    while !done.load(Ordering::Relaxed) {
        selector.run(&mut ran).expect("waiting works");
    }
    thread.join().expect("the poster does not panic")
}
