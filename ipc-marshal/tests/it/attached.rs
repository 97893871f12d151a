//! Descriptors, ducts and regions through ducts.

use std::fs::File;
use std::io::{ErrorKind, IoSlice, Read, Seek, Write};
use std::os::fd::AsFd;
use std::process::Command;

use ipc_core::{Deadline, Outbound, Pipe, Ring, Socket};
use ipc_marshal::{Attached, Duct, DuctOptions, Framing, RecvError, Region, SendError};

use crate::within::{SOON, within};

const NEVER: Deadline = Deadline::Never;

fn file(text: &str) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(text.as_bytes()).expect("room");
    file.rewind().expect("it is a file");
    file
}

fn text(fd: std::os::fd::OwnedFd) -> String {
    let mut text = String::new();
    File::from(fd).read_to_string(&mut text).expect("a file");
    text
}

fn files_arrive_with_their_messages(mut ours: Duct<u32, ()>, mut theirs: Duct<(), u32>) {
    ours.send(1).unwrap();
    let two = Attached::new(2).attach(file("a")).attach(file("b"));
    ours.send_attached(two, NEVER).unwrap();
    ours.send(3).unwrap();
    ours.send_attached(Attached::new(4).attach(file("c")), NEVER)
        .unwrap();
    assert_eq!(theirs.recv().unwrap(), 1);
    let (value, mut fds) = theirs.recv_attached(NEVER).unwrap().into_parts();
    assert_eq!((value, fds.len()), (2, 2));
    assert_eq!(text(fds.pop().unwrap()), "b");
    assert_eq!(text(fds.pop().unwrap()), "a");
    let (value, fds) = theirs.recv_attached(NEVER).unwrap().into_parts();
    assert_eq!((value, fds.len()), (3, 0));
    // A call that takes none closes them and says so; the next message is fine.
    assert!(matches!(
        theirs.recv(),
        Err(RecvError::Descriptors {
            expected: 0,
            got: 1
        })
    ));
    ours.send(5).unwrap();
    assert_eq!(theirs.recv().unwrap(), 5);
}

#[test]
fn over_a_socket() {
    within(SOON, || {
        let (ours, theirs) = Socket::pair().unwrap();
        files_arrive_with_their_messages(
            Duct::from_channel(ours.into()),
            Duct::from_channel(theirs.into()),
        );
    });
}

#[cfg(all(target_os = "linux", not(ipc_portable)))]
#[test]
fn over_a_ring() {
    within(SOON, || {
        let (ours, theirs) = Ring::pair().unwrap();
        files_arrive_with_their_messages(
            Duct::from_channel(ours.into()),
            Duct::from_channel(theirs.into()),
        );
    });
}

#[test]
fn pipes_and_other_framings_say_that_they_cannot() {
    within(SOON, || {
        let (ours, _theirs) = Pipe::pair().unwrap();
        let mut duct: Duct<u8, u8> = Duct::from_channel(ours.into());
        let (socket, _peer) = Socket::pair().unwrap();
        let options = DuctOptions::new().framing(Framing::PYRE);
        let mut pyre: Duct<u8, u8> = options.from_channel(socket.into());
        for duct in [&mut duct, &mut pyre] {
            let sent = duct.send_attached(Attached::new(1).attach(file("")), NEVER);
            let Err(SendError::Io { value, source }) = sent else {
                panic!("{sent:?}");
            };
            assert_eq!(source.kind(), ErrorKind::Unsupported);
            assert_eq!(value.into_parts().1.len(), 1, "the descriptor comes back");
            duct.send(2).unwrap();
        }
    });
}

#[test]
fn a_split_duct_attaches_too() {
    within(SOON, || {
        let (ours, theirs) = Duct::<u8, ()>::pair().unwrap();
        let (sender, _receiver) = ours.split().unwrap();
        let (_sender, mut receiver) = theirs.split().unwrap();
        sender
            .send_attached(Attached::new(1).attach(file("x")), NEVER)
            .unwrap();
        let (value, mut fds) = receiver.recv_attached(NEVER).unwrap().into_parts();
        assert_eq!((value, text(fds.pop().unwrap()).as_str()), (1, "x"));
    });
}

