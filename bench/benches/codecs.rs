//! The codecs beside one another: one record of about 112 bytes there and back.
//! `cargo bench -p bench --bench codecs`.

use std::time::Duration;

use bench::hot::frames::{codec, record_decode, record_encode};
use criterion::{Criterion, criterion_group, criterion_main};

fn codecs(criterion: &mut Criterion) {
    for name in ["bincode", "postcard", "messagepack", "json"] {
        let mut group = criterion.benchmark_group(name);
        let mut encode = record_encode(codec(name));
        group.bench_function("encode", |bencher| bencher.iter(|| encode.once()));
        let mut decode = record_decode(codec(name));
        group.bench_function("decode", |bencher| bencher.iter(|| decode.once()));
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = codecs
}
criterion_main!(benches);
