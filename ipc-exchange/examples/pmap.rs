//! Counts primes in ranges, one process per processor.
//!
//! `cargo run --release --example pmap`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::ops::Range;

use ipc_exchange::{init, pmap, registry};

fn primes(range: Range<u32>) -> usize {
    let is_prime = |n: &u32| {
        *n > 1
            && (2..)
                .take_while(|d| d * d <= *n)
                .all(|d| !n.is_multiple_of(d))
    };
    range.filter(is_prime).count()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    init(registry![primes]);
    let ranges = (0..10).map(|n| n * 10_000..(n + 1) * 10_000);
    let limit = std::thread::available_parallelism()?.get();
    for (range, count) in ranges.clone().zip(pmap(primes, ranges, limit)?) {
        println!("{range:?}: {}", count?);
    }
    Ok(())
}
