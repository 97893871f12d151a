//! Turns of a loop, and alarms.

use std::hint::black_box;
use std::time::{Duration, Instant};

use ipc_dispatch::{Scheduler, Selector};

use super::Hot;
use crate::events::{Driven, Ours};

/// One of `count` sockets becomes readable, and a turn of the loop calls its handler, which reads.
pub fn selector_turn(count: usize) -> Hot {
    let mut driven = Driven::<Ours>::new(count, 1);
    Hot::new(move || driven.round())
}

/// Posts a task to a loop that is not waiting, and a turn runs it.
pub fn post_turn() -> Hot {
    let mut selector = Selector::<u64>::new().expect("descriptors are to be had");
    let poster = selector.poster();
    let mut ran = 0;
    Hot::new(move || {
        let before = ran;
        assert!(poster.post(|ctx| *ctx.state += 1).is_ok());
        selector
            .turn(&mut ran, Some(Duration::ZERO))
            .expect("waiting works");
        assert_eq!(ran, before + 1);
    })
}

/// Spread over half a minute, the same ones every time.
fn delay(index: u64) -> Duration {
    let mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ index;
    Duration::from_nanos(mixed % 30_000_000_000)
}

/// Arms an alarm among `others` and cancels it.
pub fn timer_arm_cancel(others: u64) -> Hot {
    let origin = Instant::now();
    let mut scheduler = Scheduler::new(origin);
    for index in 0..others {
        scheduler.arm(origin + delay(index), index);
    }
    let mut index = others;
    Hot::new(move || {
        let id = scheduler.arm(origin + delay(black_box(index)), index);
        assert_eq!(scheduler.cancel(id), Some(index));
        index += 1;
    })
}

/// The same in a lane.
pub fn timer_lane(others: u64) -> Hot {
    let origin = Instant::now();
    let mut scheduler = Scheduler::new(origin);
    let lane = scheduler.lane(Duration::from_secs(30));
    for index in 0..others {
        scheduler.arm_in(lane, origin + Duration::from_nanos(index), index);
    }
    let mut index = others;
    Hot::new(move || {
        let now = origin + Duration::from_nanos(black_box(index));
        let id = scheduler.arm_in(lane, now, index);
        assert_eq!(scheduler.cancel(id), Some(index));
        index += 1;
    })
}

/// The next of `others` alarms comes due, and is armed again half a minute later.
pub fn timer_fire(others: u64) -> Hot {
    let origin = Instant::now();
    let mut scheduler = Scheduler::new(origin);
    for index in 0..others {
        scheduler.arm(origin + delay(index), index);
    }
    Hot::new(move || {
        let next = scheduler.next_deadline().expect("all are armed again");
        let fired = scheduler.awaken(black_box(next)).expect("it is due");
        let again = fired.due + Duration::from_secs(30);
        scheduler
            .rearm(fired.id, again, fired.value)
            .expect("it was handed out");
    })
}
