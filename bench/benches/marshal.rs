//! Framing and codec, in process: what a message costs before it meets a channel.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ipc_marshal::{Decoder, Duct, Framing};

fn framing(c: &mut Criterion) {
    let mut group = c.benchmark_group("native_framing");
    for len in [64, 4096, 65_536] {
        let payload = vec![7; len];
        let mut frame = Vec::new();
        Framing::Native
            .encode(&payload, &mut frame)
            .expect("it fits");
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("encode_{len}"), |b| {
            let mut out = Vec::new();
            b.iter(|| {
                out.clear();
                Framing::Native.encode(black_box(&payload), &mut out)
            });
        });
        group.bench_function(format!("decode_{len}"), |b| {
            let mut decoder = Decoder::new(Framing::Native, 1 << 20);
            b.iter(|| {
                decoder.feed(black_box(&frame));
                decoder
                    .next_frame()
                    .map(|frame| frame.map(|frame| frame.payload.len()))
            });
        });
    }
    group.finish();
}

fn duct(c: &mut Criterion) {
    let (mut near, mut far) = Duct::<Vec<u8>, Vec<u8>>::pair().expect("a pair can be made");
    c.bench_function("duct_pair_64", |b| {
        b.iter_batched(
            || vec![7; 64],
            |message| {
                near.send(message).expect("the other end is open");
                far.recv().expect("a message was sent")
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, framing, duct);
criterion_main!(benches);
