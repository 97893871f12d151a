//! Messages through loops: none lost, and never a wait for the rest of one.

use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

use ipc_core::{AnyChannel, Socket};
use ipc_dispatch::{Context, Exit, Selector};
use ipc_marshal::{Duct, DuctOptions, Framing, TryRecvError};

use crate::support::{SOON, millis, within};

type End = Duct<u64, u64>;

#[test]
fn ten_thousand_messages_back_to_back_all_arrive() {
    // pyre's marshaler reads over the end of a message and loses the next.
    within(SOON, || {
        let (ours, mut theirs) = End::pair().unwrap();
        let sender = std::thread::spawn(move || {
            for number in 0..10_000 {
                theirs.send(number).unwrap();
            }
        });
        let mut selector = Selector::<Vec<u64>>::new().unwrap();
        let key = selector.add(ours);
        selector
            .on_message(
                key,
                |_: &mut End,
                 message: Result<u64, TryRecvError>,
                 ctx: &mut Context<'_, Vec<u64>>| {
                    if let Ok(number) = message {
                        ctx.state.push(number);
                    }
                },
            )
            .unwrap();
        let mut numbers = Vec::new();
        assert_eq!(selector.run(&mut numbers).unwrap(), Exit::Idle);
        assert!(numbers.iter().copied().eq(0..10_000));
        sender.join().unwrap();
    });
}

#[test]
fn a_peer_that_dribbles_does_not_hold_up_the_loop() {
    // pyre's loop freezes between the second and the third byte of a header.
    within(SOON, || {
        let (ours, mut theirs) = Socket::pair().unwrap();
        let options = || DuctOptions::new().framing(Framing::PYRE);
        let duct: Duct<u64, String> = options().from_channel(AnyChannel::from(ours));
        let (sent, mut copy) = Socket::pair().unwrap();
        let mut writer: Duct<String, u64> = options().from_channel(AnyChannel::from(sent));
        writer.send("all of it".to_owned()).unwrap();
        drop(writer);
        let mut frame = Vec::new();
        std::io::Read::read_to_end(&mut copy, &mut frame).unwrap();
        let (tick, ticks) = mpsc::channel();
        // A loop that waited for the rest of the message would tick no more, and the rest would never come.
        let dribble = std::thread::spawn(move || {
            for byte in frame {
                theirs.write_all(&[byte]).unwrap();
                ticks.iter().take(2).for_each(drop);
                while ticks.try_recv().is_ok() {}
            }
        });
        let mut selector = Selector::<Vec<String>>::new().unwrap();
        let key = selector.add(duct);
        selector
            .on_message(
                key,
                |_: &mut Duct<u64, String>,
                 message: Result<String, TryRecvError>,
                 ctx: &mut Context<'_, Vec<String>>| {
                    ctx.state.extend(message);
                },
            )
            .unwrap();
        let tick = selector.every(millis(1), move |_| {
            // The last ticks are waited for by nobody.
            let _ = tick.send(());
        });
        selector.set_background_alarm(tick, true);
        let mut messages = Vec::new();
        assert_eq!(selector.run(&mut messages).unwrap(), Exit::Idle);
        assert_eq!(messages, ["all of it"]);
        // Nothing ticks any more.
        drop(selector);
        dribble.join().unwrap();
    });
}

#[test]
fn what_could_not_be_sent_at_once_is_flushed_by_the_loop() {
    within(SOON, || {
        let (ours, mut theirs) = Duct::<Vec<u8>, u64>::pair().unwrap();
        let mut selector = Selector::<u32>::new().unwrap();
        let key = selector.add(ours);
        // From an alarm, not from one of the duct's own handlers.
        selector.alarm(Duration::ZERO, move |ctx: &mut Context<'_, u32>| {
            let duct = ctx.get_mut(key).unwrap();
            duct.try_send(vec![7; 4 << 20]).unwrap();
            assert!(duct.pending() > 0);
        });
        let reader = std::thread::spawn(move || theirs.recv().unwrap().len());
        // Pending output keeps the loop running, and nothing else.
        assert_eq!(selector.run(&mut 0).unwrap(), Exit::Idle);
        assert_eq!(reader.join().unwrap(), 4 << 20);
        assert_eq!(selector.pending(key), Some(0));
    });
}

#[test]
fn the_end_and_nonsense_are_told_as_errors() {
    within(SOON, || {
        let (ours, mut theirs) = Socket::pair().unwrap();
        let duct: Duct<u64, u64> = Duct::from_channel(AnyChannel::from(ours));
        theirs.write_all(&[0xff; 64]).unwrap();
        let mut selector = Selector::<u32>::new().unwrap();
        let key = selector.add(duct);
        selector
            .on_message(
                key,
                |_: &mut End, message: Result<u64, TryRecvError>, ctx: &mut Context<'_, u32>| {
                    assert!(message.is_err());
                    *ctx.state += 1;
                },
            )
            .unwrap();
        selector.set_ephemeral(key).unwrap();
        let mut errors = 0;
        assert_eq!(selector.run(&mut errors).unwrap(), Exit::Idle);
        assert_eq!(errors, 1, "told once, though the handler would have stayed");
        assert!(!selector.contains(key), "and closed");
        assert!(theirs.write_all(b"x").is_err());
    });
}
