//! What a turn must not cost.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ipc_dispatch::{Context, Missed, Next, Scheduler, Selector};

use crate::support::{pair, within};

#[test]
fn a_turn_in_the_steady_state_allocates_nothing() {
    within(Duration::from_secs(60), || {
        let mut selector = Selector::<u64>::new().unwrap();
        let mut peers = Vec::new();
        for _ in 0..8 {
            let (ours, theirs) = pair();
            peers.push(theirs);
            let key = selector.add(ours);
            selector
                .on_readable(
                    key,
                    |socket: &mut UnixStream, ctx: &mut Context<'_, u64>| {
                        socket.read_exact(&mut [0])?;
                        *ctx.state += 1;
                        Ok::<_, std::io::Error>(true)
                    },
                )
                .unwrap();
        }
        selector.alarm(Duration::ZERO, |ctx: &mut Context<'_, u64>| {
            *ctx.state += 1;
            Next::Period(Duration::ZERO, Missed::Skip)
        });
        let mut count = 0;
        let mut turn = |count: &mut u64| {
            for peer in &mut peers {
                peer.write_all(b"x").unwrap();
            }
            selector.turn(count, None).unwrap();
        };
        for _ in 0..100 {
            turn(&mut count);
        }
        let ran = count;
        let cost = allocation_counter::measure(|| {
            for _ in 0..1000 {
                turn(&mut count);
            }
        });
        assert_eq!(cost.count_total, 0);
        assert_eq!(count - ran, 9 * 1000);
    });
}

#[test]
fn a_million_alarms_are_soon_armed_and_cancelled_and_leave_no_tombstones() {
    within(Duration::from_secs(60), || {
        let start = Instant::now();
        let mut scheduler = Scheduler::new(start);
        let mut ids = Vec::with_capacity(1_000_000);
        for round in 0..3u64 {
            let began = Instant::now();
            for number in 0..1_000_000u64 {
                let delay = Duration::from_nanos(number.wrapping_mul(7_919_777) % 1_000_000_000);
                ids.push(scheduler.arm(start + delay, round));
            }
            for id in ids.drain(..) {
                assert_eq!(scheduler.cancel(id), Some(round));
            }
            // The bar of 0.2 s is for an optimised build, and is measured in `bench`.
            assert!(began.elapsed() < Duration::from_secs(20));
            assert_eq!(scheduler.len(), 0);
            assert_eq!(scheduler.next_deadline(), None);
        }
    });
}
