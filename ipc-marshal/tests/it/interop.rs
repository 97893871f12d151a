//! The real peers: Python's multiprocessing, pyre's pickler, and a peer of Ductworks' format.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ipc_core::{Address, Deadline, Port};
use ipc_marshal::{
    AuthError, AuthKey, ConnectError, Duct, DuctOptions, Framing, Pickle, RecvError,
};
use serde::{Deserialize, Serialize};

use crate::python::{Running, pyre, python, script};
use crate::within::within;

/// Starting Python, and pip once, take longer than anything else here.
const LONG: Duration = Duration::from_secs(120);

const SIZES: [usize; 7] = [1, 2, 255, 4096, 65_537, 1 << 20, 16 << 20];

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    station: String,
    celsius: f64,
    tags: Vec<Option<i64>>,
}

fn reading() -> Reading {
    Reading {
        station: "Zürich".to_owned(),
        celsius: -3.5,
        tags: vec![Some(i64::MIN), None, Some(1 << 40)],
    }
}

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "{name}-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    fs::create_dir_all(&folder).expect("a folder for a socket");
    folder
}

fn options(key: Option<&str>) -> DuctOptions<Pickle> {
    let options = DuctOptions::new()
        .codec(Pickle)
        .framing(Framing::Multiprocessing)
        .handshake_timeout(LONG);
    match key {
        Some(key) => options.auth(AuthKey::new(key)),
        None => options,
    }
}

/// Bytes of every size and then an object, there and back.
fn converse(mut duct: Duct<Option<Reading>, Reading, Pickle>) {
    let never = Deadline::Never;
    for size in SIZES {
        let payload: Vec<u8> = (0..size).map(|index| (index * 7 % 251) as u8).collect();
        duct.send_bytes(&payload, never).expect("sends");
        let equal = duct.recv_with(never, |message| message.bytes() == payload);
        assert!(equal.expect("receives"), "{size} bytes came back changed");
    }
    duct.send_bytes(b"bye", never).expect("sends");
    duct.send(Some(reading())).expect("sends");
    assert_eq!(duct.recv().expect("receives"), reading());
    duct.send(None).expect("sends");
    assert!(matches!(duct.recv(), Err(RecvError::Disconnected)));
}

fn python_listens(family: &str, address: &str, key: Option<&'static str>, generation: &str) {
    let Some(python) = python() else { return };
    let arguments = ["listen", family, address, key.unwrap_or("-"), generation];
    let mut peer = Running::start(script(&python, "multiprocessing_peer.py", &arguments));
    let address: Address = format!("{family}:{}", peer.line()).parse().expect("valid");
    within(LONG, move || {
        converse(options(key).connect(&address).expect("connects"));
    });
    assert_eq!(peer.code(), Some(0));
}

fn python_connects(address: &str, key: Option<&'static str>, generation: &str) {
    let Some(python) = python() else { return };
    let mut port = Port::bind(&address.parse().expect("valid")).expect("binds");
    let bound = port.address().to_string();
    let (family, place) = bound.split_once(':').expect("a kind and a place");
    let arguments = ["connect", family, place, key.unwrap_or("-"), generation];
    let peer = Running::start(script(&python, "multiprocessing_peer.py", &arguments));
    within(LONG, move || {
        converse(options(key).accept(&mut port).expect("accepts"));
    });
    assert_eq!(peer.code(), Some(0));
}

#[test]
fn multiprocessing_listener_over_tcp() {
    python_listens("tcp", "127.0.0.1:0", Some("secret"), "old");
    python_listens("tcp", "127.0.0.1:0", Some("secret"), "new");
    python_listens("tcp", "127.0.0.1:0", None, "old");
}

#[test]
fn multiprocessing_listener_over_unix() {
    let folder = folder("mp-listen");
    for generation in ["old", "new"] {
        let path = folder.join(generation);
        python_listens(
            "unix",
            path.to_str().expect("plain"),
            Some("secret"),
            generation,
        );
    }
    fs::remove_dir_all(folder).expect("it is there");
}

#[test]
fn multiprocessing_client_over_tcp() {
    python_connects("tcp:127.0.0.1:0", Some("secret"), "old");
    python_connects("tcp:127.0.0.1:0", Some("secret"), "new");
    python_connects("tcp:127.0.0.1:0", None, "old");
}

#[test]
fn multiprocessing_client_over_unix() {
    let folder = folder("mp-connect");
    let address = format!("unix:{}", folder.join("port").display());
    python_connects(&address, Some("secret"), "old");
    python_connects(&address, Some("secret"), "new");
    fs::remove_dir_all(folder).expect("it is there");
}

#[test]
fn a_wrong_key_is_found_by_both() {
    let Some(python) = python() else { return };
    for generation in ["old", "new"] {
        let arguments = ["listen", "tcp", "127.0.0.1:0", "secret", generation];
        let mut peer = Running::start(script(&python, "multiprocessing_peer.py", &arguments));
        let address: Address = format!("tcp:{}", peer.line()).parse().expect("valid");
        let error = within(LONG, move || {
            options(Some("guess"))
                .connect::<u8, u8>(&address)
                .map(drop)
                .expect_err("refused")
        });
        assert!(
            matches!(error, ConnectError::Auth(AuthError::Rejected)),
            "{error:?}"
        );
        assert_eq!(peer.code(), Some(3));

        let mut port = Port::bind(&"tcp:127.0.0.1:0".parse().expect("valid")).expect("binds");
        let place = port.address().to_string();
        let place = place.strip_prefix("tcp:").expect("it is TCP").to_owned();
        let arguments = ["connect", "tcp", &place, "guess", generation];
        let peer = Running::start(script(&python, "multiprocessing_peer.py", &arguments));
        let error = within(LONG, move || {
            options(Some("secret"))
                .accept::<u8, u8>(&mut port)
                .map(drop)
                .expect_err("refused")
        });
        assert!(
            matches!(error, ConnectError::Auth(AuthError::WrongKey)),
            "{error:?}"
        );
        assert_eq!(peer.code(), Some(3));
    }
}

