//! Ducts between two ends.

use std::thread;
use std::time::Duration;

use ipc_core::Readiness;
use ipc_marshal::{Duct, DuctOptions, Framing, RecvError, SendError, TryRecvError, TrySendError};

use crate::within::{SOON, within};

#[test]
fn there_and_back() {
    within(SOON, || {
        let (mut ours, mut theirs) = Duct::<String, u32>::pair().unwrap();
        ours.send("hello".to_owned()).unwrap();
        assert_eq!(theirs.recv().unwrap(), "hello");
        theirs.send(5).unwrap();
        assert_eq!(ours.recv_timeout(SOON).unwrap(), 5);
    });
}

#[test]
fn empty_then_timeout_then_disconnected() {
    within(SOON, || {
        let (mut ours, theirs) = Duct::<u8, u8>::pair().unwrap();
        assert!(matches!(ours.try_recv(), Err(TryRecvError::Empty)));
        let brief = Duration::from_millis(5);
        assert!(matches!(ours.recv_timeout(brief), Err(RecvError::Timeout)));
        assert!(!ours.poll(Duration::ZERO).unwrap());
        drop(theirs);
        assert!(ours.poll(Duration::ZERO).unwrap());
        assert!(matches!(ours.recv(), Err(RecvError::Disconnected)));
        assert!(matches!(ours.send(7), Err(SendError::Disconnected(7))));
    });
}

#[test]
fn full_gives_the_value_back_and_the_rest_is_finished_first() {
    within(SOON, || {
        let (mut ours, mut theirs) = Duct::<Vec<u32>, ()>::pair().unwrap();
        let value: Vec<u32> = (0..100_000).collect();
        let mut accepted = 0;
        let back = loop {
            match ours.try_send(value.clone()) {
                Ok(()) => accepted += 1,
                Err(TrySendError::Full(value)) => break value,
                Err(other) => panic!("{other}"),
            }
        };
        assert_eq!(back, value);
        assert!(ours.pending() > 0 || accepted > 0);
        let reader = thread::spawn(move || {
            for _ in 0..accepted {
                assert_eq!(theirs.recv().unwrap().len(), 100_000);
            }
            theirs
        });
        ours.flush().unwrap();
        assert_eq!(ours.pending(), 0);
        let mut theirs = reader.join().unwrap();
        ours.send(vec![1]).unwrap();
        assert_eq!(theirs.recv().unwrap(), [1]);
    });
}

#[test]
fn limits_on_both_ends() {
    within(SOON, || {
        let (ours, theirs) = ipc_core::Socket::pair().unwrap();
        let mut ours: Duct<Vec<u8>, ()> = DuctOptions::new()
            .payload_len_max(100)
            .from_channel(ours.into());
        let mut theirs: Duct<(), Vec<u8>> = DuctOptions::new()
            .payload_len_max(50)
            .from_channel(theirs.into());
        match ours.send(vec![0; 1000]) {
            Err(SendError::TooLarge { value, size, max }) => {
                assert_eq!((value.len(), size, max), (1000, 1003, 100));
            }
            other => panic!("{other:?}"),
        }
        ours.send(vec![0; 80]).unwrap();
        assert!(matches!(
            theirs.recv(),
            Err(RecvError::TooLarge { size: 81, max: 50 })
        ));
    });
}

#[test]
fn a_value_of_another_type_is_an_error_and_the_next_is_fine() {
    within(SOON, || {
        let (ours, theirs) = ipc_core::Socket::pair().unwrap();
        let mut ours = Duct::<String, ()>::from_channel(ours.into());
        let mut theirs = Duct::<(), (bool, u64)>::from_channel(theirs.into());
        ours.send("no bool".to_owned()).unwrap();
        let error = theirs.recv().unwrap_err();
        let RecvError::Decode(error) = error else {
            panic!("{error:?}");
        };
        assert_eq!(error.codec(), "bincode");
        assert_eq!(error.type_name(), "(bool, u64)");
        ours.send("\u{1}".to_owned()).unwrap();
        assert_eq!(theirs.recv().unwrap(), (true, 1));
    });
}

#[test]
fn truncated_is_not_disconnected() {
    within(SOON, || {
        use std::io::Write;
        let (mut ours, theirs) = ipc_core::Socket::pair().unwrap();
        let mut theirs: Duct<(), u64> = DuctOptions::new()
            .framing(Framing::PYRE)
            .from_channel(theirs.into());
        ours.write_all(b"\x08\0\0\0abc").unwrap();
        drop(ours);
        assert!(matches!(
            theirs.recv(),
            Err(RecvError::Truncated { missing: 5 })
        ));
    });
}

#[test]
fn clones_send_whole_frames() {
    within(SOON, || {
        let (ours, theirs) = Duct::<(u8, Vec<u64>), ()>::pair().unwrap();
        let (sender, _receiver) = ours.split().unwrap();
        let (_sender, mut receiver) = theirs.split().unwrap();
        let threads: Vec<_> = (0..4_u8)
            .map(|id| {
                let sender = sender.clone();
                thread::spawn(move || {
                    for _ in 0..25 {
                        sender
                            .send((id, vec![u64::MAX / 3; 1_500_000 / 9]))
                            .unwrap();
                    }
                })
            })
            .collect();
        drop(sender);
        let mut counts = [0; 4];
        loop {
            match receiver.recv() {
                Ok((id, payload)) => {
                    assert!(payload.iter().all(|&word| word == u64::MAX / 3));
                    counts[usize::from(id)] += 1;
                }
                Err(RecvError::Disconnected) => break,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(counts, [25; 4]);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_timed_sender_does_not_wait_behind_a_blocked_one() {
    within(SOON, || {
        let (ours, theirs) = Duct::<Vec<u64>, ()>::pair().unwrap();
        let (sender, _receiver) = ours.split().unwrap();
        let blocked = sender.clone();
        let (started, wait) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            started.send(()).unwrap();
            blocked.send(vec![u64::MAX; 1_000_000])
        });
        wait.recv().unwrap();
        // Either it comes before the other and fits, or it must give up in time.
        let brief = Duration::from_millis(20);
        while sender.send_timeout(vec![1], brief).is_ok() {}
        drop(theirs);
        assert!(matches!(
            thread.join().unwrap(),
            Err(SendError::Disconnected(_))
        ));
    });
}

#[test]
fn arming_sees_what_was_read_already() {
    within(SOON, || {
        let (mut ours, mut theirs) = Duct::<u8, ()>::pair().unwrap();
        assert_eq!(theirs.arm_inbound().unwrap(), Readiness::Armed);
        ours.send(1).unwrap();
        ours.send(2).unwrap();
        assert_eq!(theirs.recv().unwrap(), 1);
        assert_eq!(theirs.arm_inbound().unwrap(), Readiness::Ready);
        assert_eq!(theirs.recv().unwrap(), 2);
        assert_eq!(theirs.arm_inbound().unwrap(), Readiness::Armed);
        drop(ours);
        assert!(matches!(theirs.recv(), Err(RecvError::Disconnected)));
        assert_eq!(theirs.arm_inbound().unwrap(), Readiness::Ready);
    });
}
