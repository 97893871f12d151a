//! Shared memory as a source like any other.

use std::io::{Read, Write};

use ipc_core::{AnyChannel, Ring};
use ipc_dispatch::{Context, Control, Exit, Selector};
use ipc_marshal::{Duct, TryRecvError};

use crate::support::{SOON, millis, within};

#[test]
fn a_ring_is_read_by_a_loop_that_sleeps() {
    within(SOON, || {
        let (ours, mut theirs) = Ring::pair().unwrap();
        let mut selector = Selector::<Vec<u8>>::new().unwrap();
        let key = selector.add(ours);
        selector
            .on_readable(key, |ring: &mut Ring, ctx: &mut Context<'_, Vec<u8>>| {
                let mut buf = [0; 100];
                let count = ring.read(&mut buf)?;
                ctx.state.extend_from_slice(&buf[..count]);
                Ok::<_, std::io::Error>(if count == 0 {
                    Control::Close
                } else {
                    Control::Keep
                })
            })
            .unwrap();
        let writer = std::thread::spawn(move || {
            for round in 0..200u8 {
                theirs.write_all(&[round; 150]).unwrap();
                if round % 20 == 0 {
                    std::thread::park_timeout(millis(1));
                }
            }
        });
        let mut bytes = Vec::new();
        assert_eq!(selector.run(&mut bytes).unwrap(), Exit::Idle);
        writer.join().unwrap();
        let expected: Vec<u8> = (0..200u8).flat_map(|round| [round; 150]).collect();
        assert!(bytes == expected, "{} bytes", bytes.len());
    });
}

#[test]
fn an_idle_ring_lets_the_loop_sleep() {
    within(SOON, || {
        let (ours, _theirs) = Ring::pair().unwrap();
        let mut selector = Selector::<()>::new().unwrap();
        let key = selector.add(ours);
        selector
            .on_readable(key, |_: &mut Ring, _: &mut Context<'_, ()>| ())
            .unwrap();
        assert_eq!(
            selector.run_timeout(&mut (), millis(200)).unwrap(),
            Exit::Deadline
        );
        assert!(selector.metrics().waits <= 3, "{:?}", selector.metrics());
    });
}

#[test]
fn ducts_over_rings_talk_through_two_loops_and_fill_up() {
    within(SOON, || {
        let (left, right) = Ring::pair().unwrap();
        let mut client = Duct::<u64, u64>::from_channel(AnyChannel::from(left));
        let server = Duct::<u64, u64>::from_channel(AnyChannel::from(right));
        let rounds = 20_000u64;
        let thread = std::thread::spawn(move || {
            let mut selector = Selector::<u64>::new().unwrap();
            let key = selector.add(server);
            selector
                .on_message(
                    key,
                    |duct: &mut Duct<u64, u64>,
                     message: Result<u64, TryRecvError>,
                     ctx: &mut Context<'_, u64>| {
                        let Ok(number) = message else {
                            return false;
                        };
                        *ctx.state += 1;
                        duct.try_send(number + 1).unwrap();
                        true
                    },
                )
                .unwrap();
            let mut count = 0;
            assert_eq!(selector.run(&mut count).unwrap(), Exit::Idle);
            count
        });
        for round in 0..rounds {
            client.send(round).unwrap();
            assert_eq!(client.recv().unwrap(), round + 1);
        }
        drop(client);
        assert_eq!(thread.join().unwrap(), rounds);
    });
}
