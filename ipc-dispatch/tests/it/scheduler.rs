//! Alarms: order, cancelling, lanes, against a model.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ipc_dispatch::{AlarmId, Missed, Next, Scheduler};
use proptest::prelude::*;

use crate::support::millis;

#[test]
fn equal_deadlines_ring_in_the_order_of_arming() {
    // pyre fires them last in, first out.
    let start = Instant::now();
    let mut scheduler = Scheduler::new(start);
    let due = start + millis(5);
    for number in 0..1000 {
        scheduler.arm(due, number);
    }
    let mut order = Vec::new();
    while let Some(fired) = scheduler.awaken(due) {
        order.push(fired.value);
        scheduler.finish(fired.id);
    }
    assert_eq!(order, (0..1000).collect::<Vec<_>>());
}

#[test]
fn a_cancelled_alarm_of_the_same_pass_does_not_ring() {
    let start = Instant::now();
    let mut scheduler = Scheduler::new(start);
    scheduler.arm(start, 1);
    let second = scheduler.arm(start, 2);
    let fired = scheduler.awaken(start).unwrap();
    assert_eq!(scheduler.cancel(second), Some(2));
    scheduler.finish(fired.id);
    assert!(scheduler.awaken(start).is_none());
    assert_eq!(scheduler.poll(start), None);
}

#[test]
fn an_id_never_names_another_alarm() {
    let start = Instant::now();
    let mut scheduler = Scheduler::new(start);
    let first = scheduler.arm(start, 0);
    scheduler.cancel(first);
    // calloop's 16 bits alias after 65,536 reuses of a slot.
    for number in 1..200_000 {
        let id = scheduler.arm(start, number);
        assert_ne!(id, first);
        assert_eq!(scheduler.cancel(first), None);
        assert_eq!(scheduler.cancel(id), Some(number));
    }
}

#[test]
fn an_alarm_that_is_cancelled_while_it_rings_is_not_armed_again() {
    let start = Instant::now();
    let mut scheduler = Scheduler::new(start);
    scheduler.arm(start, 'a');
    let fired = scheduler.awaken(start).unwrap();
    assert!(scheduler.contains(fired.id));
    scheduler.cancel(fired.id);
    assert_eq!(scheduler.rearm(fired.id, start, 'a'), Err('a'));
    assert!(scheduler.is_empty());
}

#[test]
fn a_period_counts_from_when_it_was_due() {
    let start = Instant::now();
    let mut scheduler = Scheduler::new(start);
    let period = Duration::from_millis(10);
    scheduler.arm(start + period, ());
    for round in 1..=1000u32 {
        // Always handled a little late: pyre and pulsar would drift by as much every time.
        let now = start + period * round + Duration::from_micros(700);
        let fired = scheduler.awaken(now).unwrap();
        let next = Next::Period(period, Missed::Skip)
            .deadline(fired.due, now)
            .unwrap();
        assert_eq!(next, start + period * (round + 1));
        scheduler.rearm(fired.id, next, ()).unwrap();
    }
}

#[test]
fn cancelled_alarms_leave_nothing_behind() {
    let start = Instant::now();
    let mut scheduler = Scheduler::new(start);
    let lane = scheduler.lane(Duration::from_secs(30));
    for round in 0..10u64 {
        let mut ids: Vec<_> = (0..10_000)
            .map(|number| {
                if number % 2 == 0 {
                    scheduler.arm(start + Duration::from_nanos(number * 7919), number)
                } else {
                    scheduler.arm_in(lane, start + Duration::from_nanos(round), number)
                }
            })
            .collect();
        ids.reverse();
        for id in ids {
            assert!(scheduler.cancel(id).is_some());
        }
        assert!(scheduler.is_empty());
        assert_eq!(scheduler.next_deadline(), None);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Arm(u64),
    ArmIn(u64),
    Cancel(usize),
    Move(usize, u64),
    Advance(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..50u64).prop_map(Op::Arm),
        3 => (0..3u64).prop_map(Op::ArmIn),
        2 => any::<usize>().prop_map(Op::Cancel),
        1 => (any::<usize>(), 0..50u64).prop_map(|(which, due)| Op::Move(which, due)),
        2 => (0..20u64).prop_map(Op::Advance),
    ]
}

proptest! {
    /// Against the plainest implementation: a sorted map from (deadline, order of arming).
    #[test]
    fn it_does_what_a_sorted_map_does(ops in prop::collection::vec(op(), 1..200)) {
        let start = Instant::now();
        let at = |time| start + Duration::from_millis(time);
        let mut scheduler = Scheduler::new(start);
        let lanes = [5, 5, 20].map(|time| (scheduler.lane(millis(time)), time));
        let mut model: BTreeMap<(u64, u64), usize> = BTreeMap::new();
        let mut ids: Vec<AlarmId> = Vec::new();
        let (mut now, mut order) = (0, 0);
        for op in ops {
            order += 1;
            match op {
                Op::Arm(due) => {
                    model.insert((now + due, order), ids.len());
                    ids.push(scheduler.arm(at(now + due), ids.len()));
                }
                Op::ArmIn(lane) => {
                    let (lane, time) = lanes[lane as usize];
                    model.insert((now + time, order), ids.len());
                    ids.push(scheduler.arm_in(lane, at(now), ids.len()));
                }
                Op::Cancel(which) if !ids.is_empty() => {
                    let which = which % ids.len();
                    let key = model.iter().find(|(_, value)| **value == which).map(|(key, _)| *key);
                    let expected = key.and_then(|key| model.remove(&key));
                    prop_assert_eq!(scheduler.cancel(ids[which]), expected);
                }
                Op::Move(which, due) if !ids.is_empty() => {
                    let which = which % ids.len();
                    let key = model.iter().find(|(_, value)| **value == which).map(|(key, _)| *key);
                    let value = key.and_then(|key| model.remove(&key));
                    prop_assert_eq!(scheduler.move_to(ids[which], at(now + due)), value.is_some());
                    if let Some(value) = value {
                        model.insert((now + due, order), value);
                    }
                }
                Op::Advance(time) => {
                    now += time;
                    while let Some(fired) = scheduler.awaken(at(now)) {
                        let ((due, _), value) = model.pop_first().expect("the model has it too");
                        prop_assert_eq!((fired.due, fired.value), (at(due), value));
                        scheduler.finish(fired.id);
                    }
                }
                _ => {}
            }
            prop_assert_eq!(scheduler.len(), model.len());
            let due = model.first_key_value().map(|((due, _), _)| at(*due));
            prop_assert_eq!(scheduler.next_deadline(), due);
        }
    }
}
