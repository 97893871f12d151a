//! The measured conversations: round trips and one way, the same for bytes and for typed messages.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::emit;
use crate::message::Kind;

/// Long enough for the scheduler to settle where the two processes run.
const WARM_UP_MIN: Duration = Duration::from_millis(75);

/// One end of a measured link.
pub(crate) trait Link {
    /// The size of a message in bytes.
    fn size(&self) -> usize;

    /// Sends a message, filled in full if it is to be checked in full.
    fn send(&mut self, number: u64, kind: Kind, full: bool);

    /// Makes sure that what was sent is on its way.
    fn flush(&mut self) {}

    /// Receives a message and checks it.
    fn receive(&mut self) -> (u64, Kind);

    /// Receives a message and sends it back.
    fn echo(&mut self) -> Kind;
}

/// Measures `case` for about `ms` milliseconds and prints what it found.
pub(crate) fn run(link: &mut impl Link, case: &str, ms: u64) {
    let warm_up = Duration::from_millis(ms / 4).max(WARM_UP_MIN);
    let time = Duration::from_millis(ms);
    if case.starts_with("rtt") {
        round_trips(link, warm_up, time);
    } else {
        stream(link, warm_up, time);
    }
}

/// The other end of [`run`].
pub(crate) fn serve(link: &mut impl Link, case: &str) {
    if case.starts_with("rtt") {
        while link.echo() != Kind::Quit {}
    } else {
        count(link);
    }
}

#[inline]
fn round_trip(link: &mut impl Link, number: u64, kind: Kind, full: bool) {
    link.send(number, kind, full);
    assert_eq!(
        link.receive(),
        (number, kind),
        "the echo of message {number}"
    );
}

fn round_trips(link: &mut impl Link, warm_up: Duration, run: Duration) {
    let mut number = 0;
    let start = Instant::now();
    while start.elapsed() < warm_up || number < 20 {
        round_trip(link, number, Kind::Data, true);
        number += 1;
    }
    let mut samples: Vec<u64> = Vec::with_capacity(1 << 22);
    // Touched now: a page fault is not part of a round trip.
    samples.resize(1 << 22, 1);
    black_box(&mut samples).clear();
    let start = Instant::now();
    let mut before = start;
    loop {
        round_trip(link, number, Kind::Data, false);
        let now = Instant::now();
        samples.push((now - before).as_nanos() as u64);
        before = now;
        number += 1;
        if now - start > run && samples.len() >= 100 {
            break;
        }
    }
    round_trip(link, number, Kind::Quit, false);
    samples.sort_unstable();
    let percentile = |p: usize| samples[(samples.len() - 1) * p / 100] as f64 / 1e3;
    emit("rtt_us_p50", percentile(50));
    emit("rtt_us_p99", percentile(99));
}

fn stream(link: &mut impl Link, warm_up: Duration, run: Duration) {
    // A look at the clock costs as much as a small message.
    let size = link.size();
    let messages_per_look = if size <= 4096 { 64 } else { 1 };
    for (full, time) in [(true, warm_up), (false, run)] {
        let start = Instant::now();
        let mut number = 0;
        loop {
            link.send(number, Kind::Data, full);
            number += 1;
            if number % messages_per_look == 0 && start.elapsed() >= time {
                break;
            }
        }
        link.send(number, Kind::End, full);
        link.flush();
        assert_eq!(
            link.receive(),
            (number, Kind::Count),
            "every message was counted"
        );
        let rate = number as f64 / start.elapsed().as_secs_f64();
        if !full {
            emit("msgs_per_s", rate);
            emit("MiB_per_s", rate * size as f64 / f64::from(1 << 20));
        }
    }
    link.send(0, Kind::Quit, false);
    link.flush();
}

fn count(link: &mut impl Link) {
    let mut expected = 0;
    loop {
        let (number, kind) = link.receive();
        match kind {
            Kind::Data => {
                assert_eq!(number, expected, "the order of messages");
                expected += 1;
            }
            Kind::End => {
                assert_eq!(number, expected, "the number of messages");
                link.send(expected, Kind::Count, false);
                link.flush();
                expected = 0;
            }
            Kind::Quit => return,
            Kind::Count => panic!("a count came to the side that counts"),
        }
    }
}
