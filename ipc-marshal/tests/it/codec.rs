//! Codecs: golden bytes, round trips, and what hostile bytes can do.

use std::collections::{BTreeMap, LinkedList};

use ipc_marshal::{AnyCodec, Bincode, Codec, Raw};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    id: u32,
    name: String,
    scores: Vec<f64>,
    next: Option<Box<Record>>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Unit,
    New(u8),
    Pair(i8, i64),
    Named { text: char },
}

fn record() -> Record {
    Record {
        id: 300,
        name: "añ".to_owned(),
        scores: vec![1.5],
        next: None,
        kind: Kind::Pair(-1, i64::MIN),
    }
}

fn encode<T: Serialize + ?Sized>(codec: &impl Codec, value: &T) -> Vec<u8> {
    let mut bytes = b"kept".to_vec();
    codec.encode(value, &mut bytes).expect("encodes");
    assert_eq!(&bytes[..4], b"kept");
    bytes.split_off(4)
}

#[track_caller]
fn round_trip<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    codec: &impl Codec,
    value: &T,
) {
    let bytes = encode(codec, value);
    assert_eq!(&codec.decode::<T>(&bytes).expect("decodes"), value);
    for cut in 0..bytes.len() {
        assert!(
            codec.decode::<T>(&bytes[..cut]).is_err(),
            "{} accepts {cut} of {} bytes",
            codec.name(),
            bytes.len()
        );
    }
    let mut longer = bytes;
    longer.push(b'0');
    assert!(codec.decode::<T>(&longer).is_err(), "{}", codec.name());
}

fn structured() -> impl Iterator<Item = AnyCodec> {
    AnyCodec::ALL
        .iter()
        .copied()
        .filter(|codec| *codec != AnyCodec::Raw)
}

#[test]
fn every_codec_round_trips_every_shape() {
    for codec in structured() {
        round_trip(&codec, &record());
        for kind in [
            Kind::Unit,
            Kind::New(7),
            Kind::Pair(1, 2),
            Kind::Named { text: 'é' },
        ] {
            round_trip(
                &codec,
                &Record {
                    next: Some(Box::new(record())),
                    kind,
                    ..record()
                },
            );
        }
        round_trip(&codec, &(true, 'x', u64::MAX, i64::MIN, "text".to_owned()));
        round_trip(&codec, &vec![Some(1_u8), None]);
        let map: BTreeMap<String, Vec<u16>> = [("a".to_owned(), vec![1, 500])].into();
        round_trip(&codec, &map);
        round_trip(&codec, &vec![vec![0_u8; 10]; 10]);
    }
}

#[test]
fn names_are_found_and_ids_are_distinct() {
    let mut ids = Vec::new();
    for &codec in AnyCodec::ALL {
        assert_eq!(AnyCodec::by_name(codec.name()), Some(codec));
        ids.push(codec.id());
    }
    ids.dedup();
    assert_eq!(ids.len(), AnyCodec::ALL.len());
    assert_eq!(AnyCodec::by_name("xml"), None);
}

#[test]
fn bincode_is_pinned() {
    assert_eq!(
        encode(&Bincode, &record()),
        b"\xfb\x2c\x01\x03a\xc3\xb1\x01\0\0\0\0\0\0\xf8\x3f\0\x02\xff\xfd\xff\xff\xff\xff\xff\xff\xff\xff"
    );
    assert_eq!(encode(&Bincode, &u32::MAX), b"\xfc\xff\xff\xff\xff");
    assert_eq!(encode(&Bincode, &(250_u16, -1_i32)), b"\xfa\x01");
}

type Anything = (
    Vec<(u8, i8, u16, i16, u32, i32)>,
    BTreeMap<String, Option<(u64, i64, u128, i128)>>,
    (bool, char, f32, f64, ()),
    Result<Vec<char>, String>,
);

