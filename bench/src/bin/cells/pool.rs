//! Two workers running trivial tasks, tasks with large arguments and results, and starting one.

use std::time::{Duration, Instant};

use ipc_exchange::{Exchange, ExchangeOptions, Start};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Cell, emit, emit_percentile};

const LARGE: usize = 65_536;

pub(crate) fn list() -> Vec<Cell> {
    let cell = |peer: &str, case, size| Cell {
        group: "pool",
        peer: peer.to_owned(),
        case,
        size,
    };
    vec![
        cell("exchange", "pool_square", 8),
        cell("exchange-chunk", "pool_square", 8),
        cell("exchange-rtt", "pool_square", 8),
        cell("exchange", "pool_64k", LARGE),
        cell("exchange-exec", "spawn_first_result", 1),
        cell("exchange-zygote", "spawn_first_result", 1),
    ]
}

pub(crate) fn cell(peer: &str, case: &str, size: usize, ms: u64) -> bool {
    let known = list()
        .iter()
        .any(|cell| cell.peer == peer && cell.case == case && cell.size == size);
    if !known {
        return false;
    }
    match (peer, case) {
        ("exchange", "pool_square") => squares(if ms >= 200 { 100_000 } else { 20_000 }, 1),
        ("exchange-chunk", "pool_square") => {
            squares(if ms >= 200 { 2_000_000 } else { 100_000 }, 1000)
        }
        ("exchange-rtt", "pool_square") => round_trips(ms),
        ("exchange", "pool_64k") => larges(if ms >= 200 { 2_000 } else { 600 }),
        ("exchange-exec", "spawn_first_result") => starts(Start::Spawn, ms),
        ("exchange-zygote", "spawn_first_result") => starts(Start::Zygote, ms),
        _ => return false,
    }
    true
}

pub(crate) fn square(x: u64) -> u64 {
    x * x
}

/// The result has its first and last byte changed.
pub(crate) fn large(mut bytes: Bytes) -> Bytes {
    let last = bytes.0.len() - 1;
    bytes.0[0] = bytes.0[0].wrapping_add(1);
    bytes.0[last] = bytes.0[last].wrapping_add(2);
    bytes
}

/// One by one, or as many at a time as a chunk has.
fn squares(count: u64, chunk: usize) {
    let exchange = Exchange::new(2).expect("an exchange opens");
    let run = |count: u64| {
        let results = exchange.map(square, 0..count).chunk(chunk);
        let mut seen = 0;
        for (x, result) in (0..count).zip(results) {
            assert_eq!(result.expect("a square"), x * x);
            seen += 1;
        }
        assert_eq!(seen, count);
    };
    run(2_000);
    let started = Instant::now();
    run(count);
    emit(
        "tasks_per_s",
        count as f64 / started.elapsed().as_secs_f64(),
    );
    exchange.finish();
}

fn round_trips(ms: u64) {
    let exchange = Exchange::new(1).expect("an exchange opens");
    let one = |x: u64| {
        let handle = exchange.submit(square, x).expect("it is open");
        assert_eq!(handle.wait().expect("a square"), x * x);
    };
    (0..500).for_each(one);
    let mut times = Vec::new();
    let until = Instant::now() + Duration::from_millis(ms);
    for x in 0.. {
        let started = Instant::now();
        one(x);
        times.push(started.elapsed().as_nanos() as u64);
        if Instant::now() > until {
            break;
        }
    }
    emit_percentile("rtt_us_p50", &mut times, 50, 1000.0);
    emit_percentile("rtt_us_p99", &mut times, 99, 1000.0);
    exchange.finish();
}

fn larges(count: u64) {
    let exchange = Exchange::new(2).expect("an exchange opens");
    let base: Vec<u8> = (0..LARGE).map(|at| ((at * 131) >> 3) as u8).collect();
    let run = |count: u64| {
        let template = base.clone();
        let inputs = (0..count).map(move |index| {
            let mut bytes = template.clone();
            bytes[0] = index as u8;
            bytes[LARGE - 1] = (index >> 8) as u8;
            Bytes(bytes)
        });
        let mut seen = 0;
        for (index, result) in (0..count).zip(exchange.map(large, inputs).ahead(32)) {
            let bytes = result.expect("a result").0;
            assert_eq!(bytes.len(), LARGE);
            assert_eq!(bytes[0], (index as u8).wrapping_add(1));
            assert_eq!(bytes[LARGE - 1], ((index >> 8) as u8).wrapping_add(2));
            if index % 16 == 0 {
                assert_eq!(bytes[1..LARGE - 1], base[1..LARGE - 1]);
            }
            seen += 1;
        }
        assert_eq!(seen, count);
    };
    run(200);
    let started = Instant::now();
    run(count);
    emit(
        "tasks_per_s",
        count as f64 / started.elapsed().as_secs_f64(),
    );
    exchange.finish();
}

/// From asking for a worker to the result of its first task. The zygote is there already, as it is
/// after the first worker of a program.
fn starts(start: Start, ms: u64) {
    let options = ExchangeOptions::new().limit(2).tasks_max(1).start(start);
    let exchange = options.open().expect("an exchange opens");
    let one = |x: u64| {
        let handle = exchange.submit(square, x).expect("it is open");
        assert_eq!(handle.wait().expect("a square"), x * x);
    };
    (0..4).for_each(one);
    let mut times = Vec::new();
    let until = Instant::now() + Duration::from_millis(ms);
    while Instant::now() < until || times.len() < 10 {
        let started = Instant::now();
        one(7);
        times.push(started.elapsed().as_nanos() as u64);
    }
    emit_percentile("ns_per_op", &mut times, 50, 1.0);
    exchange.finish();
}

/// Bytes that the codec copies as a whole.
pub(crate) struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;

        impl Visitor<'_> for Whole {
            type Value = Bytes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }

        deserializer.deserialize_byte_buf(Whole)
    }
}