mod pyre_pickler {
    use super::*;
    use ipc_core::{AnyChannel, Inherit, Pipe};

    fn options() -> DuctOptions<Pickle> {
        DuctOptions::new().codec(Pickle).framing(Framing::PYRE)
    }

    /// Many items at once, so that a reader that reads too far would lose some.
    fn converse(mut duct: Duct<Option<Reading>, Reading, Pickle>) {
        for _ in 0..3 {
            duct.send_all((0..20).map(|_| Some(reading())))
                .expect("sends");
            for _ in 0..20 {
                assert_eq!(duct.recv().expect("receives"), reading());
            }
        }
        let long = Reading {
            station: "x".repeat(1 << 20),
            ..reading()
        };
        duct.send(Some(long)).expect("sends");
        assert_eq!(duct.recv().expect("receives").station.len(), 1 << 20);
        duct.send(None).expect("sends");
        assert!(matches!(duct.recv(), Err(RecvError::Disconnected)));
    }

    #[test]
    fn over_pipes() {
        let Some(python) = pyre() else { return };
        within(LONG, move || {
            let (ours, theirs) = Pipe::pair().expect("pipes");
            let (inbound, outbound) = theirs.into_fds();
            let mut child = Inherit::new()
                .give(3, inbound)
                .give(4, outbound)
                .spawn(&script(&python, "pyre_peer.py", &["pipe", "3", "4"]))
                .expect("it starts");
            converse(options().from_channel(AnyChannel::from(ours)));
            assert!(child.wait().expect("it is a child").success());
        });
    }

    #[test]
    fn it_connects_over_tcp() {
        let Some(python) = pyre() else { return };
        let mut port = Port::bind(&"tcp:127.0.0.1:0".parse().expect("valid")).expect("binds");
        let place = port.address().to_string();
        let number = place.rsplit(':').next().expect("a port").to_owned();
        let arguments = ["tcp", "127.0.0.1", &number];
        let peer = Running::start(script(&python, "pyre_peer.py", &arguments));
        within(LONG, move || {
            converse(options().accept(&mut port).expect("accepts"));
        });
        assert_eq!(peer.code(), Some(0));
    }

    #[test]
    fn it_listens_over_tcp() {
        let Some(python) = pyre() else { return };
        let mut peer = Running::start(script(&python, "pyre_peer.py", &["listen"]));
        let address: Address = format!("tcp:127.0.0.1:{}", peer.line())
            .parse()
            .expect("valid");
        within(LONG, move || {
            converse(options().connect(&address).expect("connects"));
        });
        assert_eq!(peer.code(), Some(0));
    }
}

mod ductworks_format {
    use super::*;
    use ipc_marshal::{FrameError, Json};
    use serde_json::{Value, json};

    fn with_peer(scenario: &str, test: impl FnOnce(Duct<Value, Value, Json>) + Send + 'static) {
        let Some(python) = python() else { return };
        let folder = folder("ductworks");
        let path = folder.join("port");
        let address: Address = format!("unix:{}", path.display()).parse().expect("valid");
        let mut port = Port::bind(&address).expect("binds");
        let arguments = [scenario, path.to_str().expect("plain")];
        let peer = Running::start(script(&python, "ductworks_peer.py", &arguments));
        within(LONG, move || {
            let options = DuctOptions::new().codec(Json).framing(Framing::Ductworks);
            test(options.accept(&mut port).expect("accepts"));
        });
        assert_eq!(peer.code(), Some(0));
        fs::remove_dir_all(folder).expect("it is there");
    }

    #[test]
    fn echo() {
        with_peer("echo", |mut duct| {
            for index in 0..100 {
                let item = json!({"index": index, "text": "é", "list": [1, 2.5, null, true]});
                duct.send(item.clone()).expect("sends");
                assert_eq!(duct.recv().expect("receives"), item);
            }
            let long = json!("x".repeat(1_100_000));
            duct.send(long.clone()).expect("sends");
            assert_eq!(duct.recv().expect("receives"), long);
            duct.send(Value::Null).expect("sends");
            assert!(matches!(duct.recv(), Err(RecvError::Disconnected)));
        });
    }

    #[test]
    fn throughput_of_250_messages_of_half_a_megabyte() {
        with_peer("produce", |mut duct| {
            duct.send(json!([250, 500_000])).expect("sends");
            for _ in 0..250 {
                let item = duct.recv().expect("receives");
                assert_eq!(item.as_str().expect("text").len(), 500_000);
            }
            assert!(matches!(duct.recv(), Err(RecvError::Disconnected)));
        });
    }

    #[test]
    fn a_wrong_mark_names_both_bytes() {
        with_peer("garbage", |mut duct| {
            assert!(matches!(
                duct.recv(),
                Err(RecvError::Protocol(FrameError::WrongMark {
                    expected: 0x54,
                    got: b'G'
                }))
            ));
        });
    }

    #[test]
    fn an_end_inside_a_frame_is_truncated() {
        with_peer("cut", |mut duct| {
            assert!(matches!(
                duct.recv(),
                Err(RecvError::Truncated { missing: 95 })
            ));
        });
    }
}