proptest! {
    /// The crate writes what is read here, and reads what is written here.
    #[test]
    fn bincode_is_what_the_crate_says(value: Anything, cut in 0_usize..200, at in 0_usize..200, byte: u8) {
        prop_assume!(!value.2.2.is_nan() && !value.2.3.is_nan());
        let config = bincode::config::standard();
        let theirs = bincode::serde::encode_to_vec(&value, config).unwrap();
        prop_assert_eq!(&encode(&Bincode, &value), &theirs);
        prop_assert_eq!(&Bincode.decode::<Anything>(&theirs).unwrap(), &value);
        // Cut and spoilt, both say the same of it, but for what this crate forbids.
        let mut spoilt = theirs;
        spoilt.truncate(spoilt.len().saturating_sub(cut));
        if let Some(place) = spoilt.get_mut(at) {
            *place = byte;
        }
        let config = config.with_limit::<{ 1 << 20 }>();
        let direct = bincode::serde::decode_from_slice::<Anything, _>(&spoilt, config);
        match (Bincode.decode::<Anything>(&spoilt), direct) {
            (Ok(ours), Ok((theirs, used))) => {
                prop_assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
                prop_assert_eq!(used, spoilt.len());
            }
            (Err(_), Ok((_, used))) => prop_assert!(used < spoilt.len()),
            (Err(_), Err(_)) => {}
            (Ok(ours), Err(theirs)) => prop_assert!(false, "{ours:?} but {theirs}"),
        }
    }
}

#[cfg(feature = "json")]
#[test]
fn json_is_pinned_and_tells_positions() {
    use ipc_marshal::Json;
    let bytes = encode(&Json, &record());
    assert_eq!(
        String::from_utf8(bytes).unwrap(),
        r#"{"id":300,"name":"añ","scores":[1.5],"next":null,"kind":{"Pair":[-1,-9223372036854775808]}}"#
    );
    let error = Json.decode::<Vec<u8>>(b"[1,\n2,\n x]").unwrap_err();
    assert_eq!(error.position(), Some(8));
}

/// Found by fuzzing: read in a hurry, they came back as their neighbours.
#[test]
fn floats_come_back_as_themselves() {
    for float in [2.225835780507201e-308, 3.115997963557178e-5, -0.0, f64::MAX] {
        for &codec in AnyCodec::ALL {
            if codec != AnyCodec::Raw {
                let mut bytes = Vec::new();
                codec.encode(&float, &mut bytes).unwrap();
                let back: f64 = codec.decode(&bytes).unwrap();
                assert_eq!(back.to_bits(), f64::to_bits(float), "{codec:?} {float:e}");
            }
        }
    }
}

#[cfg(feature = "messagepack")]
#[test]
fn messagepack_is_pinned() {
    assert_eq!(
        encode(&ipc_marshal::MessagePack, &record()),
        b"\x85\xa2id\xcd\x01\x2c\xa4name\xa3a\xc3\xb1\xa6scores\x91\xcb\x3f\xf8\0\0\0\0\0\0\xa4next\xc0\
          \xa4kind\x81\xa4Pair\x92\xff\xd3\x80\0\0\0\0\0\0\0"
    );
}

#[cfg(feature = "postcard")]
#[test]
fn postcard_is_pinned() {
    assert_eq!(
        encode(&ipc_marshal::Postcard, &record()),
        b"\xac\x02\x03a\xc3\xb1\x01\0\0\0\0\0\0\xf8\x3f\0\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
    );
}

#[test]
fn raw_takes_bytes_and_text_only() {
    assert_eq!(encode(&Raw, b"ab".as_slice()), b"ab");
    assert_eq!(encode(&Raw, "ab"), b"ab");
    assert_eq!(encode(&Raw, &()), b"");
    assert_eq!(Raw.decode::<Vec<u8>>(b"\x00\xff").unwrap(), [0, 255]);
    assert_eq!(Raw.decode::<&[u8]>(b"ab").unwrap(), b"ab");
    assert_eq!(Raw.decode::<&str>(b"ab").unwrap(), "ab");
    assert!(Raw.decode::<String>(b"\xff").is_err());
    assert!(Raw.decode::<[u8; 2]>(b"abc").is_err());
    assert!(Raw.decode::<u32>(b"abcd").is_err());
    assert!(Raw.encode(&1_u32, &mut Vec::new()).is_err());
}

