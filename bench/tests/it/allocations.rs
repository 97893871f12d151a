//! Allocations per operation in the steady state, at exact numbers.

use bench::hot::{Hot, channels, events, frames, mailboxes, placement};
use ipc_marshal::{Bincode, Framing};

use crate::counting::allocations;

/// How often each is done, so that what is allocated now and then shows.
const TIMES: u64 = 1000;

#[track_caller]
fn check(name: &str, mut hot: Hot, expect_per_thousand: u64) {
    let found = allocations(|| hot.times(TIMES as usize));
    assert_eq!(
        found, expect_per_thousand,
        "{name}: allocations in {TIMES} operations; if the new number is right, write it here"
    );
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
    assert_eq!(
        allocations(|| drop(std::hint::black_box(Vec::<u8>::new()))),
        0
    );
}

#[test]
fn channels_allocate_nothing() {
    check("ring push and pop", channels::ring_push_pop(64), 0);
    check("long ring push and pop", channels::ring_push_pop(65_536), 0);
    check("ring reserve and pop", channels::ring_reserve_pop(64), 0);
    check("ring arm", channels::ring_arm(), 0);
    check("pipe", channels::pipe_round(64), 0);
    check("socket", channels::socket_round(64), 0);
}

#[test]
fn frames_allocate_nothing() {
    for framing in [
        Framing::Native,
        Framing::PYRE,
        Framing::Ductworks,
        Framing::Multiprocessing,
    ] {
        check("encode", frames::frame_encode(framing, 4096), 0);
        check("decode", frames::frame_decode(framing, 4096), 0);
    }
}

/// The text and the list of a record are the only two.
#[test]
fn messages_allocate_what_the_value_needs() {
    check("encode", frames::record_encode(Bincode), 0);
    check("decode", frames::record_decode(Bincode), 2 * TIMES);
    check("duct over a ring", frames::duct_ring_round(), 2 * TIMES);
    check("duct over a socket", frames::duct_socket_round(), 2 * TIMES);
    check(
        "bytes through a duct over a ring",
        frames::duct_ring_bytes(4096),
        0,
    );
}

/// A posted task that holds nothing needs no memory of its own; the queue grows by 31 at a time.
#[test]
fn loops_allocate_only_for_what_is_posted() {
    check("turn", events::selector_turn(100), 0);
    check("post", events::post_turn(), 32);
    check("arm and cancel", events::timer_arm_cancel(10_000), 0);
    check("arm and cancel in a lane", events::timer_lane(10_000), 0);
    check("fire", events::timer_fire(10_000), 0);
}

#[test]
fn placing_a_task_allocates_nothing() {
    check("plan", placement::plan_step(), 0);
}

#[test]
fn mailboxes_allocate_only_for_answers() {
    check("64 messages", mailboxes::mailbox_tell(64), 0);
    check("question", mailboxes::mailbox_ask(), TIMES);
}
