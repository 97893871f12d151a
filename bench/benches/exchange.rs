//! Placement, and tasks through two real workers, which are this program started again.
//! `cargo bench -p bench --bench exchange`.

use std::time::Duration;

use bench::hot::placement;
use criterion::{Criterion, Throughput, criterion_group};
use ipc_exchange::{Exchange, init, registry};

const WORKERS: usize = 2;
/// How many tasks are submitted at once.
const TASKS: u64 = 1000;

fn square(n: u64) -> u64 {
    n * n
}

fn plan(criterion: &mut Criterion) {
    let mut hot = placement::plan_step();
    criterion.bench_function("plan_step", |bencher| bencher.iter(|| hot.once()));
}

fn tasks(criterion: &mut Criterion) {
    let exchange = Exchange::new(WORKERS).expect("a thread can be started");
    criterion.bench_function("task_round", |bencher| {
        bencher.iter(|| {
            let handle = exchange.submit(square, 3).expect("the exchange is open");
            assert_eq!(handle.wait().expect("squares do not fail"), 9);
        });
    });
    let mut group = criterion.benchmark_group("tasks");
    group.throughput(Throughput::Elements(TASKS));
    group.bench_function(format!("map_{TASKS}"), |bencher| {
        bencher.iter(|| {
            let results = exchange.map(square, 0..TASKS);
            let sum: u64 = results
                .map(|result| result.expect("squares do not fail"))
                .sum();
            assert_eq!(sum, (TASKS - 1) * TASKS * (2 * TASKS - 1) / 6);
        });
    });
    group.finish();
    exchange.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    targets = plan, tasks
}

fn main() {
    init(registry![square]);
    benches();
    Criterion::default().configure_from_args().final_summary();
}
