//! How long it takes until a worker's death is told, until another does its work, and until a new
//! worker has its first result; with a parent of a chosen size.
//!
//! `cargo run --release --example latency [ROUNDS [RESIDENT_MIB]]`

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::error::Error;
use std::time::{Duration, Instant};

use ipc_exchange::{Exchange, ExchangeOptions, Start, init, registry};

fn square(x: u64) -> u64 {
    x * x
}

/// Ends its own process.
fn die(_: ()) -> u64 {
    std::process::abort()
}

fn print(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("{what:<28} p50 {:>9.1?}  p99 {:>9.1?}", at(50), at(99));
}

fn deaths(rounds: usize) -> Result<(), Box<dyn Error>> {
    let exchange = Exchange::new(1)?;
    let (mut told, mut replaced) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        exchange.submit(square, 3)?.wait()?;
        let started = Instant::now();
        let dying = exchange.submit(die, ())?;
        let next = exchange.submit(square, 4)?;
        assert!(dying.wait().is_err_and(|error| error.is_lost()));
        told.push(started.elapsed());
        assert_eq!(next.wait()?, 16);
        replaced.push(started.elapsed());
    }
    exchange.finish();
    print("submitted, died, told", &mut told);
    print("... and replaced", &mut replaced);
    Ok(())
}

fn starts(start: Start, rounds: usize) -> Result<(), Box<dyn Error>> {
    let options = ExchangeOptions::new().limit(2).reuse(false).start(start);
    let exchange = options.open()?;
    exchange.submit(square, 1)?.wait()?;
    let mut times = Vec::new();
    for _ in 0..rounds {
        let started = Instant::now();
        assert_eq!(exchange.submit(square, 7)?.wait()?, 49);
        times.push(started.elapsed());
    }
    exchange.finish();
    print(&format!("first result, {start:?}"), &mut times);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    init(registry![square, die]);
    let numbers: Result<Vec<usize>, _> =
        std::env::args().skip(1).map(|text| text.parse()).collect();
    let numbers = numbers?;
    let rounds = numbers.first().map_or(20, |rounds| *rounds.max(&1));
    let resident = vec![1_u8; numbers.get(1).copied().unwrap_or(0) << 20];
    println!("{rounds} rounds, {} MiB resident", resident.len() >> 20);
    deaths(rounds)?;
    starts(Start::Spawn, rounds)?;
    starts(Start::Zygote, rounds)?;
    assert!(resident.iter().all(|byte| *byte == 1));
    Ok(())
}
