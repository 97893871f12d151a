//! One record and a thousand, through the marshaler without a channel: into a frame and out of one.
//! The value that comes out is the one that went in, or there is no number.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bench::record::Record;
use ipc_marshal::{
    Bincode, Codec, Decoder, FrameKind, Framing, Json, MessagePack, PAYLOAD_LEN_MAX, Postcard,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Cell, emit};

const PEERS: [&str; 4] = [
    "marshal-bincode",
    "marshal-json",
    "marshal-messagepack",
    "marshal-postcard",
];

pub(crate) fn list() -> Vec<Cell> {
    let mut cells = Vec::new();
    for case in ["encode", "decode"] {
        for size in [1, 1000] {
            for peer in PEERS {
                cells.push(Cell {
                    group: "ser",
                    peer: peer.to_owned(),
                    case,
                    size,
                });
            }
        }
    }
    cells
}

/// Measures the cell, if there is one of this name.
pub(crate) fn cell(peer: &str, case: &str, size: usize, ms: u64) -> bool {
    let time = Duration::from_millis(ms);
    match peer {
        "marshal-bincode" => run(Bincode, case, size, time),
        "marshal-json" => run(Json, case, size, time),
        "marshal-messagepack" => run(MessagePack, case, size, time),
        "marshal-postcard" => run(Postcard, case, size, time),
        _ => false,
    }
}

fn run(codec: impl Codec, case: &str, size: usize, time: Duration) -> bool {
    match (case, size) {
        ("encode", 1) => encode(&codec, &Record::numbered(42), time),
        ("decode", 1) => decode(&codec, &Record::numbered(42), time),
        ("encode", 1000) => encode(&codec, &Record::many(1000), time),
        ("decode", 1000) => decode(&codec, &Record::many(1000), time),
        _ => return false,
    }
    true
}

/// Encodes into a frame in a buffer that is used again, as a duct does.
fn framed<T: Serialize>(codec: &impl Codec, value: &T, out: &mut Vec<u8>) {
    out.clear();
    let frame = Framing::Native.begin(out);
    codec.encode(value, out).expect("records can be encoded");
    Framing::Native
        .finish(frame, FrameKind::Message, 0, out)
        .expect("it is short enough");
}

/// Takes the frame out of what has arrived, and the value out of the frame.
fn taken<T: DeserializeOwned>(codec: &impl Codec, bytes: &[u8], decoder: &mut Decoder) -> T {
    decoder.feed(bytes);
    let frame = decoder.next_frame().expect("it was encoded here");
    let frame = frame.expect("a whole frame was fed");
    codec.decode(frame.payload).expect("it was encoded here")
}

fn encode<T>(codec: &impl Codec, value: &T, time: Duration)
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let mut out = Vec::new();
    framed(codec, value, &mut out);
    let expected = out.clone();
    let each = measure(time, || {
        framed(codec, black_box(value), &mut out);
        black_box(&out);
    });
    assert_eq!(out, expected, "the last frame is the first");
    let mut decoder = Decoder::new(Framing::Native, PAYLOAD_LEN_MAX);
    assert_eq!(&taken::<T>(codec, &out, &mut decoder), value);
    emit("ns_per_op", each);
}

fn decode<T>(codec: &impl Codec, value: &T, time: Duration)
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let mut bytes = Vec::new();
    framed(codec, value, &mut bytes);
    let mut decoder = Decoder::new(Framing::Native, PAYLOAD_LEN_MAX);
    assert_eq!(&taken::<T>(codec, &bytes, &mut decoder), value);
    let each = measure(time, || {
        black_box(taken::<T>(codec, black_box(&bytes), &mut decoder));
    });
    assert_eq!(&taken::<T>(codec, &bytes, &mut decoder), value);
    emit("ns_per_op", each);
}

/// Nanoseconds for each run. The clock is read once for about a twentieth of the time.
fn measure(time: Duration, mut run: impl FnMut()) -> f64 {
    let mut batch = 1_u64;
    loop {
        let started = Instant::now();
        (0..batch).for_each(|_| run());
        if started.elapsed() * 20 >= time {
            break;
        }
        batch *= 2;
    }
    let (started, mut count) = (Instant::now(), 0);
    while started.elapsed() < time {
        (0..batch).for_each(|_| run());
        count += batch;
    }
    started.elapsed().as_nanos() as f64 / count as f64
}
