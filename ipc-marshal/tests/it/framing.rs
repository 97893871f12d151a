//! Framings and the decoder: any split of the bytes, limits, and exact bytes.

use ipc_marshal::{ByteOrder, Decoder, FrameError, FrameKind, Framing, LengthWidth};
use proptest::prelude::*;

const LIMIT: usize = 1 << 20;

fn framings() -> Vec<Framing> {
    let mut all = vec![
        Framing::Native,
        Framing::Ductworks,
        Framing::Multiprocessing,
        Framing::PYRE,
    ];
    if cfg!(feature = "crc32c") {
        all.push(Framing::NativeChecked);
    }
    for width in [LengthWidth::U16, LengthWidth::U32, LengthWidth::U64] {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            all.push(Framing::Length { width, order });
        }
    }
    all
}

fn encoded(framing: Framing, payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for payload in payloads {
        framing.encode(payload, &mut bytes).expect("short enough");
    }
    bytes
}

fn drain(decoder: &mut Decoder, into: &mut Vec<Vec<u8>>) {
    while let Some(frame) = decoder.next_frame().expect("valid frames") {
        assert_eq!(frame.kind, FrameKind::Message);
        into.push(frame.payload.to_vec());
    }
}

proptest! {
    #[test]
    fn any_split_gives_the_same_frames(
        which in 0..framings().len(),
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..12),
        cuts in prop::collection::vec(1_usize..500, 1..40),
    ) {
        let framing = framings()[which];
        let bytes = encoded(framing, &payloads);
        let mut decoder = Decoder::new(framing, LIMIT);
        let mut got = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            decoder.feed(now);
            drain(&mut decoder, &mut got);
            rest = later;
        }
        prop_assert_eq!(got, payloads);
        prop_assert_eq!(decoder.finish(), Ok(()));
    }

    #[test]
    fn frames_left_in_the_decoder_are_not_lost(
        which in 0..framings().len(),
        sizes in prop::collection::vec(0_usize..60_000, 1..20),
        take_every in 1_usize..5,
    ) {
        let framing = framings()[which];
        let payloads: Vec<Vec<u8>> = sizes.iter().map(|&size| vec![size as u8; size]).collect();
        let mut decoder = Decoder::new(framing, LIMIT);
        let mut got = Vec::new();
        for (count, payload) in payloads.iter().enumerate() {
            decoder.feed(&encoded(framing, std::slice::from_ref(payload)));
            if count % take_every == 0
                && let Some(frame) = decoder.next_frame().unwrap()
            {
                got.push(frame.payload.to_vec());
            }
        }
        drain(&mut decoder, &mut got);
        prop_assert_eq!(got, payloads);
    }

    #[test]
    fn garbage_is_an_error_or_frames_and_never_a_panic(
        which in 0..framings().len(),
        bytes in prop::collection::vec(any::<u8>(), 0..4000),
    ) {
        let mut decoder = Decoder::new(framings()[which], 1000);
        decoder.feed(&bytes);
        while let Ok(Some(frame)) = decoder.next_frame() {
            prop_assert!(frame.payload.len() <= 1000);
        }
        let _ = decoder.finish();
        prop_assert!(decoder.capacity() <= 256 * 1024);
    }
}

#[test]
fn one_byte_at_a_time() {
    for framing in framings() {
        let payloads = vec![b"one".to_vec(), Vec::new(), vec![7; 70_000 % 65_536]];
        let mut decoder = Decoder::new(framing, LIMIT);
        let mut got = Vec::new();
        for byte in encoded(framing, &payloads) {
            decoder.feed(&[byte]);
            drain(&mut decoder, &mut got);
        }
        assert_eq!(got, payloads, "{framing:?}");
    }
}

#[track_caller]
fn check(framing: Framing, expect: &[u8]) {
    let mut bytes = Vec::new();
    framing.encode(b"abc", &mut bytes).expect("short enough");
    assert_eq!(bytes, expect, "{framing:?}");
}

#[test]
fn exact_bytes() {
    check(Framing::Native, b"\x03\0\0\0\0\0\0\0abc");
    check(Framing::Ductworks, b"\x54\0\0\0\x03abc");
    check(Framing::PYRE, b"\x03\0\0\0abc");
    check(Framing::Multiprocessing, b"\0\0\0\x03abc");
    let length = |width, order| Framing::Length { width, order };
    check(length(LengthWidth::U16, ByteOrder::Big), b"\0\x03abc");
    check(length(LengthWidth::U16, ByteOrder::Little), b"\x03\0abc");
    check(
        length(LengthWidth::U64, ByteOrder::Big),
        b"\0\0\0\0\0\0\0\x03abc",
    );
    #[cfg(feature = "crc32c")]
    check(
        Framing::NativeChecked,
        b"\x03\0\0\0\0\x01\0\0abc\x9e\x2f\xb0\xaf",
    );
}

