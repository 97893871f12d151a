//! The five ways in which a known actor library departs from OTP; each must not happen here.

use std::time::Duration;

use ipc_actors::{ChildPolicy, Event, ExitReason, Restart, Shutdown, Strategy, SupervisorOptions};

use super::world::{World, children, names, told};

fn crash() -> ExitReason {
    ExitReason::Panicked("on purpose".to_owned())
}

fn options(strategy: Strategy, intensity: u32) -> SupervisorOptions {
    let period = Duration::from_secs(1);
    SupervisorOptions {
        strategy,
        intensity,
        period,
        ..SupervisorOptions::default()
    }
}

/// P1: the intensity is a sliding count. A crash every 700 ms never makes more than two in a second.
#[test]
fn p1_slow_crashing_goes_on_for_ever() {
    let mut world = World::new(options(Strategy::OneForOne, 3), &[]);
    world.boot(&children(1, ChildPolicy::default()));
    for _ in 0..1000 {
        world.exit("c1", crash());
        assert_eq!(world.alive(), names("c1"));
        world.advance(Duration::from_millis(700));
    }
    assert!(!world.gave_up);
}

/// P1, the other side: the boundary of the window is inside it, a nanosecond more is outside.
#[test]
fn p1_the_fourth_crash_within_the_period_is_one_too_many() {
    for (extra, gave_up) in [(0, true), (1, false)] {
        let mut world = World::new(options(Strategy::OneForOne, 3), &[]);
        world.boot(&children(1, ChildPolicy::default()));
        for pause in [0, 500_000_000, 500_000_000 + extra] {
            world.exit("c1", crash());
            world.advance(Duration::from_nanos(pause));
        }
        world.exit("c1", crash());
        assert_eq!(world.gave_up, gave_up, "{extra} ns after the boundary");
    }
}

/// P2: a temporary child is not restarted because of a sibling.
#[test]
fn p2_a_temporary_sibling_stays_down() {
    for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
        let mut world = World::new(options(strategy, 3), &[]);
        let mut specs = children(3, ChildPolicy::default());
        specs[1].1.restart = Restart::Temporary;
        world.boot(&specs);
        world.exit("c1", crash());
        assert_eq!(
            told(&world.steps),
            "+c1 +c2 +c3 -c3 -c2 +c1 +c3",
            "{strategy:?}"
        );
        assert_eq!(
            world.supervisor.find("c2"),
            None,
            "its specification is forgotten"
        );
    }
}

/// P3: a sibling that does not stop is killed at its shutdown time-out, no later.
#[test]
fn p3_a_busy_sibling_delays_a_restart_by_its_time_out_only() {
    let mut world = World::new(options(Strategy::OneForAll, 3), &[]);
    let shutdown = Shutdown::After(Duration::from_millis(200));
    world.boot(&children(
        2,
        ChildPolicy {
            shutdown,
            ..ChildPolicy::default()
        },
    ));
    world.deaf = names("c2");
    world.exit("c1", crash());
    world.advance(Duration::from_millis(199));
    assert_eq!(told(&world.steps), "+c1 +c2");
    world.advance(Duration::from_millis(1));
    assert_eq!(told(&world.steps), "+c1 +c2 -c2 +c1 +c2");
}

/// P4: stops in reverse order, starts in order, every time.
#[test]
fn p4_the_order_is_kept() {
    let mut world = World::new(options(Strategy::OneForAll, 3), &[]);
    world.boot(&children(5, ChildPolicy::default()));
    for _ in 0..3 {
        world.steps.clear();
        world.exit("c3", crash());
        assert_eq!(told(&world.steps), "-c5 -c4 -c2 -c1 +c1 +c2 +c3 +c4 +c5");
        world.advance(Duration::from_secs(1));
    }
}

/// P5: a permanent child that exits normally past the limit ends the supervisor, with reason
/// shutdown, so that the failure escalates.
#[test]
fn p5_normal_exits_past_the_limit_end_the_supervisor() {
    let mut world = World::new(options(Strategy::OneForOne, 2), &[]);
    world.boot(&children(2, ChildPolicy::default()));
    for _ in 0..3 {
        assert_eq!(world.ended, None);
        world.exit("c1", ExitReason::Normal);
    }
    assert!(world.gave_up);
    assert_eq!(world.ended, Some(ExitReason::Shutdown));
    assert_eq!(told(&world.steps), "+c1 +c2 +c1 +c1 -c2 .");
    world.handle(Event::Stop(ExitReason::Normal));
    assert_eq!(
        told(&world.steps),
        "+c1 +c2 +c1 +c1 -c2 .",
        "an ended supervisor stays so"
    );
}
