//! Channels within one thread: what a message costs when nobody waits.
//! `cargo bench -p bench --bench core`.

use std::time::Duration;

use bench::hot::{Hot, channels};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn time(criterion: &mut Criterion, name: &str, len: usize, operation: fn(usize) -> Hot) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(len as u64));
    let mut hot = operation(len);
    group.bench_function(len.to_string(), |bencher| bencher.iter(|| hot.once()));
    group.finish();
}

fn rings(criterion: &mut Criterion) {
    for len in [64, 4096, 65_536, 1 << 20] {
        time(criterion, "ring_push_pop", len, channels::ring_push_pop);
        time(
            criterion,
            "ring_reserve_pop",
            len,
            channels::ring_reserve_pop,
        );
    }
    let mut hot = channels::ring_arm();
    criterion.bench_function("ring_arm", |bencher| bencher.iter(|| hot.once()));
}

/// No longer than what the system buffers.
fn kernel(criterion: &mut Criterion) {
    for len in [64, 4096, 32_768] {
        time(criterion, "pipe_round", len, channels::pipe_round);
        time(criterion, "socket_round", len, channels::socket_round);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = rings, kernel
}
criterion_main!(benches);