#[test]
fn multiprocessing_reads_wide_headers() {
    let mut decoder = Decoder::new(Framing::Multiprocessing, 10);
    decoder.feed(b"\xff\xff\xff\xff\0\0\0\0\0\0\0\x02hi");
    assert_eq!(decoder.next_frame().unwrap().unwrap().payload, b"hi");
    decoder.feed(b"\xff\xff\xff\xfe");
    assert_eq!(
        decoder.next_frame().unwrap_err(),
        FrameError::NegativeLength(-2)
    );
}

#[test]
fn a_huge_length_costs_nothing() {
    for (framing, header, size) in [
        (
            Framing::Native,
            &b"\xff\xff\xff\xff\0\0\0\0"[..],
            u32::MAX.into(),
        ),
        (Framing::Ductworks, b"\x54\xff\xff\xff\xff", u32::MAX.into()),
        (Framing::PYRE, b"\xff\xff\xff\xff", u32::MAX.into()),
        (
            Framing::Multiprocessing,
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            u64::MAX,
        ),
        (
            Framing::Length {
                width: LengthWidth::U64,
                order: ByteOrder::Big,
            },
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
            u64::MAX,
        ),
    ] {
        let mut decoder = Decoder::new(framing, LIMIT);
        decoder.feed(header);
        let expect = FrameError::TooLarge { size, max: LIMIT };
        assert_eq!(decoder.next_frame().unwrap_err(), expect);
        assert_eq!(decoder.next_frame().unwrap_err(), expect, "it stays failed");
        assert!(decoder.capacity() <= 64 * 1024);
    }
}

#[test]
fn a_length_within_the_limit_is_not_allocated_before_it_arrives() {
    let mut decoder = Decoder::new(Framing::PYRE, usize::MAX);
    decoder.feed(b"\xff\xff\xff\xff some of it");
    assert!(decoder.next_frame().unwrap().is_none());
    let _ = decoder.space();
    assert!(decoder.capacity() <= 256 * 1024);
    assert_eq!(
        decoder.finish(),
        Err(FrameError::Truncated {
            missing: u32::MAX as usize - 11
        })
    );
}

#[test]
fn a_wrong_mark_is_named_at_the_first_byte() {
    let mut decoder = Decoder::new(Framing::Ductworks, LIMIT);
    decoder.feed(b"G");
    assert_eq!(
        decoder.next_frame().unwrap_err(),
        FrameError::WrongMark {
            expected: 0x54,
            got: b'G'
        }
    );
}

#[test]
fn unknown_kinds_and_flags_are_refused() {
    let mut decoder = Decoder::new(Framing::Native, LIMIT);
    decoder.feed(b"\0\0\0\0\x09\0\0\0");
    assert_eq!(
        decoder.next_frame().unwrap_err(),
        FrameError::UnknownKind(9)
    );
    let mut decoder = Decoder::new(Framing::Native, LIMIT);
    decoder.feed(b"\0\0\0\0\0\x80\0\0");
    assert_eq!(
        decoder.next_frame().unwrap_err(),
        FrameError::UnknownFlags(0x80)
    );
}

#[cfg(feature = "crc32c")]
#[test]
fn a_damaged_frame_is_found() {
    let mut bytes = Vec::new();
    Framing::NativeChecked.encode(b"abc", &mut bytes).unwrap();
    bytes[9] ^= 1;
    let mut decoder = Decoder::new(Framing::Native, LIMIT);
    decoder.feed(&bytes);
    assert!(matches!(
        decoder.next_frame(),
        Err(FrameError::Checksum { .. })
    ));
}

#[test]
fn memory_is_given_back_after_a_long_frame() {
    let mut decoder = Decoder::new(Framing::PYRE, usize::MAX);
    let long = encoded(Framing::PYRE, &[vec![1; 10 << 20]]);
    decoder.feed(&long);
    assert_eq!(
        decoder.next_frame().unwrap().unwrap().payload.len(),
        10 << 20
    );
    assert!(decoder.capacity() >= 10 << 20);
    let short = encoded(Framing::PYRE, &[vec![1; 10]]);
    for _ in 0..200 {
        decoder.feed(&short);
        assert!(decoder.next_frame().unwrap().is_some());
    }
    assert!(decoder.capacity() <= 128 * 1024);
}
