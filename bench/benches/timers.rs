//! Alarms among many others. `cargo bench -p bench --bench timers`.

use std::time::Duration;

use bench::hot::events;
use criterion::{Criterion, criterion_group, criterion_main};

fn timers(criterion: &mut Criterion) {
    for others in [100, 10_000, 1_000_000] {
        let mut group = criterion.benchmark_group(format!("among_{others}"));
        let mut hot = events::timer_arm_cancel(others);
        group.bench_function("arm_cancel", |bencher| bencher.iter(|| hot.once()));
        let mut hot = events::timer_lane(others);
        group.bench_function("lane", |bencher| bencher.iter(|| hot.once()));
        let mut hot = events::timer_fire(others);
        group.bench_function("fire", |bencher| bencher.iter(|| hot.once()));
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = timers
}
criterion_main!(benches);