#[test]
fn a_whole_duct_is_handed_on() {
    within(SOON, || {
        let (mut ours, mut theirs) = Duct::<(), ()>::pair().unwrap();
        let (mut near, mut far) = Duct::<u8, u8>::pair().unwrap();
        near.send(1).unwrap();
        near.send(2).unwrap();
        assert_eq!(far.recv().unwrap(), 1);
        let mut far = far.into_fd().expect_err("a message is in it");
        assert_eq!(far.recv().unwrap(), 2);
        let far = far.into_fd().expect("it is empty");
        ours.send_attached(Attached::new(()).attach(far), NEVER)
            .unwrap();
        let ((), mut fds) = theirs.recv_attached(NEVER).unwrap().into_parts();
        let options = DuctOptions::new().handshake(false);
        let mut far: Duct<u8, u8> = options.from_fd(fds.pop().unwrap()).unwrap();
        near.send(3).unwrap();
        assert_eq!(far.recv().unwrap(), 3);
    });
}

#[cfg(all(target_os = "linux", not(ipc_portable)))]
#[test]
fn a_region_is_read_in_place_and_only_if_frozen() {
    within(SOON, || {
        let (mut ours, mut theirs) = Duct::<(), ()>::pair().unwrap();
        let region = Region::build(5 << 20, |memory| memory[5_000_000] = 9).unwrap();
        let message = Attached::new(()).attach_region(&region).unwrap();
        ours.send_attached(message.attach(file("loose")), NEVER)
            .unwrap();
        let ((), mut fds) = theirs.recv_attached(NEVER).unwrap().into_parts();
        let loose = Region::from_fd(fds.pop().unwrap(), 100).unwrap_err();
        assert_eq!(loose.kind(), ErrorKind::InvalidData);
        let received = Region::from_fd(fds.pop().unwrap(), 5 << 20).unwrap();
        drop(region);
        assert_eq!((received.len(), received[5_000_000]), (5 << 20, 9));
    });
}

/// Frames by hand, with what a hostile peer may attach.
fn hostile(frame: &[u8], fds: usize) -> RecvError {
    let frame = frame.to_vec();
    within(SOON, move || {
        let (mut peer, ours) = Socket::pair().unwrap();
        let file = file("");
        let fds = vec![file.as_fd(); fds];
        let sent = peer.write_with_fds(&[IoSlice::new(&frame)], &fds, NEVER);
        assert_eq!(sent.unwrap(), frame.len());
        drop(peer);
        let mut duct = Duct::<(), u8>::from_channel(ours.into());
        duct.recv().unwrap_err()
    })
}

#[test]
fn descriptors_that_are_promised_or_not() {
    assert!(matches!(
        hostile(b"\x01\0\0\0\0\0\x05\0\x07", 2),
        RecvError::Descriptors {
            expected: 5,
            got: 2
        }
    ));
    // Of a frame that says nothing of them: told once the frame is gone.
    within(SOON, || {
        let (mut peer, ours) = Socket::pair().unwrap();
        let file = file("");
        let frame = b"\x01\0\0\0\0\0\0\0\x07";
        peer.write_with_fds(&[IoSlice::new(frame)], &[file.as_fd()], NEVER)
            .unwrap();
        let mut duct = Duct::<(), u8>::from_channel(ours.into());
        assert_eq!(duct.recv().unwrap(), 7);
        assert!(matches!(
            duct.recv_timeout(SOON),
            Err(RecvError::Descriptors {
                expected: 0,
                got: 1
            })
        ));
    });
}

#[test]
fn no_descriptor_is_left_behind() {
    // In a process of its own: other tests open descriptors at the same time.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["attached::leak_child", "--exact", "--nocapture"])
        .env("IPC_MARSHAL_LEAK_CHILD", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("nothing leaked"));
}

#[test]
fn leak_child() {
    if std::env::var_os("IPC_MARSHAL_LEAK_CHILD").is_none() {
        return;
    }
    let round = || {
        over_a_socket();
        descriptors_that_are_promised_or_not();
        pipes_and_other_framings_say_that_they_cannot();
        let (mut ours, theirs) = Duct::<u8, u8>::pair().unwrap();
        let message = Attached::new(1).attach(file("x"));
        ours.send_attached(message, NEVER).unwrap();
        drop(theirs);
    };
    round();
    let before = ipc_core::descriptors().unwrap().len();
    for _ in 0..20 {
        round();
    }
    assert_eq!(ipc_core::descriptors().unwrap().len(), before);
    println!("nothing leaked");
}
