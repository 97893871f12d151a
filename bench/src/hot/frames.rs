//! Messages: frames, codecs, and whole ducts within one thread.

use std::hint::black_box;

use ipc_core::{AnyChannel, Deadline, Ring, Socket};
use ipc_marshal::{AnyCodec, Bincode, Codec, Decoder, Duct, DuctOptions, FrameKind, Framing};

use super::Hot;
use crate::record::Record;

/// Frames longer than this are refused.
const PAYLOAD_LEN_MAX: usize = 1 << 20;

/// Encodes a payload of `len` bytes into a frame.
pub fn frame_encode(framing: Framing, len: usize) -> Hot {
    let payload = vec![7; len];
    let mut out = Vec::new();
    Hot::new(move || {
        out.clear();
        framing
            .encode(black_box(&payload), &mut out)
            .expect("it fits");
        black_box(&out);
    })
}

/// Decodes a frame with a payload of `len` bytes.
pub fn frame_decode(framing: Framing, len: usize) -> Hot {
    let mut bytes = Vec::new();
    framing.encode(&vec![7; len], &mut bytes).expect("it fits");
    let mut decoder = Decoder::new(framing, PAYLOAD_LEN_MAX);
    Hot::new(move || {
        decoder.feed(black_box(&bytes));
        let frame = decoder
            .next_frame()
            .expect("it was encoded here")
            .expect("a whole frame was fed");
        assert_eq!(black_box(frame.payload).len(), len);
    })
}

/// Encodes a record straight into a frame, as a duct does.
pub fn record_encode<C: Codec + 'static>(codec: C) -> Hot {
    let record = Record::example();
    let mut out = Vec::new();
    Hot::new(move || {
        out.clear();
        let frame = Framing::Native.begin(&mut out);
        codec
            .encode(black_box(&record), &mut out)
            .expect("records can be encoded");
        Framing::Native
            .finish(frame, FrameKind::Message, 0, &mut out)
            .expect("it fits");
        black_box(&out);
    })
}

/// Decodes a record and drops it.
pub fn record_decode<C: Codec + 'static>(codec: C) -> Hot {
    let mut bytes = Vec::new();
    codec
        .encode(&Record::example(), &mut bytes)
        .expect("records can be encoded");
    Hot::new(move || {
        let record: Record = codec
            .decode(black_box(&bytes))
            .expect("it was encoded here");
        black_box(record);
    })
}

/// The codec that tools call `name`.
///
/// # Panics
///
/// When there is none of that name.
pub fn codec(name: &str) -> AnyCodec {
    AnyCodec::by_name(name).expect("the feature for it is on")
}

fn duct_round<Ch>(near: Ch, far: Ch) -> Hot
where
    Ch: Into<AnyChannel>,
{
    let options = DuctOptions::new().codec(Bincode);
    let mut near: Duct<Record, ()> = options.clone().from_channel(near.into());
    let mut far: Duct<(), Record> = options.from_channel(far.into());
    let mut record = Some(Record::example());
    Hot::new(move || {
        let sent = record.take().expect("the last one came back");
        near.send(sent).expect("the other end is open");
        record = Some(far.recv().expect("one was sent"));
    })
}

/// Sends a record through a duct over a ring and receives it.
pub fn duct_ring_round() -> Hot {
    let (near, far) = Ring::pair().expect("memory and descriptors are to be had");
    duct_round(near, far)
}

/// Sends a record through a duct over a unix socket and receives it.
pub fn duct_socket_round() -> Hot {
    let (near, far) = Socket::pair().expect("descriptors are to be had");
    duct_round(near, far)
}

/// Sends `len` bytes past the codec through a duct over a ring, and looks at them without taking
/// them out.
pub fn duct_ring_bytes(len: usize) -> Hot {
    let (near, far) = Ring::pair().expect("memory and descriptors are to be had");
    let mut near = Duct::<(), ()>::from_channel(near.into());
    let mut far = Duct::<(), ()>::from_channel(far.into());
    let payload = vec![7; len];
    Hot::new(move || {
        near.send_bytes(black_box(&payload), Deadline::Never)
            .expect("the other end is open");
        let seen = far
            .recv_with(Deadline::Never, |message| message.bytes().len())
            .expect("one was sent");
        assert_eq!(seen, len);
    })
}
