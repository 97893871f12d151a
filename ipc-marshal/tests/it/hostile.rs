//! What a hostile peer can do: an error with a name, in bounded time and memory.

use std::time::{Duration, Instant};

use ipc_marshal::{
    ConnectError, Duct, DuctOptions, FrameError, Framing, HandshakeError, RecvError, SendError,
    TrySendError,
};

use crate::fake::{Act, Fake};

type Scripted = Duct<Vec<u64>, String, ipc_marshal::Bincode, Fake>;

fn duct(acts: impl IntoIterator<Item = Act>) -> Scripted {
    DuctOptions::new().from_channel(Fake::new(acts))
}

fn framed(framing: Framing, acts: impl IntoIterator<Item = Act>) -> Scripted {
    DuctOptions::new()
        .framing(framing)
        .from_channel(Fake::new(acts))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

#[test]
fn a_length_of_four_gigabytes() {
    for (framing, header, size) in [
        (
            Framing::Native,
            &b"\xff\xff\xff\xff\0\0\0\0"[..],
            u64::from(u32::MAX),
        ),
        (Framing::PYRE, b"\xff\xff\xff\xff", u32::MAX.into()),
        (Framing::Ductworks, b"\x54\xff\xff\xff\xff", u32::MAX.into()),
        (
            Framing::Multiprocessing,
            b"\xff\xff\xff\xff\0\0\0\x01\0\0\0\0",
            1 << 32,
        ),
    ] {
        let mut duct = framed(framing, [Act::Bytes(header.to_vec()), Act::Silence]);
        let error = duct.recv().unwrap_err();
        assert!(
            matches!(error, RecvError::TooLarge { size: claimed, max } if claimed == size && max == 64 << 20),
            "{error}"
        );
        assert_eq!(
            duct.channel().reads,
            1,
            "it does not even wait for the rest"
        );
        assert!(matches!(duct.recv(), Err(RecvError::TooLarge { .. })));
    }
}

#[test]
fn a_peer_that_stalls_inside_a_frame() {
    let acts = [
        Act::Bytes(b"\x04\0\0\0\0\0\0\0\x03a".to_vec()),
        Act::Silence,
        Act::Silence,
        Act::Bytes(b"bc".to_vec()),
    ];
    let mut duct = duct(acts);
    assert!(matches!(
        duct.recv_deadline(soon()),
        Err(RecvError::Timeout)
    ));
    assert!(duct.try_recv().is_err());
    assert_eq!(duct.recv().unwrap(), "abc", "what had come was kept");
    assert!(matches!(duct.recv(), Err(RecvError::Disconnected)));
}

#[test]
fn a_peer_that_sends_one_byte_a_second() {
    // A second is one silence here: each byte comes after the receiver has given up once.
    let mut message = Vec::new();
    Framing::Native
        .encode(b"\x05hello", &mut message)
        .expect("short");
    let acts = message
        .iter()
        .flat_map(|&byte| [Act::Silence, Act::Bytes(vec![byte])]);
    let mut duct = duct(acts);
    let mut timeouts = 0;
    let value = loop {
        match duct.recv_deadline(soon()) {
            Ok(value) => break value,
            Err(RecvError::Timeout) => timeouts += 1,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!((value.as_str(), timeouts), ("hello", message.len()));
    assert_eq!(duct.channel().reads, 2 * message.len());
}

#[test]
fn a_handshake_byte_by_byte_is_out_of_time_and_not_endless() {
    let acts = (0..50).map(|_| Act::Bytes(vec![0])).chain([Act::Silence]);
    let fake = Fake::new(acts);
    let mut duct: Scripted = DuctOptions::new().handshake(true).from_channel(fake);
    let error = duct.greet(Duration::from_secs(3600)).unwrap_err();
    assert!(
        matches!(error, ConnectError::Handshake(HandshakeError::Missing)),
        "{error:?}"
    );
}

#[test]
fn a_peer_that_never_reads() {
    let mut fake = Fake::new([]);
    fake.room = 100_000;
    let mut duct: Scripted = DuctOptions::new().from_channel(fake);
    let value = vec![u64::MAX; 1000];
    let mut accepted = 0;
    let back = loop {
        match duct.try_send(value.clone()) {
            Ok(()) => accepted += 1,
            Err(TrySendError::Full(back)) => break back,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!((accepted, back), (12, value.clone()));
    assert!(duct.pending() < 9_100, "no more than one frame is held");
    assert!(matches!(
        duct.send_deadline(value, soon()),
        Err(SendError::Timeout(_))
    ));
}

#[test]
fn garbage() {
    let garbage = b"SSH-2.0-OpenSSH_9.6\r\n".to_vec();
    let mut native = duct([Act::Bytes(garbage.clone())]);
    assert!(matches!(
        native.recv(),
        Err(RecvError::Protocol(FrameError::UnknownKind(b'2')))
    ));
    let mut ductworks = framed(Framing::Ductworks, [Act::Bytes(garbage.clone())]);
    assert!(matches!(
        ductworks.recv(),
        Err(RecvError::Protocol(FrameError::WrongMark { got: b'S', .. }))
    ));
    let mut pyre = framed(Framing::PYRE, [Act::Bytes(garbage.clone())]);
    assert!(matches!(pyre.recv(), Err(RecvError::TooLarge { .. })));
    let mut python = framed(Framing::Multiprocessing, [Act::Bytes(garbage)]);
    assert!(matches!(python.recv(), Err(RecvError::TooLarge { .. })));
}

#[cfg(feature = "json")]
#[test]
fn a_frame_of_another_codec() {
    use ipc_marshal::Codec;
    let mut json = Vec::new();
    ipc_marshal::Json.encode("hello", &mut json).expect("text");
    let mut frame = Vec::new();
    Framing::Native.encode(&json, &mut frame).expect("short");
    let mut duct = duct([Act::Bytes(frame)]);
    let error = duct.recv().unwrap_err();
    let RecvError::Decode(error) = error else {
        panic!("{error}");
    };
    assert_eq!(
        error.to_string(),
        "bincode cannot decode alloc::string::String at byte 1: at least 28 bytes are missing"
    );
}

#[test]
fn acknowledgements_that_nobody_asked_for() {
    let mut frames = Vec::new();
    for _ in 0..100_000 {
        frames.extend_from_slice(b"\x01\0\0\0\x02\0\0\0\0");
    }
    let mut duct = duct([Act::Bytes(frames)]);
    assert!(matches!(duct.recv(), Err(RecvError::Disconnected)));
}

#[test]
fn a_peer_that_wants_acknowledgements_and_does_not_read_them() {
    let mut frames = Vec::new();
    for _ in 0..100_000 {
        frames.extend_from_slice(b"\x01\0\0\0\x01\0\0\0\0");
    }
    let mut fake = Fake::new([Act::Bytes(frames)]);
    fake.room = 10;
    let mut duct: Scripted = DuctOptions::new().from_channel(fake);
    let mut received = 0;
    while duct.recv_deadline(soon()).is_ok() {
        received += 1;
    }
    assert_eq!(received, 100_000);
    assert!(duct.pending() < 16 * 1024);
}
