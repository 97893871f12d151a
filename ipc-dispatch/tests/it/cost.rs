//! What a turn must not cost.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ipc_dispatch::{AlarmId, Context, Missed, Next, Scheduler, Selector};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::support::{again, pair, role, thread_time, within};

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

/// Arms so many alarms and cancels them. Answers how much processor time that took.
fn arm_and_cancel(scheduler: &mut Scheduler<u64>, ids: &mut Vec<AlarmId>, count: u64) -> Duration {
    let begun = thread_time();
    let start = Instant::now();
    for number in 0..count {
        let delay = Duration::from_nanos(number.wrapping_mul(7_919_777) % 1_000_000_000);
        ids.push(scheduler.arm(start + delay, number));
    }
    for (number, id) in (0..).zip(ids.drain(..)) {
        assert_eq!(scheduler.cancel(id), Some(number));
    }
    assert_eq!(scheduler.len(), 0);
    assert_eq!(scheduler.next_deadline(), None);
    thread_time() - begun
}

#[test]
fn a_million_alarms_cost_what_a_few_do_each_and_leave_no_tombstones() {
    const FEW: u64 = 10_000;
    const MANY: u64 = 1_000_000;
    within(Duration::from_secs(120), || {
        let mut scheduler = Scheduler::new(Instant::now());
        let mut ids = Vec::with_capacity(MANY as usize);
        arm_and_cancel(&mut scheduler, &mut ids, MANY);
        let mut many = Duration::MAX;
        let cost = allocation_counter::measure(|| {
            many = arm_and_cancel(&mut scheduler, &mut ids, MANY);
        });
        // What calloop's heap and others keep of cancelled alarms would need room.
        assert_eq!(cost.count_total, 0);
        let few = (0..5).map(|_| arm_and_cancel(&mut scheduler, &mut ids, FEW));
        let few = few.min().unwrap();
        // The memory of many is farther away; looking at others for each would take far longer still.
        let most = few * (MANY / FEW) as u32 * 10;
        assert!(many < most, "{MANY} took {many:?} and {FEW} {few:?}");
    });
}

/// A loop with `idle` sources that are never ready and one that is, and the writer of that one.
fn crowd(idle: usize) -> (Selector<u64>, UnixStream) {
    let mut selector = Selector::<u64>::new().unwrap();
    for _ in 0..idle / 2 {
        // Both ends of a pair, and nobody writes.
        let (left, right) = pair();
        for end in [left, right] {
            let key = selector.add(end);
            selector
                .on_readable(key, |_: &mut UnixStream, _: &mut Context<'_, u64>| -> () {
                    panic!("nobody has written")
                })
                .unwrap();
        }
    }
    let (ours, theirs) = pair();
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
    (selector, theirs)
}

/// How long a thousand events take.
fn slice((selector, writer): &mut (Selector<u64>, UnixStream)) -> Duration {
    let began = Instant::now();
    let mut count = 0;
    for number in 1..=1000 {
        writer.write_all(b"x").unwrap();
        selector.turn(&mut count, None).unwrap();
        assert_eq!(count, number, "one turn, one handler");
    }
    began.elapsed()
}

#[test]
fn one_active_source_among_twenty_thousand_costs_as_much_as_alone() {
    // pyre's selectors end at a thousand: one crashes, the other spins.
    if role().is_none() {
        // As a process of its own, which may have so many descriptors.
        within(Duration::from_secs(60), || {
            let test = "cost::one_active_source_among_twenty_thousand_costs_as_much_as_alone";
            assert!(again(test, "crowd").status().unwrap().success());
        });
        return;
    }
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    // Some are needed for other things.
    let idle = usize::try_from(hard).unwrap_or(usize::MAX).min(20_064) - 64;
    let mut alone = crowd(0);
    let mut crowded = crowd(idle);
    assert_eq!(crowded.0.sources().len(), idle / 2 * 2 + 1);
    slice(&mut alone);
    slice(&mut crowded);
    // Slice by slice, for whatever else the machine does to disturb both; and more than once.
    let within_the_bar = (0..10).any(|_| {
        let pairs = (0..10).map(|_| (slice(&mut alone), slice(&mut crowded)));
        let (alone, crowded): (Vec<_>, Vec<_>) = pairs.unzip();
        let quickest = |times: Vec<Duration>| times.into_iter().min().unwrap();
        quickest(crowded).as_secs_f64() < 1.1 * quickest(alone).as_secs_f64()
    });
    assert!(within_the_bar, "more than a tenth slower among {idle}");
}
