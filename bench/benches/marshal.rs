//! What a message costs before it meets a channel: the marshaler beside calling its codec directly, and
//! frames alone.

use std::hint::black_box;
use std::time::Duration;

use bench::record::Record;
use bincode::config;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ipc_marshal::{Bincode, Codec, Decoder, Duct, FrameKind, Framing};

/// The codec through the marshaler and directly, with the bytes copied once either way.
fn codec(c: &mut Criterion) {
    for count in [1, 1000] {
        let records: Vec<Record> = Record::many(count);
        let mut payload = Vec::new();
        Bincode.encode(&records, &mut payload).expect("it encodes");
        let mut frame = Vec::new();
        Framing::Native
            .encode(&payload, &mut frame)
            .expect("it fits");

        let mut group = c.benchmark_group(format!("codec_{count}"));
        group.throughput(Throughput::Elements(count));
        let mut out = vec![0; payload.len() + 64];
        group.bench_function("encode_direct_slice", |b| {
            b.iter(|| {
                bincode::serde::encode_into_slice(black_box(&records), &mut out, config::standard())
            });
        });
        let mut out = Vec::new();
        group.bench_function("encode_direct_vec", |b| {
            b.iter(|| {
                out.clear();
                bincode::serde::encode_into_std_write(
                    black_box(&records),
                    &mut out,
                    config::standard(),
                )
            });
        });
        let mut out = Vec::new();
        group.bench_function("encode_marshaled", |b| {
            b.iter(|| {
                out.clear();
                let open = Framing::Native.begin(&mut out);
                Bincode
                    .encode(black_box(&records), &mut out)
                    .expect("it encodes");
                Framing::Native.finish(open, FrameKind::Message, 0, &mut out)
            });
        });
        let mut copy = vec![0; payload.len()];
        group.bench_function("decode_direct", |b| {
            b.iter(|| {
                copy.copy_from_slice(black_box(&payload));
                let (value, _): (Vec<Record>, usize) =
                    bincode::serde::decode_from_slice(&copy, config::standard())
                        .expect("it decodes");
                value
            });
        });
        let mut decoder = Decoder::new(Framing::Native, 1 << 30);
        group.bench_function("decode_marshaled", |b| {
            b.iter(|| {
                decoder.feed(black_box(&frame));
                assert!(decoder.ready().expect("it is a frame"));
                let frame = decoder.take().expect("it is ready");
                Bincode
                    .decode::<Vec<Record>>(frame.payload)
                    .expect("it decodes")
            });
        });
        group.finish();
    }
}

/// Frames alone.
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

/// A message there, without anyone waiting: what two calls and the system between them cost.
fn duct(c: &mut Criterion) {
    let mut group = c.benchmark_group("duct");
    let value = Record::numbered(42);
    let (mut near, mut far) = Duct::<Record, ()>::pair().expect("a pair can be made");
    group.bench_function("socket_record", |b| {
        b.iter(|| {
            near.send(black_box(value.clone()))
                .expect("the other end is open");
            far.recv().expect("a message was sent")
        });
    });
    let (near, far) = ipc_core::Ring::pair().expect("a ring can be made");
    let mut near = Duct::<Record, ()>::from_channel(near.into());
    let mut far = Duct::<(), Record>::from_channel(far.into());
    group.bench_function("ring_record", |b| {
        b.iter(|| {
            near.send(black_box(value.clone()))
                .expect("the other end is open");
            far.recv().expect("a message was sent")
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    targets = codec, framing, duct
}
criterion_main!(benches);
