//! What two ends tell each other before the first message.

use std::io::Write;
use std::thread;
use std::time::Duration;

use ipc_core::{Port, Socket};
use ipc_marshal::{
    Codec, ConnectError, DecodeError, Duct, DuctOptions, EncodeError, Framing, HandshakeError,
    RecvError, SendError, schema_hash,
};
use serde::{Deserialize, Serialize};

use crate::within::{SOON, within};

fn port() -> Port {
    Port::bind(&"tcp:127.0.0.1:0".parse().expect("a valid address")).expect("a free port")
}

/// Bincode under another name.
#[derive(Clone, Debug)]
struct Foreign;

impl Codec for Foreign {
    fn id(&self) -> u16 {
        0x8001
    }

    fn name(&self) -> &'static str {
        "foreign"
    }

    fn encode<T: Serialize + ?Sized>(
        &self,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        ipc_marshal::Bincode.encode(value, out)
    }

    fn decode<'de, T: Deserialize<'de>>(&self, bytes: &'de [u8]) -> Result<T, DecodeError> {
        ipc_marshal::Bincode.decode(bytes)
    }
}

/// Connects with each of the options and answers what both ends say.
fn meet<C: Codec + 'static, D: Codec + 'static>(
    ours: DuctOptions<C>,
    theirs: DuctOptions<D>,
) -> (Option<ConnectError>, Option<ConnectError>) {
    within(SOON, move || {
        let mut port = port();
        let address = port.address().clone();
        let client = thread::spawn(move || ours.connect::<u8, u8>(&address).err());
        let server = theirs.accept::<u8, u8>(&mut port).err();
        (client.join().expect("no panic"), server)
    })
}

#[track_caller]
fn refused(error: Option<ConnectError>) -> HandshakeError {
    match error {
        Some(ConnectError::Handshake(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn equal_ends_agree() {
    let (ours, theirs) = meet(DuctOptions::new(), DuctOptions::new());
    assert!(ours.is_none() && theirs.is_none());
}

#[test]
fn both_ends_name_another_codec() {
    let (ours, theirs) = meet(DuctOptions::new(), DuctOptions::new().codec(Foreign));
    assert_eq!(
        refused(ours),
        HandshakeError::Codec {
            ours: "bincode".to_owned(),
            theirs: "foreign".to_owned(),
        }
    );
    assert!(matches!(refused(theirs), HandshakeError::Codec { .. }));
}

#[test]
fn both_ends_name_another_schema() {
    let one = schema_hash("one");
    let (ours, theirs) = meet(DuctOptions::new().schema(one), DuctOptions::new());
    assert_eq!(
        refused(ours),
        HandshakeError::Schema {
            ours: one,
            theirs: 0
        }
    );
    assert_eq!(
        refused(theirs),
        HandshakeError::Schema {
            ours: 0,
            theirs: one
        }
    );
}

#[test]
fn schema_hash_is_pinned() {
    assert_eq!(schema_hash(""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(schema_hash("a"), 0xaf63_dc4c_8601_ec8c);
}

#[test]
fn the_smaller_limit_holds_for_sending() {
    within(SOON, || {
        let mut port = port();
        let address = port.address().clone();
        let client = thread::spawn(move || {
            let mut duct: Duct<Vec<u8>, ()> = DuctOptions::new().connect(&address).unwrap();
            duct.send(vec![0; 1000])
        });
        let _server = DuctOptions::new()
            .payload_len_max(100)
            .accept::<(), Vec<u8>>(&mut port)
            .unwrap();
        assert!(matches!(
            client.join().unwrap(),
            Err(SendError::TooLarge { max: 100, .. })
        ));
    });
}

#[test]
fn a_stranger_is_no_peer() {
    within(SOON, || {
        let (mut stranger, ours) = Socket::pair().unwrap();
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut duct: Duct<u8, u8> = DuctOptions::new().handshake(true).from_channel(ours.into());
        assert!(matches!(
            duct.recv(),
            Err(RecvError::Handshake(HandshakeError::Missing))
        ));
        assert!(matches!(
            duct.recv(),
            Err(RecvError::Handshake(HandshakeError::Missing))
        ));
        assert!(matches!(
            duct.send(1),
            Err(SendError::Handshake {
                value: 1,
                source: HandshakeError::Missing
            })
        ));
    });
}

#[test]
fn a_message_is_no_handshake_and_a_handshake_no_message() {
    within(SOON, || {
        let (ours, theirs) = Socket::pair().unwrap();
        let mut with: Duct<u8, u8> = DuctOptions::new().handshake(true).from_channel(ours.into());
        let mut without: Duct<u8, u8> = DuctOptions::new().from_channel(theirs.into());
        without.send(1).unwrap();
        assert!(matches!(
            with.recv(),
            Err(RecvError::Handshake(HandshakeError::Missing))
        ));
        assert!(matches!(
            without.recv(),
            Err(RecvError::Handshake(HandshakeError::Unexpected))
        ));
    });
}

#[test]
fn a_silent_peer_and_one_that_leaves() {
    within(SOON, || {
        let (silent, ours) = Socket::pair().unwrap();
        let mut duct: Duct<u8, u8> = DuctOptions::new().handshake(true).from_channel(ours.into());
        assert!(matches!(
            duct.greet(Duration::from_millis(10)),
            Err(ConnectError::Timeout)
        ));
        drop(silent);
        assert!(matches!(duct.greet(SOON), Err(ConnectError::Disconnected)));
    });
}

#[test]
fn lazy_ends_greet_with_their_first_messages() {
    within(SOON, || {
        let options = || DuctOptions::new().handshake(true);
        let (mut ours, mut theirs) = options().pair::<u32, u32>().unwrap();
        ours.send(1).unwrap();
        assert_eq!(theirs.recv().unwrap(), 1);
        theirs.send(2).unwrap();
        assert_eq!(ours.recv().unwrap(), 2);
        ours.greet(SOON).unwrap();
    });
}

#[test]
fn other_framings_have_none() {
    let pyre = || DuctOptions::new().framing(Framing::PYRE).handshake(true);
    let (ours, theirs) = meet(pyre(), pyre());
    assert!(ours.is_none() && theirs.is_none());
}

#[cfg(feature = "crc32c")]
#[test]
fn checked_frames_arrive() {
    within(SOON, || {
        let options = DuctOptions::new()
            .framing(Framing::NativeChecked)
            .handshake(true);
        let (mut ours, mut theirs) = options.pair::<String, ()>().unwrap();
        ours.send("checked".to_owned()).unwrap();
        assert_eq!(theirs.recv().unwrap(), "checked");
    });
}
