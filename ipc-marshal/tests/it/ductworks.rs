//! Ductworks' own integration scenarios, between processes where it has processes.

use std::env;
use std::process::Command;
use std::thread;

use ipc_core::{Address, Rendezvous, Retry};
use ipc_marshal::{ConnectError, Duct, DuctOptions, Framing, RecvError, SendError};

use crate::within::{SOON, within};

const ROLE: &str = "IPC_MARSHAL_DUCTWORKS_CHILD";

/// This test binary as another process, which does what [`child`] says for `role`.
fn other(role: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("it runs"));
    command
        .args(["ductworks::child", "--exact", "--nocapture"])
        .env(ROLE, role);
    command
}

/// Not a test of its own: what the other process does.
#[test]
fn child() {
    let Ok(role) = env::var(ROLE) else { return };
    let mut duct: Duct<Option<Vec<u64>>, Option<Vec<u64>>> = Duct::inherited().unwrap();
    match role.as_str() {
        "echo" => {
            while let Some(item) = duct.recv().unwrap() {
                duct.send(Some(item)).unwrap();
            }
        }
        "close" => {
            for number in 0..3 {
                duct.send(Some(vec![number])).unwrap();
            }
        }
        "killed" => {
            duct.send(None).unwrap();
            std::process::abort();
        }
        other => panic!("{other} is no role"),
    }
}

fn meet_over(address: &str) {
    let address: Address = address.parse().unwrap();
    within(SOON, move || {
        let mut rendezvous = Rendezvous::bind(&address).unwrap();
        let bound = rendezvous.address().clone();
        let peer = bound.clone();
        let thread = thread::spawn(move || {
            let mut duct: Duct<u32, String> = DuctOptions::new()
                .retry(Retry::new())
                .connect(&peer)
                .unwrap();
            let text = duct.recv().unwrap();
            duct.send(text.len() as u32).unwrap();
        });
        let mut duct: Duct<String, u32> = DuctOptions::new().meet(&mut rendezvous).unwrap();
        duct.send("x".repeat(1_100_000)).unwrap();
        assert_eq!(duct.recv().unwrap(), 1_100_000);
        thread.join().unwrap();
        assert!(matches!(duct.recv(), Err(RecvError::Disconnected)));
        // Nobody else can come.
        let late = DuctOptions::new().connect::<u8, u8>(&bound);
        assert!(matches!(late, Err(ConnectError::Io(_))));
    });
}

#[test]
fn a_pair_and_a_long_message_over_unix() {
    let folder = tempfile::tempdir().unwrap();
    meet_over(&format!("unix:{}", folder.path().join("duct").display()));
    assert!(!folder.path().join("duct").exists());
}

#[test]
fn a_pair_and_a_long_message_over_tcp() {
    meet_over("tcp:127.0.0.1:0");
}

#[cfg(all(target_os = "linux", not(ipc_portable)))]
#[test]
fn a_pair_and_a_long_message_over_shared_memory() {
    let folder = tempfile::tempdir().unwrap();
    meet_over(&format!("ring:{}", folder.path().join("duct").display()));
}

#[test]
fn connecting_to_nobody_is_an_error() {
    within(SOON, || {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::unix(folder.path().join("nobody")).unwrap();
        let error = Duct::<u8, u8>::connect(&address).unwrap_err();
        let ConnectError::Io(error) = error else {
            panic!("{error:?}");
        };
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    });
}

/// Four threads that each send 25 messages of 1.5 MB through clones of one sender.
#[test]
fn several_writers() {
    within(SOON, || {
        let options = DuctOptions::new().framing(Framing::Ductworks);
        let (ours, mut theirs) = options.pair::<(u8, u8, String), ()>().unwrap();
        let (sender, _receiver) = ours.split().unwrap();
        let threads: Vec<_> = (0..4_u8)
            .map(|writer| {
                let sender = sender.clone();
                let letter = char::from(b'a' + writer);
                thread::spawn(move || {
                    for index in 0..25_u8 {
                        let text = letter.to_string().repeat(1_500_000);
                        sender.send((writer, index, text)).unwrap();
                    }
                })
            })
            .collect();
        drop(sender);
        drop(_receiver);
        let mut next = [0; 4];
        for message in theirs.iter() {
            let (writer, index, text) = message.unwrap();
            let letter = b'a' + writer;
            assert_eq!(text.len(), 1_500_000);
            assert!(text.bytes().all(|byte| byte == letter));
            assert_eq!(index, next[usize::from(writer)], "a writer's order is kept");
            next[usize::from(writer)] += 1;
        }
        assert_eq!(next, [25; 4]);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn echo_with_a_spawned_process() {
    within(SOON, || {
        let (mut duct, mut child) =
            Duct::<Option<Vec<u64>>, Option<Vec<u64>>>::spawn(&other("echo")).unwrap();
        for round in 0..100 {
            let item = vec![round; round as usize];
            duct.send(Some(item.clone())).unwrap();
            assert_eq!(duct.recv().unwrap(), Some(item));
        }
        duct.send(None).unwrap();
        assert!(matches!(duct.recv(), Err(RecvError::Disconnected)));
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn a_child_that_closes_is_read_to_its_end() {
    within(SOON, || {
        let (mut duct, mut child) =
            Duct::<Option<Vec<u64>>, Option<Vec<u64>>>::spawn(&other("close")).unwrap();
        let got: Result<Vec<_>, _> = duct.iter().collect();
        assert_eq!(got.unwrap(), [Some(vec![0]), Some(vec![1]), Some(vec![2])]);
        assert!(child.wait().unwrap().success());
        assert!(matches!(
            duct.send(None),
            Err(SendError::Disconnected(None))
        ));
    });
}

#[test]
fn a_child_that_dies_ends_the_duct() {
    within(SOON, || {
        let (mut duct, mut child) =
            Duct::<Option<Vec<u64>>, Option<Vec<u64>>>::spawn(&other("killed")).unwrap();
        assert_eq!(duct.recv().unwrap(), None);
        assert!(matches!(duct.recv(), Err(RecvError::Disconnected)));
        assert!(!child.wait().unwrap().success());
    });
}

#[test]
fn without_a_parent_there_is_nothing_to_inherit() {
    let error = Duct::<u8, u8>::inherited().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn the_end_of_the_remote_end() {
    within(SOON, || {
        let (mut ours, theirs) = Duct::<u8, u8>::pair().unwrap();
        drop(theirs);
        assert!(ours.poll(SOON).unwrap(), "the end can be received");
        assert!(matches!(ours.recv(), Err(RecvError::Disconnected)));
        assert!(matches!(ours.send(1), Err(SendError::Disconnected(1))));
    });
}

#[test]
fn throughput_of_250_messages_of_half_a_megabyte() {
    within(SOON, || {
        let (mut ours, mut theirs) = Duct::<String, ()>::pair().unwrap();
        let thread = thread::spawn(move || {
            let text = "x".repeat(500_000);
            ours.send_all((0..250).map(|_| text.clone())).unwrap();
        });
        let mut bytes = 0;
        for message in theirs.iter() {
            bytes += message.unwrap().len();
        }
        assert_eq!(bytes, 250 * 500_000);
        thread.join().unwrap();
    });
}
