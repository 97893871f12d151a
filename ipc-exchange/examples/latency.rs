//! What a pool of processes is judged by, in time: until a worker's death is told, until another does
//! its work, until a task that is out of time is gone, until a new worker has its first result, and
//! how much of the rate it costs to replace workers; with a parent of a chosen size.
//!
//! `cargo run --release --example latency [ROUNDS [RESIDENT_MIB]]`

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::error::Error;
use std::time::{Duration, Instant};

use ipc_exchange::{Exchange, ExchangeOptions, Start, init, registry};

fn square(x: u64) -> u64 {
    x * x
}

fn spin(_: ()) -> u64 {
    loop {
        std::hint::spin_loop();
    }
}

/// A millisecond of it.
fn work(x: u64) -> u64 {
    let until = Instant::now() + Duration::from_millis(1);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    x
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

/// How much later than its time-out a task ends that never looks up.
fn overshoots(rounds: usize) -> Result<(), Box<dyn Error>> {
    let limit = Duration::from_millis(5);
    let exchange = ExchangeOptions::new().limit(1).timeout(limit).open()?;
    let mut times = Vec::new();
    for _ in 0..rounds {
        exchange.submit(square, 3)?.wait()?;
        let started = Instant::now();
        let ended = exchange.submit(spin, ())?.wait();
        assert!(ended.is_err_and(|error| error.is_timed_out()));
        times.push(started.elapsed().saturating_sub(limit));
    }
    exchange.finish();
    print("time-out overshot", &mut times);
    Ok(())
}

/// The rate at which tasks of a millisecond are done when workers are replaced after some, as a part
/// of that when they are not.
fn recycling(rounds: usize) -> Result<(), Box<dyn Error>> {
    let mut rates = [0.0; 2];
    for (rate, most) in rates.iter_mut().zip([u64::MAX, 50]) {
        let exchange = ExchangeOptions::new().limit(2).tasks_max(most).open()?;
        exchange.map(work, 0..100).for_each(drop);
        let count = 100 * rounds as u64;
        let started = Instant::now();
        for result in exchange.map(work, 0..count) {
            result?;
        }
        *rate = count as f64 / started.elapsed().as_secs_f64();
        exchange.finish();
    }
    let left = 100.0 * rates[1] / rates[0];
    println!(
        "{:<28} {left:>8.1} % of {:.0}/s",
        "rate, replaced after 50", rates[0]
    );
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
    init(registry![square, spin, work, die]);
    let numbers: Result<Vec<usize>, _> =
        std::env::args().skip(1).map(|text| text.parse()).collect();
    let numbers = numbers?;
    let rounds = numbers.first().map_or(20, |rounds| *rounds.max(&1));
    let resident = vec![1_u8; numbers.get(1).copied().unwrap_or(0) << 20];
    println!("{rounds} rounds, {} MiB resident", resident.len() >> 20);
    deaths(rounds)?;
    overshoots(rounds)?;
    recycling(rounds.min(20))?;
    starts(Start::Spawn, rounds)?;
    starts(Start::Zygote, rounds)?;
    assert!(resident.iter().all(|byte| *byte == 1));
    Ok(())
}
