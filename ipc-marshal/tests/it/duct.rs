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

#[test]
fn batches_and_iteration() {
    within(SOON, || {
        let (mut ours, mut theirs) = Duct::<u32, ()>::pair().unwrap();
        ours.send_all(0..1000).unwrap();
        ours.feed(1000).unwrap();
        assert!(ours.pending() > 0);
        ours.flush().unwrap();
        let got: Result<Vec<_>, _> = theirs.try_iter().collect();
        assert_eq!(got.unwrap(), (0..=1000).collect::<Vec<_>>());
        ours.send_all([1, 2]).unwrap();
        drop(ours);
        let got: Result<Vec<_>, _> = theirs.iter().collect();
        assert_eq!(got.unwrap(), [1, 2]);
    });
}

#[test]
fn borrowed_values_and_raw_payloads() {
    within(SOON, || {
        let (mut ours, mut theirs) = Duct::<(u8, String), ()>::pair().unwrap();
        ours.send((1, "text".to_owned())).unwrap();
        let never = ipc_core::Deadline::Never;
        let len = theirs
            .recv_with(never, |message| {
                let (_, text): (u8, &str) = message.decode().unwrap();
                text.len()
            })
            .unwrap();
        assert_eq!(len, 4);
        ours.send_bytes(b"anything", never).unwrap();
        let bytes = theirs.recv_with(never, |message| message.bytes().to_vec());
        assert_eq!(bytes.unwrap(), b"anything");
    });
}

#[test]
fn acknowledged_sends() {
    within(SOON, || {
        use ipc_core::Deadline;
        use ipc_marshal::AckError;
        let (mut ours, theirs) = Duct::<String, u32>::pair().unwrap();
        let thread = thread::spawn(move || {
            let mut theirs = theirs;
            theirs.send(1).unwrap();
            theirs.send(2).unwrap();
            let text = theirs.recv().unwrap();
            let (sender, mut receiver) = theirs.split().unwrap();
            let more = receiver.recv().unwrap();
            sender.send(3).unwrap();
            drop(sender);
            (text, more, receiver)
        });
        ours.send_acked("first".to_owned(), Deadline::Never)
            .unwrap();
        ours.send_acked("second".to_owned(), Deadline::Never)
            .unwrap();
        let (first, second, receiver) = thread.join().unwrap();
        assert_eq!((first.as_str(), second.as_str()), ("first", "second"));
        assert_eq!(ours.recv().unwrap(), 1, "what came before was kept");
        assert_eq!(ours.recv().unwrap(), 2);
        assert_eq!(ours.recv().unwrap(), 3);
        let lost = ours.send_acked("third".to_owned(), Deadline::Never);
        assert!(matches!(lost, Err(AckError::Disconnected)), "{lost:?}");
        drop(receiver);
        let unsent = ours.send_acked("fourth".to_owned(), Deadline::Never);
        assert!(matches!(
            unsent,
            Err(AckError::Send(SendError::Disconnected(value))) if value == "fourth"
        ));
    });
}

#[test]
fn an_acknowledgement_can_time_out_or_refuse() {
    within(SOON, || {
        use ipc_core::Deadline;
        use ipc_marshal::AckError;
        let (ours, theirs) = ipc_core::Socket::pair().unwrap();
        let mut ours = Duct::<u8, ()>::from_channel(ours.into());
        let mut theirs = Duct::<(), bool>::from_channel(theirs.into());
        let brief = Deadline::after(Duration::from_millis(5));
        assert!(matches!(ours.send_acked(7, brief), Err(AckError::Timeout)));
        assert!(matches!(theirs.recv(), Err(RecvError::Decode(_))));
        let refused = ours.send_acked(1, Deadline::after(Duration::from_millis(5)));
        assert!(matches!(refused, Err(AckError::Refused)), "{refused:?}");
    });
}

#[test]
fn a_panic_while_encoding_spoils_nothing() {
    struct Grenade(bool);
    impl serde::Serialize for Grenade {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeTuple;
            let mut pair = serializer.serialize_tuple(2)?;
            pair.serialize_element(&7_u8)?;
            assert!(!self.0, "bang");
            pair.serialize_element(&8_u8)?;
            pair.end()
        }
    }
    within(SOON, || {
        let (ours, theirs) = ipc_core::Socket::pair().unwrap();
        let ours = Duct::<Grenade, ()>::from_channel(ours.into());
        let mut theirs = Duct::<(), (u8, u8)>::from_channel(theirs.into());
        let (sender, _receiver) = ours.split().unwrap();
        let clone = sender.clone();
        assert!(
            thread::spawn(move || clone.send(Grenade(true)))
                .join()
                .is_err()
        );
        sender.send(Grenade(false)).unwrap();
        assert_eq!(theirs.recv().unwrap(), (7, 8));
    });
}

#[test]
fn long_payloads_are_whole_in_every_framing() {
    use ipc_core::Deadline;
    use ipc_marshal::{ByteOrder, LengthWidth};
    let length = |width, order| Framing::Length { width, order };
    for framing in [
        Framing::Native,
        Framing::Ductworks,
        Framing::Multiprocessing,
        Framing::PYRE,
        length(LengthWidth::U16, ByteOrder::Big),
        length(LengthWidth::U64, ByteOrder::Big),
    ] {
        within(SOON, move || {
            let options = DuctOptions::new().framing(framing);
            let (mut ours, mut theirs) = options.pair::<(), ()>().unwrap();
            let payload: Vec<u8> = (0..60_000_u32).map(|index| (index % 251) as u8).collect();
            let mut sent = 0;
            // Until there is room for a part only, which must be finished first.
            while ours.send_bytes(&payload, Deadline::Now).is_ok() {
                sent += 1;
            }
            let copy = payload.clone();
            let reader = thread::spawn(move || {
                for index in 0..sent + 2 {
                    let equal = theirs.recv_with(Deadline::Never, |m| m.bytes() == copy);
                    assert!(equal.unwrap(), "{framing:?} {index}");
                }
            });
            ours.send_bytes(&payload, Deadline::Never).unwrap();
            let (sender, _receiver) = ours.split().unwrap();
            sender.send_bytes(&payload, Deadline::Never).unwrap();
            reader.join().unwrap();
        });
    }
    let options = DuctOptions::new().framing(length(LengthWidth::U16, ByteOrder::Little));
    let (mut ours, _theirs) = options.pair::<(), ()>().unwrap();
    assert!(matches!(
        ours.send_bytes(&[0; 70_000], Deadline::Never),
        Err(SendError::TooLarge {
            size: 70_000,
            max: 65_535,
            ..
        })
    ));
}
