//! The loop beside bare mio, alarms, posts. `cargo bench -p bench --bench dispatch`.

use std::time::Duration;

use bench::events::{
    BareMio, Driven, Ours, dispatch_ratio, post_awake, post_parked, timers_arm_cancel, timers_fire,
    timers_lane,
};
use criterion::{Criterion, criterion_group};

fn handlers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dispatch");
    for count in [1, 100, 1000] {
        let mut ours = Driven::<Ours>::new(count, 1);
        group.bench_function(format!("ours/1of{count}"), |bencher| {
            bencher.iter(|| ours.round());
        });
        let mut mio = Driven::<BareMio>::new(count, 1);
        group.bench_function(format!("mio/1of{count}"), |bencher| {
            bencher.iter(|| mio.round());
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = handlers
}

/// The figures that have a bar, each measured right beside what it is compared with.
#[expect(clippy::print_stdout, reason = "a report")]
fn bars() {
    for (count, active) in [(1, 1), (100, 1), (1000, 1), (4000, 1), (1000, 1000)] {
        let (ratio, ours, mio) = dispatch_ratio(count, active, 31);
        println!("dispatch {active} of {count}: {ratio:.3} of bare mio ({ours:.0} and {mio:.0}/s)");
    }
    for count in [10_000, 1_000_000] {
        println!("arm + cancel {count}: {:.1} ns", timers_arm_cancel(count));
        println!(
            "arm + cancel {count} in a lane: {:.1} ns",
            timers_lane(count)
        );
    }
    println!("fire 100000: {:.1} ns", timers_fire(100_000));
    println!("post awake: {:.1} ns", post_awake(1_000_000));
    println!("post parked: {:.1} ns", post_parked(2_000));
}

fn main() {
    bars();
    if std::env::args().any(|argument| argument == "--bars") {
        return;
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