#[test]
fn errors_name_codec_type_and_position() {
    let error = Bincode.decode::<String>(b"\x05abc").unwrap_err();
    assert_eq!(error.position(), Some(1));
    assert_eq!(
        error.to_string(),
        "bincode cannot decode alloc::string::String at byte 1: at least 2 bytes are missing"
    );
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Chain(Option<Box<Chain>>);

#[test]
fn a_recursive_type_cannot_exhaust_the_stack() {
    let deep = vec![1; 1 << 20];
    assert!(Bincode.decode::<Chain>(&deep).is_err());
    #[cfg(feature = "postcard")]
    assert!(ipc_marshal::Postcard.decode::<Chain>(&deep).is_err());
    #[cfg(feature = "json")]
    assert!(
        ipc_marshal::Json
            .decode::<serde_json::Value>(&vec![b'['; 1 << 20])
            .is_err()
    );
    #[cfg(feature = "messagepack")]
    assert!(
        ipc_marshal::MessagePack
            .decode::<serde_json::Value>(&vec![0x91; 1 << 20])
            .is_err()
    );
    #[cfg(feature = "pickle")]
    {
        let mut pickle = vec![b']'; 1 << 20];
        pickle.extend_from_slice(&vec![b'a'; (1 << 20) - 1]);
        pickle.push(b'.');
        assert!(
            ipc_marshal::Pickle
                .decode::<serde_json::Value>(&pickle)
                .is_err()
        );
    }
    let short = Chain(Some(Box::new(Chain(None))));
    round_trip(&Bincode, &short);
}

#[test]
fn elements_without_bytes_cannot_keep_a_loop_busy() {
    let endless = b"\xfd\xff\xff\xff\xff\xff\xff\xff\x7f";
    assert!(Bincode.decode::<LinkedList<()>>(endless).is_err());
    assert!(Bincode.decode::<Vec<[u64; 0]>>(endless).is_err());
    #[cfg(feature = "postcard")]
    {
        let endless = b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f";
        assert!(
            ipc_marshal::Postcard
                .decode::<LinkedList<()>>(endless)
                .is_err()
        );
    }
    assert_eq!(
        Bincode.decode::<Vec<()>>(b"\xfb\x10\x27").unwrap().len(),
        10_000
    );
}

#[test]
fn lengths_that_are_not_there_allocate_nothing() {
    for bytes in [
        &b"\xfc\xff\xff\xff\x3f"[..],
        b"\xfd\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert!(Bincode.decode::<String>(bytes).is_err());
        assert!(Bincode.decode::<Vec<String>>(bytes).is_err());
        assert!(Bincode.decode::<Vec<u64>>(bytes).is_err());
    }
}

#[cfg(feature = "pickle")]
mod pickle {
    use super::encode;
    use ipc_marshal::{Codec, Pickle};
    use serde::Deserialize;
    use std::collections::BTreeSet;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Plain {
        id: u8,
        name: String,
        scores: (f64, f64),
        next: Option<u8>,
        big: i128,
        flag: bool,
    }

    #[test]
    fn it_is_pinned() {
        assert_eq!(
            encode(&Pickle, &super::record()),
            b"\x80\x03}(X\x02\0\0\0idJ\x2c\x01\0\0X\x04\0\0\0nameX\x03\0\0\0a\xc3\xb1\
              X\x06\0\0\0scores](G\x3f\xf8\0\0\0\0\0\0eX\x04\0\0\0nextNX\x04\0\0\0kind}\
              X\x04\0\0\0Pair](J\xff\xff\xff\xff\x8a\x08\0\0\0\0\0\0\0\x80esu."
        );
    }

    /// What CPython 3.11 writes for one dict in each protocol.
    #[test]
    fn every_protocol_is_read() {
        let protocols: [&[u8]; 6] = [
            b"(dp0\nVid\np1\nI7\nsVname\np2\nVa\xf1\np3\nsVscores\np4\n(lp5\nF1.5\naF-2.0\nasV\
              next\np6\nNsVbig\np7\nL1180591620717411303424L\nsVflag\np8\nI01\ns.",
            b"}q\0(X\x02\0\0\0idq\x01K\x07X\x04\0\0\0nameq\x02X\x03\0\0\0a\xc3\xb1q\x03X\x06\0\
              \0\0scoresq\x04]q\x05(G?\xf8\0\0\0\0\0\0G\xc0\0\0\0\0\0\0\0eX\x04\0\0\0nextq\x06\
              NX\x03\0\0\0bigq\x07L1180591620717411303424L\nX\x04\0\0\0flagq\x08I01\nu.",
            b"\x80\x02}q\0(X\x02\0\0\0idq\x01K\x07X\x04\0\0\0nameq\x02X\x03\0\0\0a\xc3\xb1q\
              \x03X\x06\0\0\0scoresq\x04]q\x05(G?\xf8\0\0\0\0\0\0G\xc0\0\0\0\0\0\0\0eX\x04\0\0\
              \0nextq\x06NX\x03\0\0\0bigq\x07\x8a\x09\0\0\0\0\0\0\0\0@X\x04\0\0\0flagq\x08\x88\
              u.",
            b"\x80\x03}q\0(X\x02\0\0\0idq\x01K\x07X\x04\0\0\0nameq\x02X\x03\0\0\0a\xc3\xb1q\
              \x03X\x06\0\0\0scoresq\x04]q\x05(G?\xf8\0\0\0\0\0\0G\xc0\0\0\0\0\0\0\0eX\x04\0\0\
              \0nextq\x06NX\x03\0\0\0bigq\x07\x8a\x09\0\0\0\0\0\0\0\0@X\x04\0\0\0flagq\x08\x88\
              u.",
            b"\x80\x04\x95Y\0\0\0\0\0\0\0}\x94(\x8c\x02id\x94K\x07\x8c\x04name\x94\x8c\x03a\
              \xc3\xb1\x94\x8c\x06scores\x94]\x94(G?\xf8\0\0\0\0\0\0G\xc0\0\0\0\0\0\0\0e\x8c\
              \x04next\x94N\x8c\x03big\x94\x8a\x09\0\0\0\0\0\0\0\0@\x8c\x04flag\x94\x88u.",
            b"\x80\x05\x95Y\0\0\0\0\0\0\0}\x94(\x8c\x02id\x94K\x07\x8c\x04name\x94\x8c\x03a\
              \xc3\xb1\x94\x8c\x06scores\x94]\x94(G?\xf8\0\0\0\0\0\0G\xc0\0\0\0\0\0\0\0e\x8c\
              \x04next\x94N\x8c\x03big\x94\x8a\x09\0\0\0\0\0\0\0\0@\x8c\x04flag\x94\x88u.",
        ];
        for (protocol, pickle) in protocols.iter().enumerate() {
            let plain: Plain = Pickle.decode(pickle).unwrap();
            let expect = Plain {
                id: 7,
                name: "añ".to_owned(),
                scores: (1.5, -2.0),
                next: None,
                big: 1 << 70,
                flag: true,
            };
            assert_eq!(plain, expect, "protocol {protocol}");
        }
    }

    #[test]
    fn sets_of_protocol_4_are_data() {
        let set: BTreeSet<u8> = Pickle
            .decode(b"\x80\x04\x8f\x94(K\x01K\x02K\x03\x90.")
            .unwrap();
        assert_eq!(set, [1, 2, 3].into());
    }

    #[track_caller]
    fn refused(pickle: &[u8], position: usize) {
        let error = Pickle
            .decode::<serde_json::Value>(pickle)
            .expect_err("refused");
        assert!(error.to_string().contains("class or a call"), "{error}");
        assert_eq!(error.position(), Some(position));
    }

    #[test]
    fn classes_and_calls_are_refused() {
        refused(b"cos\nsystem\n(S'true'\ntR.", 0);
        refused(
            b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
            14,
        );
        refused(b"(ios\nsystem\n.", 1);
        refused(b"}}b.", 2);
        refused(b"N)\x81.", 2);
    }

    #[test]
    fn a_list_in_itself_has_no_end_and_is_refused() {
        assert!(Pickle.decode::<serde_json::Value>(b"]q\0h\0a.").is_err());
    }

    #[test]
    fn a_small_pickle_cannot_become_a_large_value() {
        // Forty lists, each of which has the one before twice.
        let mut bomb = b"]".to_vec();
        for _ in 0..40 {
            bomb.extend_from_slice(b"q\0]h\0ah\0a");
        }
        bomb.push(b'.');
        let error = Pickle.decode::<serde_json::Value>(&bomb).unwrap_err();
        assert!(error.to_string().contains("bounds"), "{error}");
        // Marks cost four bytes each here.
        let marks = vec![b'('; 1 << 20];
        assert!(Pickle.decode::<()>(&marks).is_err());
    }
}
