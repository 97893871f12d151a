//! Messages to an actor on the loop of the calling thread. `cargo bench -p bench --bench actors`.

use std::time::Duration;

use bench::hot::mailboxes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn local(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("local");
    for count in [1, 64] {
        let mut hot = mailboxes::mailbox_tell(count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("tell_{count}"), |bencher| {
            bencher.iter(|| hot.once())
        });
    }
    let mut hot = mailboxes::mailbox_ask();
    group.throughput(Throughput::Elements(1));
    group.bench_function("ask", |bencher| bencher.iter(|| hot.once()));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = local
}
criterion_main!(benches);
