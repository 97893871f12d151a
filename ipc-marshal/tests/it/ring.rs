//! Ducts over shared memory, where frames are encoded in place if they fit.

use std::thread;

use ipc_core::RingOptions;
use ipc_marshal::{Duct, DuctOptions, RecvError, SendError, TrySendError};
use serde::{Deserialize, Serialize};

use crate::within::{SOON, within};

fn pair<T: Serialize + for<'a> Deserialize<'a>>(limit: usize) -> (Duct<T, ()>, Duct<(), T>) {
    let (ours, theirs) = RingOptions::new().capacity(4096).pair().unwrap();
    let options = DuctOptions::new().payload_len_max(limit);
    (
        options.clone().from_channel(ours.into()),
        options.from_channel(theirs.into()),
    )
}

#[test]
fn frames_of_every_size_arrive_whole() {
    within(SOON, || {
        let (mut ours, mut theirs) = pair::<(u32, String, Vec<u16>)>(1 << 20);
        let value = |index: u32| {
            let len = (index * 37 % 9000) as usize;
            (index, "y".repeat(len), vec![index as u16; len % 700])
        };
        let reader = thread::spawn(move || {
            for index in 0..2000 {
                assert_eq!(theirs.recv().unwrap(), value(index));
            }
            assert!(matches!(theirs.recv(), Err(RecvError::Disconnected)));
        });
        for index in 0..2000 {
            match index % 3 {
                0 => ours.send(value(index)).unwrap(),
                1 => ours.feed(value(index)).unwrap(),
                _ => {
                    let mut value = value(index);
                    while let Err(error) = ours.try_send(value) {
                        assert!(matches!(error, TrySendError::Full(_)), "{error}");
                        value = error.into_inner();
                        thread::yield_now();
                    }
                }
            }
        }
        ours.flush().unwrap();
        drop(ours);
        reader.join().unwrap();
    });
}

#[test]
fn full_and_too_large_give_the_value_back() {
    within(SOON, || {
        let (mut ours, mut theirs) = pair::<String>(3000);
        let long = ours.send("z".repeat(3001)).unwrap_err();
        assert!(matches!(
            long,
            SendError::TooLarge {
                size: 3004,
                max: 3000,
                ..
            }
        ));
        ours.send("a".repeat(2000)).unwrap();
        ours.send("b".repeat(2000)).unwrap();
        // A part of it fits, and is finished first.
        ours.try_send("c".repeat(2000)).unwrap();
        assert!(ours.pending() > 0);
        let full = ours.try_send("d".to_owned()).unwrap_err();
        assert!(matches!(full, TrySendError::Full(value) if value == "d"));
        assert_eq!(theirs.recv().unwrap(), "a".repeat(2000));
        ours.flush().unwrap();
        ours.send("e".to_owned()).unwrap();
        for text in ["b".repeat(2000), "c".repeat(2000), "e".to_owned()] {
            assert_eq!(theirs.recv().unwrap(), text);
        }
    });
}

/// Refuses to be serialized, by an error or a panic, after some bytes were written.
#[derive(Debug, Deserialize)]
struct Moody(u8);

impl Serialize for Moody {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{Error, SerializeTuple};
        let mut tuple = serializer.serialize_tuple(1)?;
        tuple.serialize_element(&self.0)?;
        match self.0 {
            1 => Err(S::Error::custom("not today")),
            2 => panic!("not today"),
            _ => tuple.end(),
        }
    }
}

#[test]
fn what_is_given_up_in_place_never_happened() {
    within(SOON, || {
        let (ours, mut theirs) = pair::<Moody>(100);
        let (sender, _receiver) = ours.split().unwrap();
        assert!(matches!(
            sender.send(Moody(1)),
            Err(SendError::Encode {
                value: Moody(1),
                ..
            })
        ));
        let clone = sender.clone();
        assert!(thread::spawn(move || clone.send(Moody(2))).join().is_err());
        sender.send(Moody(3)).unwrap();
        assert_eq!(theirs.recv().unwrap().0, 3);
        drop(theirs);
        while sender.send(Moody(4)).is_ok() {
            thread::yield_now();
        }
        assert!(matches!(
            sender.send(Moody(5)),
            Err(SendError::Disconnected(Moody(5)))
        ));
    });
}
